//! A COPY shares with an earlier one the files that have not changed, and nobody sees that in the image.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{TestEnv, require_busybox};

const FILES: usize = 40;

fn world(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    for number in 0..FILES {
        env.write(&format!("src/{}/f{number}", number % 2), &format!("content {number:03}"));
    }
    env.dockerfile(dockerfile);
    env
}

fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

/// The layers of a build, which has to make its COPY, as a store that never saw the context makes them, too.
fn same_as_anew(env: &TestEnv, what: &str) {
    let layers = |root: &Path| -> String {
        let root = root.to_str().unwrap();
        let id = env.rbuild(&["--root", root, "build", "-q", "."]).run().success().stdout().trim().to_owned();
        let image = env.rbuild(&["--root", root, "inspect", "--format", "json", &id]).run().success();
        let image: serde_json::Value = serde_json::from_str(image.stdout()).unwrap();
        image["RootFS"]["Layers"].to_string()
    };
    let fresh = env.path("fresh");
    let (shared, anew) = (layers(&env.store()), layers(&fresh));
    assert!(shared.contains("sha256:"), "{shared}");
    assert_eq!(shared, anew, "{what}");
    env.rbuild(&["--root", fresh.to_str().unwrap(), "prune", "--all", "--force"]).run().success();
}

/// How many snapshots have a file that one path leads to, by inode.
fn inodes(env: &TestEnv, inner: &str) -> HashMap<u64, usize> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(env.store().join("snapshots")).unwrap() {
        if let Ok(metadata) = fs::metadata(entry.unwrap().path().join(inner)) {
            *found.entry(metadata.ino()).or_default() += 1;
        }
    }
    found
}

#[test]
fn unchanged_files_are_not_copied_again() {
    let env = world("FROM scratch\nCOPY src /src\n");
    settle();
    for round in 0..3 {
        env.write("src/1/f1", &format!("round {round}"));
        env.rbuild(&["."]).run().success();
    }
    assert_eq!(
        inodes(&env, "src/0/f0").into_values().collect::<Vec<_>>(),
        [3],
        "one file in three snapshots"
    );
    assert_eq!(inodes(&env, "src/1/f1").len(), 3);
    // Also where all that is known of the files is gone, and they have to be compared.
    fs::remove_dir_all(env.store().join("digests")).unwrap();
    env.write("src/1/f1", "round 3").rbuild(&["."]).run().success();
    assert_eq!(inodes(&env, "src/0/f0").into_values().collect::<Vec<_>>(), [4]);
}

#[test]
fn files_that_were_copied_before_they_could_be_remembered_are_compared() {
    let env = world("FROM scratch\nCOPY src /src\n");
    env.rbuild(&["."]).run().success();
    env.write("src/1/f1", "changed").rbuild(&["."]).run().success();
    assert_eq!(inodes(&env, "src/0/f0").into_values().collect::<Vec<_>>(), [2]);
}

fn copy_of(path: &Path) -> PathBuf {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    copy
}

#[test]
fn the_layer_is_as_if_nothing_were_shared() {
    let env = world("FROM scratch\nCOPY src /src\n");
    let path = |inner: &str| env.context().join("src").join(inner);
    let flags = rustix::fs::XattrFlags::empty();
    let steps: [(&str, &dyn Fn()); 13] = [
        ("at first", &|| {}),
        ("bytes", &|| fs::write(path("0/f0"), "other").unwrap()),
        ("same size and time, other bytes", &|| {
            let copy = copy_of(&path("0/f2"));
            fs::write(path("0/f2"), "CONTENT 002").unwrap();
            let time = fs::metadata(&copy).unwrap().modified().unwrap();
            fs::File::options().write(true).open(path("0/f2")).unwrap().set_modified(time).unwrap();
            fs::remove_file(copy).unwrap();
        }),
        ("time, beside another change", &|| {
            let file = fs::File::options().write(true).open(path("0/f4")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
            fs::write(path("0/f6"), "changed").unwrap();
        }),
        ("mode", &|| fs::set_permissions(path("0/f8"), fs::Permissions::from_mode(0o4751)).unwrap()),
        ("attribute", &|| rustix::fs::setxattr(path("0/f10"), "user.kind", b"x", flags).unwrap()),
        ("attribute gone", &|| rustix::fs::removexattr(path("0/f10"), "user.kind").unwrap()),
        ("linked", &|| fs::hard_link(path("0/f12"), path("1/linked")).unwrap()),
        ("two files of the same instead of a link", &|| {
            fs::rename(copy_of(&path("1/linked")), path("1/linked")).unwrap();
        }),
        ("linked again", &|| {
            fs::remove_file(path("1/linked")).unwrap();
            fs::hard_link(path("0/f12"), path("1/linked")).unwrap();
        }),
        ("a link instead of a file", &|| {
            fs::remove_file(path("0/f14")).unwrap();
            std::os::unix::fs::symlink("f16", path("0/f14")).unwrap();
        }),
        ("directories exchanged", &|| {
            fs::rename(path("0"), path("2")).unwrap();
            fs::rename(path("1"), path("0")).unwrap();
            fs::rename(path("2"), path("1")).unwrap();
        }),
        ("a file less, and one more", &|| fs::rename(path("1/f18"), path("1/new")).unwrap()),
    ];
    for (what, change) in steps {
        change();
        // Links are not what a key is about.
        env.write("src/changes", what);
        same_as_anew(&env, what);
        settle();
    }
    env.rbuild(&["store", "check", "--deep"]).run().success();
}

#[test]
fn what_was_replaced_by_another_source_is_not_shared() {
    let env = world("FROM scratch\nCOPY a b /dst/\n");
    let write = |inner: &str, content: &str| {
        env.write(inner, content);
        let file = fs::File::options().write(true).open(env.context().join(inner)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
    };
    for number in 0..FILES {
        write(&format!("a/f{number}"), "from a");
        write(&format!("b/f{number}"), "from b");
    }
    // One that is replaced by a link to another one.
    write("b/0first", "linked");
    fs::remove_file(env.context().join("b/f0")).unwrap();
    fs::hard_link(env.context().join("b/0first"), env.context().join("b/f0")).unwrap();
    settle();
    same_as_anew(&env, "both");
    for name in ["f0", "f1"] {
        fs::remove_file(env.context().join("b").join(name)).unwrap();
        same_as_anew(&env, name);
    }
}

#[test]
fn nothing_is_shared_where_everything_is_made_anew() {
    let env = world("FROM scratch\nCOPY src /src\n");
    settle();
    env.rbuild(&["."]).run().success();
    env.rbuild(&["--no-cache", "."]).run().success();
    assert_eq!(inodes(&env, "src/0/f0").len(), 2);
}

#[test]
fn owners_and_bases_of_their_own_count() {
    require_busybox!();
    let env = world("FROM scratch\nCOPY src /src\n");
    env.busybox_image("base:1");
    settle();
    for chown in ["", "--chown=7:8 ", "--chmod=640 ", "--chown=70000:70000 ", "--chown=user "] {
        for user in [1000, 1001] {
            env.dockerfile(&format!(
                "FROM base:1 AS base\nRUN echo user:x:{user}:{user}::/: >> /etc/passwd && mkdir -p /src/0 && chmod 700 /src/0 && touch -d @1000 /src/0 /src\nFROM base\nCOPY {chown}src /src\nRUN stat -c '%a %u %g %s %n' /src /src/*/* > /listing\n"
            ));
            env.write("src/1/f1", &format!("{chown}{user}"));
            env.rbuild(&["-t", "app", "."]).run().success();
            let listed = env.rbuild(&["run", "--rm", "app", "cat", "/listing"]).run().success();
            let expected = match chown.trim() {
                "" => "644 0 0 11 /src/0/f0".to_owned(),
                "--chown=7:8" => "644 7 8 11 /src/0/f0".to_owned(),
                "--chmod=640" => "640 0 0 11 /src/0/f0".to_owned(),
                "--chown=70000:70000" => "644 70000 70000 11 /src/0/f0".to_owned(),
                _ => format!("644 {user} {user} 11 /src/0/f0"),
            };
            let line = listed.stdout().lines().find(|line| line.ends_with("/src/0/f0"));
            // Who stands for an id that there is not is another matter.
            if !chown.contains("70000") {
                assert_eq!(line, Some(&*expected), "{chown} {user}\n{listed}");
            }
        }
    }
    env.rbuild(&["store", "check", "--deep"]).run().success();
}

#[test]
fn shared_files_count_once_and_stay_as_long_as_anybody_has_them() {
    let env = world("FROM scratch\nCOPY src /src\n");
    env.write("src/0/large", &"x".repeat(4_000_000));
    settle();
    let total = || -> u64 {
        let du = env.rbuild(&["du", "--format", "json"]).run().success();
        serde_json::from_str::<serde_json::Value>(du.stdout()).unwrap()["total"].as_u64().unwrap()
    };
    let mut totals = Vec::new();
    for round in 0..3 {
        env.write("src/1/f1", &format!("round {round}"));
        env.rbuild(&["-t", &format!("app:{round}"), "."]).run().success();
        // Measured in between, and measured again.
        totals.push(total());
        assert_eq!(total(), totals[round]);
    }
    assert!(totals[0] > 4_000_000 && totals[2] < totals[0] + 1_000_000, "{totals:?}");
    for round in 0..2 {
        env.rbuild(&["rmi", &format!("app:{round}")]).run().success();
        let pruned = env.rbuild(&["prune", "--force", "--all"]).run().success();
        assert!(!pruned.stdout().contains("4.0MB"), "what is still needed frees nothing: {pruned}");
        assert!((4_000_000..totals[0] + 1_000_000).contains(&total()), "{round}: {}", total());
        env.rbuild(&["store", "check", "--deep"]).run().success();
    }
    env.rbuild(&["rmi", "app:2"]).run().success();
    env.rbuild(&["prune", "--force", "--all"]).run().success();
    assert!(total() < 100_000, "{}", total());
}
