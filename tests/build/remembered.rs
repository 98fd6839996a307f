//! Files of the context that have not changed are not read again; whatever has changed is.

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::inotify;

use crate::support::TestEnv;

const FILES: usize = 40;

/// A context of some files in two directories, left alone for as long as it takes to be remembered.
fn world() -> TestEnv {
    let env = TestEnv::new();
    for number in 0..FILES {
        env.write(&format!("src/{}/f{number}", number % 2), &format!("content {number:03}"));
    }
    env.dockerfile("FROM scratch\nCOPY src /src\n");
    settle();
    env
}

fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn outcome(env: &TestEnv) -> String {
    let built = env.rbuild(&["."]).run().success();
    let outcome = built.outcome("COPY src /src").unwrap_or_else(|| panic!("{built}"));
    outcome.split(' ').next().unwrap().to_owned()
}

/// Which files below `src` somebody opens meanwhile.
fn opened(env: &TestEnv, work: impl FnOnce()) -> Vec<String> {
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let watch = inotify::init(flags).unwrap();
    for directory in ["src/0", "src/1"] {
        inotify::add_watch(&watch, env.context().join(directory), inotify::WatchFlags::OPEN).unwrap();
    }
    work();
    let mut buffer = [MaybeUninit::uninit(); 64 << 10];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        // The directories themselves have no name.
        names.extend(event.file_name().map(|name| CString::from(name).into_string().unwrap()));
    }
    names.sort();
    names.dedup();
    names
}

/// The only file of a kind of record.
fn memory(env: &TestEnv) -> PathBuf {
    let named = |path: &PathBuf| fs::read(path).unwrap().windows(8).any(|bytes| bytes == b"/context");
    let entries = fs::read_dir(env.store().join("digests")).unwrap();
    let about_context = |path: &PathBuf| path.file_name().unwrap().len() < 40 && named(path);
    entries.map(|entry| entry.unwrap().path()).find(about_context).expect("the context is remembered")
}

#[test]
fn an_unchanged_file_is_not_opened() {
    let env = world();
    let all = opened(&env, || assert_eq!(outcome(&env), "DONE"));
    assert_eq!(all.len(), FILES, "the first build reads everything");
    for _ in 0..2 {
        assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")), [""; 0]);
    }
    fs::write(env.context().join("src/1/f7"), "content x07").unwrap();
    assert_eq!(opened(&env, || assert_eq!(outcome(&env), "DONE")), ["f7"]);
}

#[test]
fn files_written_just_now_are_read_until_they_can_be_remembered() {
    let env = world();
    outcome(&env);
    fs::write(env.context().join("src/0/f0"), "other").unwrap();
    let read = opened(&env, || assert_eq!(outcome(&env), "DONE"));
    assert_eq!(read, ["f0"]);
    // Not again and again: at the first chance.
    settle();
    assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")), ["f0"]);
    assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")), [""; 0]);
}

fn set_modified(path: &Path, to: &fs::Metadata) {
    fs::File::options().write(true).open(path).unwrap().set_modified(to.modified().unwrap()).unwrap();
}

#[test]
fn no_change_is_missed() {
    let env = world();
    outcome(&env);
    let file = env.context().join("src/0/f0");
    let before = fs::metadata(&file).unwrap();
    // Every change from what is remembered, seen at once and as the only one.
    let expect = |expected: &str, what: &str| {
        assert_eq!(outcome(&env), expected, "{what}");
        settle();
        outcome(&env);
    };
    set_modified(&file, &fs::metadata(env.context().join("src")).unwrap());
    expect("CACHED", "only touched");
    fs::write(&file, "content 0x0").unwrap();
    set_modified(&file, &before);
    assert_eq!(fs::metadata(&file).unwrap().size(), before.size());
    expect("DONE", "same size and time, other bytes");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    expect("DONE", "mode");
    let other = env.context().join("other");
    fs::write(&other, "content y00").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    set_modified(&other, &before);
    settle();
    fs::rename(&other, &file).unwrap();
    expect("DONE", "another file in its place, not changed itself for long");
    fs::rename(env.context().join("src/0"), env.context().join("src/2")).unwrap();
    fs::rename(env.context().join("src/1"), env.context().join("src/0")).unwrap();
    fs::rename(env.context().join("src/2"), env.context().join("src/1")).unwrap();
    expect("DONE", "directories exchanged, no file in them changed");
    fs::write(&file, "content z00").ok();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(env.context().join("src/1/f0"), "user.kind", b"x", flags).unwrap();
    expect("DONE", "an attribute");
}

#[test]
fn what_changes_within_one_tick_of_the_clock_is_seen() {
    let env = world();
    let file = env.context().join("src/0/f0");
    let before = fs::metadata(&file).unwrap();
    for round in 0..20 {
        // Written, read by a build, and written again as fast as can be, with nothing but the bytes changed.
        fs::write(&file, format!("content {round:02}a")).unwrap();
        set_modified(&file, &before);
        let build = env.rbuild(&["-q", "."]).run().success();
        fs::write(&file, format!("content {round:02}b")).unwrap();
        set_modified(&file, &before);
        let again = env.rbuild(&["-q", "."]).run().success();
        assert_ne!(build.stdout(), again.stdout(), "{round}");
    }
}

#[test]
fn a_damaged_memory_is_none() {
    let env = world();
    outcome(&env);
    let (path, whole) = (memory(&env), fs::read(memory(&env)).unwrap());
    let turned = |index: usize| {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        bytes
    };
    let version = [&b"rbdigst9"[..], &whole[8..]].concat();
    let damaged = [
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 88].to_vec(),
        turned(whole.len() - 1),
        turned(whole.len() / 2),
        version,
        b"something else".to_vec(),
    ];
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        let found = env.rbuild(&["store", "check"]).run().code(6);
        assert!(found.stdout().contains("digests of a context's files that cannot be read"), "{found}");
        assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")).len(), FILES);
        env.rbuild(&["store", "check"]).run().success();
        assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")), [""; 0]);
    }
    fs::write(&path, "damaged").unwrap();
    env.rbuild(&["store", "check", "--repair"]).run().success();
    assert!(!path.exists());
}

fn quiet(env: &TestEnv) -> Command {
    let mut command = env.rbuild(&["-q", "."]).into_command();
    command.stdout(Stdio::null());
    command
}

#[test]
fn two_builds_at_once_remember_the_same() {
    let env = world();
    for round in 0..3 {
        for number in 0..FILES {
            env.write(&format!("src/{}/f{number}", number % 2), &format!("round {round} of {number:03}"));
        }
        settle();
        let children: Vec<_> = (0..4).map(|_| quiet(&env).spawn().unwrap()).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(opened(&env, || assert_eq!(outcome(&env), "CACHED")), [""; 0], "{round}");
    }
}

#[test]
fn the_memory_is_told_of_and_goes_with_everything() {
    let env = world();
    outcome(&env);
    let memory = memory(&env);
    let told = env.rbuild(&["du", "--filter", "type=source.local"]).run().success();
    assert!(told.stdout().contains("digests of the files of"), "{told}");
    env.rbuild(&["prune", "--force"]).run().success();
    assert!(memory.exists(), "it is worth more than the room it takes");
    env.rbuild(&["prune", "--force", "--all"]).run().success();
    assert!(!memory.exists());
    assert_eq!(outcome(&env), "DONE");
}
