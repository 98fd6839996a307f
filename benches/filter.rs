//! What the filter of system calls costs: to make and to install, and for each call: `cargo bench --bench filter`.
//!
//! It takes root, or a user namespace: `unshare -Ur cargo bench --bench filter`.
#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]
#![allow(clippy::unwrap_used, reason = "a measurement may fail")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rbuild::sandbox::{Capabilities, profile};
use rbuild::sys::seccomp;

const RUNS: usize = 101;
const CALLS: u32 = 100_000;

fn main() -> ExitCode {
    let length = profile::program(Capabilities::USUAL).map_or(0, |program| program.len());
    println!("the program has {length} instructions");
    let met = figure("made", Duration::from_micros(100), || {
        elapsed(|| drop(black_box(profile::program(Capabilities::USUAL))))
    });
    // A thread keeps its filters to itself, and takes them with it.
    let met =
        met & figure("made and installed", Duration::from_micros(100), || in_thread(|| elapsed(install)));
    let per_call = |install: fn()| {
        in_thread(move || {
            install();
            elapsed(|| {
                for _ in 0..CALLS {
                    black_box(rustix::process::getppid());
                }
            }) / CALLS
        })
    };
    let met = met & figure("a getppid without it", Duration::from_micros(1), || per_call(|| ()));
    let met = met & figure("a getppid with it", Duration::from_micros(1), || per_call(install));
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn install() {
    seccomp::install(&profile::program(Capabilities::USUAL).unwrap()).unwrap();
}

fn in_thread(work: impl FnOnce() -> Duration + Send) -> Duration {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn elapsed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Prints the median of several runs and its limit; whether it is kept.
fn figure(what: &str, limit: Duration, work: impl Fn() -> Duration) -> bool {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| work()).collect();
    times.sort_unstable();
    let median = times[RUNS / 2];
    let verdict = if median <= limit { "kept" } else { "MISSED" };
    println!(
        "{what}: {median:.2?} (limit {limit:?}, {verdict}; {:.2?} to {:.2?})",
        times[0],
        times[RUNS - 1]
    );
    median <= limit
}
