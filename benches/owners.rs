//! What it costs that calls are answered from outside: files made, renamed, looked at and removed, processes started and
//! ids asked for, in one RUN step on each rung that whoever runs this can stand on.
//!
//! `cargo bench --bench owners [-- NAME]`, of which the name picks those that contain it. Each figure is the best of several runs of the release program; the work is done inside by a
//! copy of this program, so that no shell is measured. To compare a range of ids with a single one, run it as a user who
//! has a range.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BaseImage, TestEnv, has_subuid_range, is_root};

/// The first argument of the copy that works inside.
const INSIDE: &str = "work-inside";

/// Something done so often.
type Action = fn(u32);

/// Name, how often, what has to be done before, and what.
const WORK: [(&str, u32, Action, Action); 9] = [
    ("getuid", 100_000, nothing, ask),
    ("stat", 100_000, nothing, look),
    ("fstat", 100_000, nothing, look_at_open),
    ("chown", 10_000, nothing, give_away),
    ("create, write and close", 10_000, nothing, create),
    ("rename", 10_000, create, rename),
    ("start a process", 300, nothing, start),
    ("create, write, rename and unlink", 10_000, nothing, all_four),
    // Last: ext4 is slow at giving out inodes that were just freed.
    ("unlink", 10_000, create, unlink),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == INSIDE) {
        work(arguments.get(2).map_or("", String::as_str));
        return ExitCode::SUCCESS;
    }
    let picked = arguments.get(1).filter(|first| !first.starts_with('-')).map_or("", String::as_str);
    let rungs: &[&str] = match (is_root(), has_subuid_range()) {
        (true, _) => &["root", "single"],
        (false, true) => &["range", "single"],
        (false, false) => &["single"],
    };
    let measured: Vec<_> = rungs
        .iter()
        .flat_map(|rung| [(*rung, "root"), (*rung, "app")])
        .map(|who| measure(who, picked))
        .collect();
    print!("{:<36}", "microseconds for one");
    rungs.iter().for_each(|rung| print!("{:>14}{:>14}", format!("{rung}, root"), format!("{rung}, app")));
    println!();
    for (index, (name, ..)) in chosen(picked).enumerate() {
        print!("{name:<36}");
        measured.iter().for_each(|figures| print!("{:>14.2}", figures[index]));
        println!();
    }
    ExitCode::SUCCESS
}

/// The figures of one step.
fn measure((rung, user): (&str, &str), picked: &str) -> Vec<f64> {
    let env = TestEnv::new();
    let context = BaseImage::busybox().context(&env);
    let rootfs = context.join("rootfs");
    let program = std::env::current_exe().unwrap();
    fs::copy(&program, rootfs.join("bin/worker")).unwrap();
    for library in libraries(&program) {
        let place = rootfs.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&library, place).unwrap();
    }
    let base = ["--isolation", rung, "-q", "-t", "base", context.to_str().unwrap()];
    env.rbuild(&base).run().success();
    let dockerfile = format!(
        "FROM base\nRUN mkdir /work && chmod 777 /work\nUSER {user}\nRUN worker {INSIDE} '{picked}'\n"
    );
    env.dockerfile(&dockerfile);
    let runs = (0..3).map(|_| {
        // For the same reason: as long as it remembers them.
        std::thread::sleep(Duration::from_secs(6));
        let output =
            env.rbuild(&["--isolation", rung, "--no-cache", "--progress", "plain", "-t", "x", "."]).run();
        let output = output.success();
        let lines =
            output.stderr().lines().filter_map(|line| line.split_once("figure ")).map(|(_, figure)| figure);
        lines.map(|figure| figure.trim().parse::<f64>().unwrap()).collect::<Vec<_>>()
    });
    runs.reduce(|best, run| best.iter().zip(run).map(|(one, other)| one.min(other)).collect()).unwrap()
}

/// As ldd tells them, the loader too.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().flat_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(str::to_owned).collect()
}

fn chosen(picked: &str) -> impl Iterator<Item = (&'static str, u32, Action, Action)> {
    WORK.into_iter().filter(move |(name, ..)| name.contains(picked))
}

fn work(picked: &str) {
    for (index, (_, count, prepare, action)) in chosen(picked).enumerate() {
        let directory = format!("/work/{index}");
        fs::create_dir(&directory).unwrap();
        std::env::set_current_dir(&directory).unwrap();
        prepare(count);
        let started = Instant::now();
        action(count);
        println!("figure {:.3}", started.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
}

fn nothing(_: u32) {}

fn ask(count: u32) {
    (0..count).for_each(|_| {
        std::hint::black_box(rustix::process::getuid());
    });
}

fn look(count: u32) {
    (0..count).for_each(|_| {
        std::hint::black_box(fs::symlink_metadata("/bin/busybox").unwrap());
    });
}

fn look_at_open(count: u32) {
    let file = fs::File::open("/bin/busybox").unwrap();
    (0..count).for_each(|_| {
        std::hint::black_box(rustix::fs::fstat(&file).unwrap());
    });
}

fn give_away(count: u32) {
    fs::write("file", "").unwrap();
    let own = rustix::process::geteuid();
    (0..count).for_each(|_| {
        rustix::fs::chown("file", Some(own), None).unwrap();
    });
}

fn create(count: u32) {
    (0..count).for_each(|number| fs::write(number.to_string(), "content").unwrap());
}

fn rename(count: u32) {
    (0..count).for_each(|number| fs::rename(number.to_string(), format!("to-{number}")).unwrap());
}

fn unlink(count: u32) {
    (0..count).for_each(|number| fs::remove_file(number.to_string()).unwrap());
}

fn all_four(count: u32) {
    for number in 0..count {
        let (from, to) = (number.to_string(), format!("to-{number}"));
        fs::write(&from, "content").unwrap();
        fs::rename(&from, &to).unwrap();
        fs::remove_file(&to).unwrap();
    }
}

fn start(count: u32) {
    (0..count).for_each(|_| {
        std::hint::black_box(Command::new("/bin/true").status().unwrap());
    });
}
