//! Pushing and pulling beside what they cannot do without: packing, and the same transfer by skopeo and umoci, against Debian's
//! `docker-registry` on loopback, in the same run.
//!
//! `cargo bench --bench registry`; it needs root, `docker-registry`, `skopeo`, `umoci` and a static busybox. Ours and theirs take turns, and
//! the figures are ratios of the best times: machines differ, and are busy. One over its limit is said, not failed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rbuild::image::{Codec, Compression};
use rbuild::layer::seal;
use rbuild::store::Store;

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BaseImage, Registry, TestEnv, is_installed, is_root};

const RUNS: usize = 3;
const LARGE: u64 = 500 << 20;
const LAYER: u64 = 80 << 20;
const LAYERS: usize = 5;

fn main() -> ExitCode {
    let tools = ["docker-registry", "skopeo", "umoci"].into_iter().all(is_installed);
    if !is_root() || !tools || !BaseImage::busybox().is_possible() {
        eprintln!("root, docker-registry, skopeo, umoci and a static /bin/busybox are needed");
        return ExitCode::FAILURE;
    }
    println!("{:<44} {:>9} {:>9} {:>7} {:>8}", "figure", "rbuild", "peer", "ratio", "limit");
    let (env, registry) = (TestEnv::new(), Registry::start());
    env.busybox_image("base:1");
    let mut peak = 0;
    pushing(&env, &registry, &mut peak);
    pulling(&env, &registry, &mut peak);
    let verdict = if peak <= 150 << 10 { "ok" } else { "over" };
    println!("{:<44} {:>6} MB {:>26} MB  {verdict}", "resident memory at most", peak >> 10, 150);
    ExitCode::SUCCESS
}

/// An image whose one large layer nobody has packed yet, against packing that layer; and the same push again.
fn pushing(env: &TestEnv, registry: &Registry, peak: &mut u64) {
    let data = env.context().join("data");
    files(&data, LARGE, 0);
    env.dockerfile("FROM scratch\nCOPY data /data\n");
    let name = |run: usize| format!("{}/large{run}:1", registry.address());
    let tags: Vec<_> = (0..RUNS).flat_map(|run| ["-t".to_owned(), name(run)]).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    env.rbuild(&[&tags[..], &["."]].concat()).run().success();
    let (mut ours, mut packing, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let codec = Some(Codec { compression: Compression::Gzip, level: None });
    for run in 0..RUNS {
        let packer = Store::ensure(&env.path("packer")).unwrap();
        let started = Instant::now();
        drop(seal(&packer, &data, &[], codec, None).unwrap());
        packing.push(started.elapsed());
        let copy = copied_store(env);
        let push = ["--root", copy.to_str().unwrap(), "push", "-q", &name(run)];
        ours.push(measured(env.rbuild(&push).into_command(), peak));
        let before = registry.requests().len();
        again.push(measured(env.rbuild(&push).into_command(), peak));
        let requests = registry.requests()[before..].to_vec();
        // One layer, one config, one manifest.
        assert!(requests.len() <= 3, "{requests:#?}");
        remove(&copy);
        remove(&env.path("packer"));
    }
    compare("push one layer of 500 MB : packing it", &ours, &packing, 1.15);
    let again = again.iter().min().unwrap().as_secs_f64() * 1000.0;
    let verdict = if again <= 50.0 { "ok" } else { "over" };
    println!("{:<44} {again:>6.1} ms {:>26} ms  {verdict}", "push of what is there", 50);
    remove(&data);
}

/// An image of five layers from the registry to directories, ready to be run, against skopeo and umoci.
fn pulling(env: &TestEnv, registry: &Registry, peak: &mut u64) {
    let mut text = "FROM base:1\n".to_owned();
    for layer in 0..LAYERS {
        files(&env.context().join(layer.to_string()), LAYER, layer + 1);
        text += &format!("COPY {layer} /{layer}\n");
    }
    let name = format!("{}/five:1", registry.address());
    env.dockerfile(&text)
        .rbuild(&["-t", &name, "--push", "."])
        .limit(Duration::from_secs(600))
        .run()
        .success();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let store = env.path("fresh");
        let run = ["--root", store.to_str().unwrap(), "run", "--rm", &name, "true"];
        ours.push(measured(env.rbuild(&run).into_command(), peak));
        remove(&store);
        let (layout, bundle) = (env.path("layout"), env.path("bundle"));
        let (from, to) = (format!("docker://{name}"), format!("oci:{}:x", layout.display()));
        let copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to];
        let copied = measured(env.program("skopeo", &copy).into_command(), &mut 0);
        let image = format!("{}:x", layout.display());
        let unpack = ["unpack", "--image", &image, bundle.to_str().unwrap()];
        theirs.push(copied + measured(env.program("umoci", &unpack).into_command(), &mut 0));
        remove(&layout);
        remove(&bundle);
    }
    compare("pull and unpack 400 MB : skopeo and umoci", &ours, &theirs, 0.6);
}

/// A store in which nothing has been packed, to be pushed from once.
fn copied_store(env: &TestEnv) -> PathBuf {
    let copy = env.path("copy");
    let status = Command::new("cp").arg("-a").arg(env.store()).arg(&copy).status().unwrap();
    assert!(status.success());
    // The push ends with a sync; it is not to wait for this copy.
    assert!(Command::new("sync").status().unwrap().success());
    copy
}

/// Programs, libraries and texts of this machine, so many bytes of them; another part for each `skip`.
fn files(to: &Path, size: u64, skip: usize) {
    fs::create_dir_all(to).unwrap();
    let mut left = i64::try_from(size).unwrap();
    let mut waiting: Vec<PathBuf> = ["/usr/share", "/usr/bin", "/usr/lib"].map(PathBuf::from).into();
    let mut seen = 0;
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                seen += 1;
                if skip > 0 && seen % (LAYERS + 1) != skip {
                    continue;
                }
                left -=
                    i64::try_from(fs::copy(entry.path(), to.join(seen.to_string())).unwrap_or(0)).unwrap();
                if left <= 0 {
                    return;
                }
            }
        }
    }
    // The machine has less: random bytes fill up.
    let mut noise = fs::File::create(to.join("noise")).unwrap();
    let random = fs::File::open("/dev/urandom").unwrap();
    std::io::copy(&mut std::io::Read::take(random, u64::try_from(left).unwrap()), &mut noise).unwrap();
}

/// How long a command takes; `peak` becomes the most kilobytes that it had, if that is more.
fn measured(mut command: Command, peak: &mut u64) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let file = format!("/proc/{}/status", child.id());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        *peak = kilobytes.unwrap_or(0).max(*peak);
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn compare(name: &str, ours: &[Duration], theirs: &[Duration], limit: f64) {
    let best = |times: &[Duration]| times.iter().min().unwrap().as_secs_f64();
    let (ours, theirs) = (best(ours), best(theirs));
    let ratio = ours / theirs;
    let verdict = if ratio <= limit { "ok" } else { "over" };
    println!("{name:<44} {ours:>7.2} s {theirs:>7.2} s {ratio:>6.2}x {limit:>7.2}x  {verdict}");
}

fn remove(path: &Path) {
    let status = Command::new("rm").arg("-rf").arg(path).status().unwrap();
    assert!(status.success());
}
