//! A context of 10,000 files, 110 MB: what it adds to a build that is all cached, and what one changed file costs beside the first
//! copy of all of them.
//!
//! `cargo bench --bench context [DIRECTORY]`; context and stores are made in the directory, `/var/tmp` by default. Figures are
//! medians of the release program. One over its limit is said, not failed: the machine may be busy, and what a build that
//! copies takes is mostly what its disk takes to have it for good.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rbuild::context::{IgnoreFrom, KnownDigests, LocalContext, fingerprint};

const DIRECTORIES: usize = 100;
const FILES: usize = 100;
const SIZE: usize = 11_000;
const RUNS: usize = 7;

fn main() {
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = parent.unwrap_or_else(|| "/var/tmp".to_owned());
    let world = tempfile::Builder::new().prefix("rbuild-bench-").tempdir_in(parent).unwrap();
    let bench = Bench { world: world.path().to_owned() };
    bench.make_context();
    println!("{:<56} {:>10} {:>9}", "figure", "measured", "limit");
    bench.parts();
    bench.unchanged();
    bench.changed();
}

struct Bench {
    world: PathBuf,
}

impl Bench {
    fn make_context(&self) {
        for directory in 0..DIRECTORIES {
            let place = self.large().join(format!("src/package{}/module{directory}", directory % 10));
            fs::create_dir_all(&place).unwrap();
            for file in 0..FILES {
                // Something that no two files have in common.
                let text = format!("{directory} {file} ").repeat(SIZE / 4);
                fs::write(place.join(format!("file{file}.rs")), &text.as_bytes()[..SIZE]).unwrap();
            }
        }
        fs::write(self.large().join("Dockerfile"), "FROM scratch\nCOPY src /src\n").unwrap();
        let small = self.world.join("small");
        fs::create_dir_all(small.join("src")).unwrap();
        fs::write(small.join("src/file"), "one").unwrap();
        fs::write(small.join("Dockerfile"), "FROM scratch\nCOPY src /src\n").unwrap();
        // What was written just now cannot be remembered yet.
        std::thread::sleep(Duration::from_millis(2100));
    }

    fn large(&self) -> PathBuf {
        self.world.join("large")
    }

    fn build(&self, store: &str, context: &Path) -> Duration {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbuild"));
        command.arg("--root").arg(self.world.join(store)).args(["build", "-q"]).arg(context);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        assert!(command.status().unwrap().success());
        began.elapsed()
    }

    /// What the digest of a context consists of.
    fn parts(&self) {
        let context = LocalContext::open(&self.large(), IgnoreFrom::Files { dockerfile: None }).unwrap();
        let tree = context.tree();
        let top = tree.find(Path::new("/")).unwrap().unwrap();
        let memory = KnownDigests::nothing();
        note(
            "reading and hashing all",
            median(|| timed(|| fingerprint(tree, &[], &KnownDigests::nothing()))),
        );
        fingerprint(tree, &[], &memory).unwrap();
        note("digest of the tree, all remembered", median(|| timed(|| fingerprint(tree, &[], &memory))));
        note("of that, looking at every file", median(|| timed(|| tree.walk(&top).unwrap().count())));
    }

    fn unchanged(&self) {
        let small = self.world.join("small");
        for _ in 0..2 {
            self.build("store", &self.large());
            self.build("store", &small);
        }
        let alone = median(|| self.build("store", &small));
        let with = median(|| self.build("store", &self.large()));
        note("cached build of one file", alone);
        note("cached build of an unchanged context of 10,000 files", with);
        let added = milliseconds(with.saturating_sub(alone));
        println!("{:<56} {added:>7.2} ms {:>6} ms  {}", "what the files add", 25, verdict(added <= 25.0));
    }

    fn changed(&self) {
        // Nothing is removed: ext4 makes files many times slower as long as it remembers others that were there just now.
        let mut stores = 0;
        let cold = median(|| {
            stores += 1;
            rustix::fs::sync();
            self.build(&format!("cold-{stores}"), &self.large())
        });
        let store = format!("cold-{stores}");
        let file = self.large().join("src/package0/module0/file0.rs");
        let mut round = 0;
        let changed = median(|| {
            round += 1;
            fs::write(&file, format!("{round}")).unwrap();
            self.build(&store, &self.large())
        });
        note("first build of 10,000 files", cold);
        note("build with the first of them changed", changed);
        let ratio = changed.as_secs_f64() / cold.as_secs_f64();
        println!("{:<56} {ratio:>10.2} {:>9.2}  {}", "changed to first", 0.25, verdict(ratio <= 0.25));
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    std::hint::black_box(work());
    began.elapsed()
}

fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..RUNS).map(|_| run()).collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn note(name: &str, measured: Duration) {
    println!("{name:<56} {:>7.2} ms", milliseconds(measured));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn verdict(holds: bool) -> &'static str {
    if holds { "ok" } else { "over" }
}
