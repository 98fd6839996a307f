//! COPY of many files, which several threads copy: nothing gets lost, mixed up or taken for what it was not.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::TestEnv;

const DIRECTORIES: usize = 30;
const FILES: usize = 40;

/// Files of many sizes and modes, links of both kinds, and an empty directory.
fn lay_many(env: &TestEnv) {
    const SIZES: [usize; 7] = [0, 1, 4096, 65_535, 65_536, 65_537, 300_000];
    const MODES: [u32; 6] = [0o644, 0o600, 0o755, 0o444, 0o4755, 0o666];
    let top = env.context().join("src");
    for directory in 0..DIRECTORIES {
        let place = top.join(format!("d{}/e{directory}", directory % 3));
        fs::create_dir_all(&place).unwrap();
        for number in 0..FILES {
            let seed = directory * FILES + number;
            // Large ones are few.
            let size = if number % 10 == 0 { SIZES[directory % SIZES.len()] } else { seed % 500 };
            let path = place.join(format!("f{number}"));
            fs::write(&path, format!("{seed} ").repeat(size / 2 + 1).as_bytes().get(..size).unwrap())
                .unwrap();
            fs::set_permissions(&path, Permissions::from_mode(MODES[seed % MODES.len()])).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000 + seed as u64, 123_456_789);
            File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        }
        symlink("../nowhere", place.join("link")).unwrap();
        fs::hard_link(place.join("f1"), place.join("same-as-f1")).unwrap();
        if directory > 0 {
            fs::hard_link(place.join("f2"), top.join(format!("same-as-f2-of-{directory}"))).unwrap();
        }
    }
    fs::create_dir(top.join("empty")).unwrap();
    fs::set_permissions(top.join("empty"), Permissions::from_mode(0o711)).unwrap();
    let holes = File::create(top.join("holes")).unwrap();
    holes.set_len(3 << 20).unwrap();
    holes.write_at(b"in the middle", 1 << 20).unwrap();
}

/// Kind, mode, seconds, number of names and content of all that is in a directory, sorted by path.
fn listed(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let shown = path.strip_prefix(directory).unwrap().display().to_string();
            let content = if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                todo.push(path);
                String::new()
            } else {
                let bytes = fs::read(&path).unwrap();
                format!(
                    "{} names, {} bytes, {}",
                    metadata.nlink(),
                    bytes.len(),
                    rbuild::image::Digest::of(&bytes)
                )
            };
            let time = if metadata.is_file() { metadata.mtime() } else { 0 };
            lines.push(format!("{shown}: {:o} {time} {content}", metadata.mode()));
        }
    }
    lines.sort();
    lines
}

fn snapshot_with(env: &TestEnv, inner: &str) -> std::path::PathBuf {
    let snapshots = fs::read_dir(env.store().join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    snapshots.into_iter().find(|snapshot| snapshot.join(inner).exists()).unwrap()
}

#[test]
fn everything_is_copied_as_it_is() {
    let env = TestEnv::new();
    lay_many(&env);
    env.dockerfile("FROM scratch\nCOPY src /\n");
    env.rbuild(&["."]).run().success();
    let (expected, made) = (listed(&env.context().join("src")), listed(&snapshot_with(&env, "holes")));
    assert_eq!(expected.len(), made.len());
    expected.iter().zip(&made).for_each(|(expected, made)| assert_eq!(expected, made));
}

#[test]
fn of_two_sources_the_second_wins_file_by_file() {
    let env = TestEnv::new();
    for number in 0..200 {
        env.write(&format!("a/{}/f{number}", number % 3), &format!("a{number}"));
        env.write(&format!("a/{}/same{number}", number % 3), "a");
        env.write(&format!("b/{}/f{}", (2 * number) % 3, 2 * number), &format!("b{}", 2 * number));
    }
    env.dockerfile("FROM scratch\nCOPY a b /dst/\n");
    env.rbuild(&["."]).run().success();
    let made = snapshot_with(&env, "dst").join("dst");
    for number in 0..200 {
        let expected = if number % 2 == 0 { format!("b{number}") } else { format!("a{number}") };
        assert_eq!(fs::read_to_string(made.join(format!("{}/f{number}", number % 3))).unwrap(), expected);
        assert_eq!(fs::read_to_string(made.join(format!("{}/same{number}", number % 3))).unwrap(), "a");
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_ends_the_copy() {
    let env = TestEnv::new();
    for number in 0..500 {
        env.write(&format!("a/d/f{number:03}"), "a").write(&format!("b/d/f{number:03}"), "b");
    }
    fs::remove_file(env.context().join("b/d/f250")).unwrap();
    env.write("b/d/f250/in", "b");
    env.dockerfile("FROM scratch\nCOPY b a /dst/\n");
    let built = env.rbuild(&["."]).run().code(3);
    assert!(built.stderr().contains("/dst/d/f250"), "{built}");
    assert!(built.stderr().contains("a file cannot take the place of the directory there"), "{built}");
}

/// While a build runs somebody rewrites files with the one or the other content, so that what was hashed and what was copied differ
/// sooner or later. Nothing of that may be found by a build of files that stay as they are.
#[test]
fn what_changes_between_hashing_and_copying_is_not_remembered() {
    const TEXTS: [&str; 2] = ["one text", "the other"];
    let env = TestEnv::new();
    let write_all = |text: &str| {
        for number in 0..300 {
            fs::write(env.context().join(format!("src/f{number}")), text).unwrap();
        }
    };
    env.write("src/first", "");
    write_all(TEXTS[0]);
    env.dockerfile("FROM scratch\nCOPY src /dst\n");
    let mut noticed = 0;
    for _ in 0..6 {
        let is_over = AtomicBool::new(false);
        let built = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    TEXTS.iter().for_each(|text| write_all(text));
                }
            });
            let built = env.rbuild(&["."]).run().success();
            is_over.store(true, Ordering::Relaxed);
            built
        });
        noticed += usize::from(built.stderr().contains("have changed during"));
    }
    assert!(noticed > 0, "nobody has changed anything in time");
    for text in TEXTS {
        write_all(text);
        let out = env.path("out");
        env.rbuild(&["-o", out.to_str().unwrap(), "."]).run().success();
        for number in 0..300 {
            assert_eq!(fs::read_to_string(out.join(format!("dst/f{number}"))).unwrap(), text, "f{number}");
        }
        fs::remove_dir_all(out).unwrap();
    }
}
