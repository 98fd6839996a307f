//! How long the Dockerfile language takes, against its limits: `cargo bench --bench language`.
#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]
#![allow(clippy::unwrap_used, reason = "a measurement may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rbuild::context::{Ignore, Inherited};
use rbuild::dockerfile::{self, Dockerfile};
use rbuild::graph::NetworkMode;
use rbuild::image::Platform;
use rbuild::plan::{self, Anew, BaseImages, Planned, Request};

const RUNS: usize = 15;

fn main() -> ExitCode {
    let file = long_file();
    let heredoc = heredoc();
    let (ignore, directories) = (patterns(), directories());
    let met = [
        figure("1,000 instructions in 50 stages, parsed and planned", 10, || drop(parse_and_plan(&file))),
        figure("the same, with every rule checked", 10, || {
            let file = parse_and_plan(&file);
            black_box(plan::lint(&file, &request(), &BaseImages::new(), None).unwrap());
        }),
        figure("a heredoc of 1 MiB, parsed and planned", 10, || drop(parse_and_plan(&heredoc))),
        figure("100,000 paths against 100 ignore patterns", 100, || {
            black_box(hidden(&ignore, &directories));
        }),
    ];
    if met.into_iter().all(|met| met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the median of several runs and its limit; whether it is kept.
fn figure(what: &str, limit: u64, work: impl Fn()) -> bool {
    let limit = Duration::from_millis(limit);
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..RUNS).map(time).collect();
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

fn parse_and_plan(text: &str) -> Dockerfile {
    let file = dockerfile::parse("Dockerfile", text).unwrap();
    match plan::plan(&file, &request(), &BaseImages::new()) {
        Ok(Planned::Ready(plan)) => drop(black_box(plan)),
        other => panic!("{other:?}"),
    }
    file
}

fn request() -> Request {
    Request {
        build_args: BTreeMap::from([("VERSION".to_owned(), "3".to_owned())]),
        target: None,
        platform: Platform::new("linux", "amd64", None),
        is_platform_given: false,
        build_platform: Platform::new("linux", "amd64", None),
        labels: Vec::new(),
        entitlements: BTreeSet::new(),
        contexts: BTreeMap::new(),
        anew: Anew::Nothing,
        ulimits: Vec::new(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
    }
}

/// Stages of 20 instructions each, all needed by the last one.
fn long_file() -> String {
    let mut text = "ARG VERSION=1\n".to_owned();
    for stage in 0..50 {
        match stage {
            0 => text.push_str("FROM scratch AS stage0\n"),
            _ => writeln!(text, "FROM stage{} AS stage{stage}", stage - 1).unwrap(),
        }
        writeln!(text, "ARG VERSION\nENV NAME{stage}=value-$VERSION PATH=/opt/{stage}:$PATH").unwrap();
        writeln!(text, "WORKDIR /work/$NAME{stage}").unwrap();
        writeln!(text, "LABEL org.example.stage{stage}=\"${{VERSION:-none}}\" other='$literal'").unwrap();
        for step in 0..5 {
            writeln!(text, "RUN set -e; echo \"$NAME{stage}\" > /out/{step} \\\n    && make all-{step}")
                .unwrap();
            writeln!(text, "COPY --chown=1000:1000 --chmod=644 src/{step}/*.c include/ ./lib/{step}/")
                .unwrap();
        }
        writeln!(text, "EXPOSE 80{stage} 90{stage}/udp\nUSER user$VERSION\nVOLUME /data/{stage}").unwrap();
        writeln!(text, "CMD [\"run\", \"{stage}\"]\nRUN <<EOF\necho one\necho two\nEOF").unwrap();
    }
    text
}

fn heredoc() -> String {
    let line = "a line of text that has a $NAME, some 'quotes' and an \\$escaped one\n";
    let body = line.repeat((1 << 20) / line.len());
    format!("FROM scratch\nENV NAME=value\nCOPY <<EOF /file\n{body}EOF\n")
}

fn patterns() -> Ignore {
    let kinds = ["dir#", "build/out#/**", "**/cache#", "*.ext#", "**/gen#/*.o"];
    let lines = (0..20).flat_map(|number| kinds.map(|kind| kind.replace('#', &number.to_string())));
    let text = lines.collect::<Vec<_>>().join("\n");
    Ignore::parse(text.as_bytes(), None).unwrap()
}

fn directories() -> Vec<(String, Vec<String>)> {
    let names = (0..100).flat_map(|outer| (0..10).map(move |inner| format!("pkg{outer}/src/mod{inner}")));
    let files = |directory: String| {
        let files = (0..100).map(|file| format!("{directory}/file_name_{file}.rs")).collect();
        (directory, files)
    };
    names.map(files).collect()
}

/// As a walk asks.
fn hidden(ignore: &Ignore, directories: &[(String, Vec<String>)]) -> usize {
    let mut count = 0;
    for (directory, files) in directories {
        let mut inherited = Inherited::default();
        for (end, _) in directory.match_indices('/') {
            inherited = ignore.enter(&inherited, &directory.as_bytes()[..end]);
        }
        let inherited = ignore.enter(&inherited, directory.as_bytes());
        count += files.iter().filter(|file| ignore.hides(&inherited, file.as_bytes())).count();
    }
    count
}
