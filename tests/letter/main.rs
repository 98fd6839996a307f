//! Every instruction to the letter: small builds whose config, history and whole root file system are compared with what
//! the Dockerfile reference says, and with what another builder makes of the same files (`peer.rs`).
//!
//! The cases are text, `cases/<topic>.txt`: a line `=== name` begins one, and what is not told by an `@` is its Dockerfile.
//!
//! | line | meaning |
//! |---|---|
//! | `@in LINE` | a file of the context, as `support::lay` takes it; `\n` is a line's end |
//! | `@tar NAME LINE` | an entry of an archive of the context, as `support::tar` takes it; gzip if the name ends so |
//! | `@flags WORDS` | arguments of the build; a blank within one is `%20` |
//! | `@env NAME=VALUE` | the environment of the build |
//! | `@image NAME` ... `@then` | another Dockerfile, built before this one |
//! | `@out LINE` | a file of the image (`outcome.rs`), beside those of the base; `@out - PATH`: it is gone from there |
//! | `@time PATH SECONDS` | when it was modified; what comes from the context was in 2001: 1000000000 |
//! | `@config KEY VALUE` | the config, where it is not that of the base; `-` is none; values of `Env` are further ones |
//! | `@history + TEXT` | every entry after the base's; `-` if it has no layer. Without any, `history.rs` says what they should be |
//! | `@error CODE` | the build fails with this exit code |
//! | `@says TEXT`, `@omits TEXT` | what the progress and the errors have, or have not |
//! | `@unlike KIND` | the other builder makes something else of it: see `differences.rs` |
//!
//! Lines after `--- text` and before the next `===` belong to every case that follows, as its beginning.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "failing cases are shown all together")]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod differences;
mod expected;
mod history;
mod outcome;
mod peer;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::Case;
use peer::Peer;
use support::{is_root, require_busybox, require_tool, source_directory};
use world::World;

macro_rules! topics {
    ($($topic:ident)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        $(#[test]
        fn $topic() {
            check(stringify!($topic));
        })*
    };
}

topics! {
    arguments metadata onbuild run stages copy_places copy_sources copy_metadata copy_flags add heredocs mounts history
    files corners parsing naming
}

/// Carries all cases of a topic out, and shows all that fail.
fn check(topic: &str) {
    require_busybox!();
    let world = World::share();
    let cases = cases(topic);
    let faults: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let found = world.build(case);
            expected::judge(case, &world, found).err().map(|fault| fault.at(topic, case))
        })
        .collect();
    eprintln!("{topic}: {} cases", cases.len());
    assert!(faults.is_empty(), "{} of {} cases\n\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// The cases of a topic; those that `RBUILD_TEST_CASE` asks for by a topic or a part of a name, if it is
/// set.
fn cases(topic: &str) -> Vec<Case> {
    let path = source_directory().join("tests/letter/cases").join(topic).with_extension("txt");
    let mut cases = case::parse(&std::fs::read_to_string(path).unwrap());
    if let Ok(wanted) = std::env::var("RBUILD_TEST_CASE") {
        cases.retain(|case| case.name.contains(&wanted) || topic == wanted);
    }
    cases
}

#[test]
fn every_file_of_cases_is_a_topic() {
    let files = std::fs::read_dir(source_directory().join("tests/letter/cases")).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let unknown: Vec<_> = names.filter(|name| !TOPICS.contains(&&name[..])).collect();
    assert!(unknown.is_empty(), "nothing runs {unknown:?}");
}

#[test]
fn every_difference_is_explained_and_every_explanation_used() {
    let marks: BTreeSet<_> =
        TOPICS.iter().flat_map(|topic| cases(topic)).filter_map(|case| case.unlike).collect();
    let known: BTreeSet<_> = differences::KINDS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
    let is_whole = std::env::var_os("RBUILD_TEST_CASE").is_none();
    assert!(
        marks.is_subset(&known) && (marks == known || !is_whole),
        "{:?}",
        marks.symmetric_difference(&known)
    );
}

#[test]
fn buildah_makes_the_same_but_for_what_is_explained() {
    if !is_root() {
        // Once is enough, and only root's buildah needs nothing else.
        return;
    }
    require_busybox!();
    require_tool!("buildah");
    let world = World::share();
    let all = TOPICS.iter().flat_map(|topic| cases(topic).into_iter().map(move |case| (*topic, case)));
    let cases: Vec<_> = all.filter(|(_, case)| differences::unknown(case).is_none()).collect();
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Each has a store of its own, because buildah locks the whole of it; and there are some more than cores, because it
                // waits for the disk most of the time.
                let peer = Peer::new();
                while let Some((topic, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(fault) = compare(&world, &peer, case) {
                        faults.lock().unwrap().push(fault.at(topic, case));
                    }
                }
            });
        }
    });
    let mut faults = faults.into_inner().unwrap();
    faults.sort();
    assert!(faults.is_empty(), "{} of {} cases\n\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// What is wrong with a case: it differs without a mark, or has a mark and does not differ.
fn compare(world: &World, peer: &Peer, case: &Case) -> Option<expected::Fault> {
    let ours = world.build(case).into_outcome();
    let theirs = peer.build(case);
    let mut found = match (&ours, &theirs) {
        (Some(ours), Ok(theirs)) => {
            expected::differences(&differences::comparable(ours), &differences::comparable(theirs))
        }
        (None, Err(_)) => Vec::new(),
        (Some(_), Err(said)) => vec![format!("it fails: {said}")],
        (None, Ok(_)) => vec!["it is built".to_owned()],
    };
    match &case.unlike {
        None if found.is_empty() => return None,
        None => {}
        Some(_) if !found.is_empty() => return None,
        Some(kind) => found.push(format!("the difference {kind} is none any more")),
    }
    Some(expected::Fault::new(found))
}
