//! The shape of the house, held by a test: who may import whom, where `unsafe` lives, how long a file gets.
//!
//! The tables below are the law; `src/ARCHITECTURE.md` shows the same ranks to people. A failure names file, line, rule and what
//! to do. To change a rule, change its table here and the page in the same commit, and say why.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod docs;
mod imports;
mod modules;
mod source;

use source::{Source, sources};

/// Lowest first. A module may import modules of lower ranks only.
const RANKS: [&[&str]; 6] = [
    &["sys", "image", "dockerfile", "event"],
    &["graph", "store", "registry", "context", "snapshot", "sandbox"],
    &["layer", "plan", "solve", "cache"],
    &["exec", "export", "import", "container"],
    &["build", "catalog"],
    &["cli", "ui"],
];

/// Imports within one rank that are meant: importer, imported, reason.
const NEIGHBOURS: &[(&str, &str, &str)] =
    &[("cli", "ui", "the command line chooses how progress is shown and starts it")];

/// Imports that the ranks would allow and that are wrong all the same: importer, imported, reason.
const STRANGERS: &[(&str, &[&str], &str)] = &[
    ("plan", &["store", "registry", "snapshot", "sandbox", "context", "sys"], "planning is pure"),
    (
        "solve",
        &["sandbox", "snapshot", "store", "registry", "context", "dockerfile"],
        "the scheduler has never heard of containers; what it needs comes through its Worker trait (but digests)",
    ),
    ("sandbox", &["dockerfile", "image"], "a sandbox runs processes, whatever they are for"),
    ("store", &["dockerfile"], "the store keeps bytes and records, not their meaning"),
    ("registry", &["dockerfile"], "a registry has blobs and manifests, not Dockerfiles"),
];

/// Modules that compute and nothing else.
const PURE: &[&str] = &["dockerfile", "plan", "image", "graph"];
const IMPURE: &[&str] = &[
    "std::fs",
    "env::current_dir",
    "env::current_exe",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixStream",
    "std::process",
    "tokio",
    "rustix",
    "reqwest",
];

/// Modules that speak to the person and may read the environment.
const FRONT: &[&str] = &["cli", "ui", "main"];
const FRONT_ONLY: &[&str] = &[
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "env::var",
    "env::vars",
    "env::var_os",
    "env::vars_os",
    "env::temp_dir",
    "env::home_dir",
    "process::exit",
];

/// Files below `cli` that may do one of [`FRONT_ONLY`]: file, what, reason.
const FRONT_EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "manager", "types", "impl"];

const LONGEST_FILE: usize = 800;

#[test]
fn imports_point_one_way() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let Some(importer) = source.module() else { continue };
        if imports::rank(importer).is_none() {
            faults.push(source.fault(1, &format!("module `{importer}` has no rank; add it to RANKS")));
        }
        for import in imports::of(&source) {
            faults.extend(imports::judge(importer, &import).map(|why| source.fault(import.line, &why)));
        }
    }
    report(&faults);
}

#[test]
fn pure_modules_touch_nothing() {
    let mut faults = Vec::new();
    for source in sources("src").iter().filter(|source| source.module().is_some_and(|it| PURE.contains(&it)))
    {
        for word in IMPURE {
            faults.extend(source.product_lines_with(word).map(|line| {
                let why =
                    "this module is pure: take the value as an argument, or a trait that a caller implements";
                source.fault(line, &format!("`{word}`: {why}"))
            }));
        }
    }
    report(&faults);
}

#[test]
fn unsafe_stays_in_sys() {
    let mut faults = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")).chain(&sources("benches")) {
        if source.module() == Some("sys") {
            continue;
        }
        for word in ["unsafe", "unsafe_code"] {
            faults.extend(source.lines_with(word).map(|line| {
                source.fault(
                    line,
                    &format!("`{word}` outside src/sys: wrap what you need there in a safe function"),
                )
            }));
        }
    }
    report(&faults);
}

#[test]
fn no_file_is_too_long() {
    let mut faults = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")).chain(&sources("benches")) {
        let lines = source.code.lines().count();
        if lines > LONGEST_FILE {
            let rule = format!("{lines} lines, the wall is {LONGEST_FILE}: split it by subject");
            faults.push(source.fault(lines, &rule));
        }
    }
    report(&faults);
}

#[test]
fn only_the_front_prints_exits_and_reads_the_environment() {
    let mut faults = Vec::new();
    for source in sources("src") {
        if source.module().is_none_or(|module| FRONT.contains(&module)) {
            continue;
        }
        for word in FRONT_ONLY {
            if FRONT_EXCEPTIONS.iter().any(|(file, what, _)| source.path == *file && what == word) {
                continue;
            }
            faults.extend(source.product_lines_with(word).map(|line| {
                let instead = "send an event, return an error, or take the value from cli as an argument";
                source.fault(line, &format!("`{word}` below cli: {instead}"))
            }));
        }
    }
    report(&faults);
}

#[test]
fn every_source_file_is_part_of_the_program() {
    let sources = sources("src");
    let reached = modules::reachable(&sources, &["src/lib.rs", "src/main.rs"]);
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    report(
        &lost
            .map(|source| source.fault(1, "no `mod` declares this file: declare it or delete it"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn module_names_say_something() {
    let mut faults = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        faults.extend(modules::bad_name(&source.path).map(|why| source.fault(1, &why)));
    }
    report(&faults);
}

#[test]
fn the_page_shows_the_same_ranks() {
    let Some(page) = docs::read("src/ARCHITECTURE.md") else { return };
    let ranks = RANKS.map(|rank| format!("`{}`", rank.join(" "))).join(" ◀ ");
    let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains(&ranks),
        "src/ARCHITECTURE.md does not show the ranks of RANKS; it should say\n  {ranks}"
    );
}

#[test]
fn the_documents_agree_on_exit_codes() {
    let Some(readme) = docs::read("README.md") else { return };
    let expected = docs::exit_codes(&readme);
    assert!(
        !expected.is_empty(),
        "README.md has no table of exit codes (a row looks like `| 0 | success |`)"
    );
    for path in ["src/ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let found = docs::read(path).map(|page| docs::exit_codes(&page)).unwrap_or_default();
        assert!(
            found.is_empty() || found == expected,
            "{path} lists exit codes {found:?}, README.md {expected:?}"
        );
    }
}

fn report(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} broken rule(s) of tests/architecture:\n  {}",
        faults.len(),
        faults.join("\n  ")
    );
}

#[test]
fn no_exception_outlives_its_cause() {
    for (file, what, _) in FRONT_EXCEPTIONS {
        let source = sources("src").into_iter().find(|source| source.path == *file);
        let used = source.is_some_and(|source: Source| source.product_lines_with(what).next().is_some());
        assert!(used, "FRONT_EXCEPTIONS excuses `{what}` in {file}, which does not do it: delete the row");
    }
}
