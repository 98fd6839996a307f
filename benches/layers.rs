//! The byte machine: unpacking, and packing with both digests, beside what one would do with tar, pigz and sha256sum on the same
//! files in the same run.
//!
//! `cargo bench --bench layers [DIRECTORY]`; the directory is packed, `/usr/share` by default. `RBUILD_TEST_DEBIAN` names the tar
//! of a Debian (`mmdebstrap --variant=apt bookworm debian.tar`), whose layers are unpacked beside skopeo and umoci. The figures are
//! ratios of medians: machines differ. One over its limit is said, not failed.
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

use rbuild::image::{Codec, Compression, Descriptor, DiffId};
use rbuild::layer::{seal, unpack_blob};
use rbuild::store::Store;

const RUNS: usize = 3;

fn main() -> ExitCode {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = PathBuf::from(directory.unwrap_or_else(|| "/usr/share".to_owned()));
    if !has("pigz") || !has("tar") {
        eprintln!("the figures are beside those of tar and pigz, which are not both installed");
        return ExitCode::FAILURE;
    }
    let world = tempfile::Builder::new().prefix("rbuild-bench-").tempdir_in("/var/tmp").unwrap();
    let bench =
        Bench { store: Store::ensure(&world.path().join("store")).unwrap(), world: world.path().to_owned() };
    println!("{:<44} {:>9} {:>9} {:>7} {:>8}", "figure", "rbuild", "peer", "ratio", "limit");
    let blob = bench.packing(&directory);
    bench.unpacking(&blob);
    bench.small_files();
    match std::env::var_os("RBUILD_TEST_DEBIAN") {
        Some(tar) if ["skopeo", "umoci"].into_iter().all(has) => bench.debian(Path::new(&tar)),
        Some(_) => {
            eprintln!("skopeo and umoci are not both installed: no chain of layers is unpacked beside them")
        }
        None => eprintln!("RBUILD_TEST_DEBIAN is not set: no chain of layers is unpacked"),
    }
    let peak = peak_memory();
    let verdict = if peak <= 150 { "ok" } else { "over" };
    println!("{:<44} {peak:>6} MB {:>26} MB  {verdict}", "resident memory at most", 150);
    ExitCode::SUCCESS
}

struct Bench {
    store: Store,
    world: PathBuf,
}

struct Packed {
    blob: Descriptor,
    diff_id: DiffId,
}

impl Bench {
    /// Tar, gzip and both digests, against tar and pigz without any.
    fn packing(&self, directory: &Path) -> Packed {
        let codec = Some(Codec { compression: Compression::Gzip, level: None });
        let (mut packed, mut times) = (None, Vec::new());
        let mut theirs = Vec::new();
        let archive = self.world.join("archive.tar.gz");
        for _ in 0..RUNS {
            let started = Instant::now();
            let sealed = seal(&self.store, directory, &[], codec, None).unwrap();
            times.push(started.elapsed());
            packed = Some(Packed { blob: sealed.blob.unwrap(), diff_id: sealed.diff_id });
            let pipe =
                format!("tar -C {0} -c . 2>/dev/null | pigz -6 -p2 > {1}", shown(directory), shown(&archive));
            theirs.push(shell(&pipe));
        }
        compare("pack, gzip, both digests : tar | pigz -6", times, theirs, 1.0 / 1.8);
        let packed = packed.unwrap();
        let (ours, peers) = (packed.blob.size, fs::metadata(&archive).unwrap().len());
        println!(
            "{:<44} {:>6} MB {:>6} MB {:>6.2}x {:>7.2}x  {}",
            "size of the blob : of pigz's",
            ours >> 20,
            peers >> 20,
            ours as f64 / peers as f64,
            1.0,
            if ours <= peers { "ok" } else { "over" }
        );
        packed
    }

    /// From a local gzip blob to a tree, with both digests, against pigz and tar without any.
    fn unpacking(&self, packed: &Packed) {
        let blob = self.store.blobs().path(&packed.blob.digest);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let started = Instant::now();
            let (snapshot, _) = unpack_blob(&self.store, &packed.blob, packed.diff_id).unwrap();
            ours.push(started.elapsed());
            remove(&self.store.snapshot_path(&snapshot));
            let tree = self.world.join(format!("tree-{run}"));
            fs::create_dir(&tree).unwrap();
            theirs.push(shell(&format!("pigz -dc {} | tar -x -C {}", shown(&blob), shown(&tree))));
            remove(&tree);
        }
        compare("unpack, both digests : pigz -dc | tar x", ours, theirs, 1.2);
    }

    /// A chain of layers of a Debian from local gzip blobs, as a build unpacks it, against what one would do without digests, and
    /// against the tools that check them. Then the same as xz, which archives may be.
    fn debian(&self, tar: &Path) {
        let chain = self.chain(tar);
        let (mut ours, mut plain, mut peers) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..RUNS {
            let (bundle, copy) = (shown(&self.world.join(format!("bundle-{run}"))), format!("copy-{run}"));
            ours.push(self.unpack_chain(&chain));
            let tree = self.world.join(format!("debian-{run}"));
            fs::create_dir(&tree).unwrap();
            let each = chain.iter().map(|layer| {
                let blob = shown(&self.store.blobs().path(&layer.blob.digest));
                format!("pigz -dc {blob} | tar -x -C {} && ", shown(&tree))
            });
            plain.push(shell(&format!("{}true", each.collect::<String>())));
            peers.push(self.in_world(&format!(
                "skopeo --insecure-policy copy -q oci:layout:debian oci:{copy}:debian && umoci unpack --image {copy}:debian {bundle} 2>/dev/null"
            )));
            remove(&tree);
            remove(Path::new(&bundle));
            remove(&self.world.join(copy));
        }
        compare("unpack a Debian's layers : pigz -dc | tar x", ours.clone(), plain, 1.2);
        compare("the same : skopeo copy, umoci unpack", ours, peers, 1.0);
        let xz = self.in_world_read(&format!("xz -2 -T0 -c {}", shown(tar)));
        let blob = Descriptor {
            digest: self.store.blobs().put(&xz).unwrap(),
            size: xz.len() as u64,
            ..chain[0].blob.clone()
        };
        let packed = [Packed { blob, diff_id: chain[0].diff_id }];
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            ours.push(self.unpack_chain(&packed));
            let tree = self.world.join(format!("xz-{run}"));
            fs::create_dir(&tree).unwrap();
            let blob = shown(&self.store.blobs().path(&packed[0].blob.digest));
            theirs.push(shell(&format!("xz -dc {blob} | tar -x -C {}", shown(&tree))));
            remove(&tree);
        }
        compare("unpack it from xz : xz -dc | tar x", ours, theirs, 1.5);
    }

    /// Three layers, made by umoci: a Debian, then its libraries and its documentation as if they had been replaced.
    fn chain(&self, tar: &Path) -> Vec<Packed> {
        let tree = self.world.join("debian");
        fs::create_dir(&tree).unwrap();
        shell(&format!("tar -x -C {} -f {}", shown(&tree), shown(tar)));
        self.in_world("tar -c -f lib.tar -C debian usr/lib && tar -c -f share.tar -C debian usr/share");
        self.in_world("umoci init --layout layout && umoci new --image layout:debian");
        for layer in [shown(tar).as_str(), "lib.tar", "share.tar"] {
            self.in_world(&format!("umoci raw add-layer --image layout:debian {layer} 2>/dev/null"));
        }
        remove(&tree);
        let blob =
            |digest: &str| fs::read(self.world.join("layout/blobs").join(digest.replace(':', "/"))).unwrap();
        let document = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let index = document(&fs::read(self.world.join("layout/index.json")).unwrap());
        let manifest = document(&blob(index["manifests"][0]["digest"].as_str().unwrap()));
        let config = document(&blob(manifest["config"]["digest"].as_str().unwrap()));
        let (layers, diff_ids) = (&manifest["layers"], &config["rootfs"]["diff_ids"]);
        let layer = |(layer, diff_id): (&serde_json::Value, &serde_json::Value)| {
            let blob: Vec<u8> = blob(layer["digest"].as_str().unwrap());
            self.store.blobs().put(&blob).unwrap();
            let diff_id = DiffId(diff_id.as_str().unwrap().parse().unwrap());
            Packed { blob: serde_json::from_value(layer.clone()).unwrap(), diff_id }
        };
        layers.as_array().unwrap().iter().zip(diff_ids.as_array().unwrap()).map(layer).collect()
    }

    /// All layers at the same time, as a build does it.
    fn unpack_chain(&self, chain: &[Packed]) -> Duration {
        let started = Instant::now();
        let snapshots: Vec<_> = std::thread::scope(|scope| {
            let unpacking = chain
                .iter()
                .map(|layer| scope.spawn(|| unpack_blob(&self.store, &layer.blob, layer.diff_id).unwrap().0));
            unpacking.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let took = started.elapsed();
        snapshots.iter().for_each(|snapshot| remove(&self.store.snapshot_path(snapshot)));
        took
    }

    fn in_world(&self, line: &str) -> Duration {
        shell(&format!("cd {} && {line}", shown(&self.world)))
    }

    fn in_world_read(&self, line: &str) -> Vec<u8> {
        let output = Command::new("sh").args(["-c", line]).current_dir(&self.world).output().unwrap();
        assert!(output.status.success(), "{line}");
        output.stdout
    }

    /// 100,000 files of 1 KB, uncompressed with a digest, against tar and sha256sum.
    fn small_files(&self) {
        let directory = self.world.join("small");
        for group in 0..100 {
            let inner = directory.join(group.to_string());
            fs::create_dir_all(&inner).unwrap();
            for number in 0..1000 {
                fs::write(inner.join(number.to_string()), [b'x'; 1024]).unwrap();
            }
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let archive = self.world.join("small.tar");
        let codec = Some(Codec { compression: Compression::None, level: None });
        for _ in 0..RUNS {
            let started = Instant::now();
            let _ = seal(&self.store, &directory, &[], codec, None).unwrap();
            ours.push(started.elapsed());
            let (from, to) = (shown(&directory), shown(&archive));
            theirs.push(shell(&format!("tar -C {from} -cf {to} . && sha256sum {to} > /dev/null")));
        }
        compare("pack 100,000 small files : tar, sha256sum", ours, theirs, 1.2);
    }
}

fn compare(name: &str, mut ours: Vec<Duration>, mut theirs: Vec<Duration>, limit: f64) {
    ours.sort_unstable();
    theirs.sort_unstable();
    let (ours, theirs) = (ours[RUNS / 2].as_secs_f64(), theirs[RUNS / 2].as_secs_f64());
    let ratio = ours / theirs;
    let verdict = if ratio <= limit { "ok" } else { "over" };
    println!("{name:<44} {ours:>7.2} s {theirs:>7.2} s {ratio:>6.2}x {limit:>7.2}x  {verdict}");
}

fn shell(line: &str) -> Duration {
    let started = Instant::now();
    let status = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{line}: {status}");
    started.elapsed()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn remove(tree: &Path) {
    shell(&format!("rm -rf {}", shown(tree)));
}

/// In megabytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}
