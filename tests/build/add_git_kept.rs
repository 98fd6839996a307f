//! What is kept of repositories, and in which state it may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{TestEnv, git_world};

/// The repositories that a store keeps.
fn kept(env: &TestEnv) -> Vec<PathBuf> {
    let caches = fs::read_dir(env.store().join("caches")).unwrap();
    let data = caches.map(|entry| entry.unwrap().path().join("data"));
    data.filter(|path| path.join("objects/pack").is_dir()).collect()
}

fn packs(repository: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository.join("objects/pack")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "pack")).collect()
}

#[test]
fn what_a_killed_fetch_has_left_stops_no_other() {
    let (env, server, repository) = git_world();
    server.is_old();
    let between = repository.write("file", "between\n").commit("between");
    repository.commit("last");
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url(&format!("x.git#{between}"))));
    env.rbuild(&["."]).run().success();
    let data = kept(&env).pop().unwrap();
    let left = [
        "refs/rbuild-all/heads/main.lock",
        "packed-refs.lock",
        "packed-refs.new",
        "shallow.lock",
        "objects/pack/tmp_pack_abcdef",
    ];
    for name in left {
        assert!(data.join(name).parent().unwrap().is_dir(), "{name}");
        fs::write(data.join(name), "").unwrap();
    }
    let newer = repository.write("file", "newer\n").commit("newer");
    repository.commit("newest");
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url(&format!("x.git#{newer}"))));
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(env.image("app").text("file"), "newer\n");
    assert!(left.iter().all(|name| !data.join(name).exists()));
}

#[test]
fn many_fetches_do_not_become_many_packs() {
    let (env, server, repository) = git_world();
    env.dockerfile(&format!("FROM scratch\nADD --keep-git-dir {} /\n", server.url("x.git")));
    let first = repository.git(&["rev-parse", "HEAD"]);
    for number in 0..40 {
        repository.write("file", &format!("{number}\n")).commit("next");
        env.rbuild(&["-t", "app", "."]).run().success();
    }
    assert_eq!(env.image("app").text("file"), "39\n");
    let data = kept(&env).pop().unwrap();
    let count = packs(&data).len();
    assert!(count < 30, "{count} packs");
    assert!(data.join("packed-refs").is_file());
    // All of it is as good as before: what was fetched is there, and what was not comes.
    let checked =
        crate::support::git::git(&data).args(["--git-dir", ".", "fsck", "--full"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let known = repository.git(&["rev-parse", "HEAD~20"]);
    let _ = server.requests();
    for (id, expected, is_fetched) in [(&known, "19\n", false), (&first, "text\n", true)] {
        env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url(&format!("x.git#{id}"))));
        env.rbuild(&["-t", "app", "."]).run().success();
        assert_eq!(env.image("app").text("file"), expected);
        let asked = server.requests().iter().any(|request| request.starts_with("files"));
        assert_eq!(asked, is_fetched, "{id}");
    }
    env.rbuild(&["store", "check"]).run().success();
}

#[test]
fn what_is_damaged_is_fetched_again() {
    let (env, server, repository) = git_world();
    let mut number = 0;
    let damages: [fn(&Path); 4] = [
        |data| {
            for pack in packs(data) {
                cut(&pack);
            }
        },
        |data| {
            for pack in packs(data) {
                cut(&pack.with_extension("idx"));
            }
        },
        |data| {
            for pack in packs(data) {
                fs::remove_file(&pack).unwrap();
                fs::write(pack, "").unwrap();
            }
        },
        |data| {
            for name in fs::read_dir(data.join("refs/rbuild")).unwrap() {
                fs::write(name.unwrap().path(), "").unwrap();
            }
        },
    ];
    for damage in damages {
        for (before, after) in [("", "?submodules=false"), ("?submodules=false", "")] {
            for (more, is_damaged) in [(before, false), (after, true)] {
                if is_damaged {
                    damage(&kept(&env).pop().unwrap());
                } else {
                    number += 1;
                    repository.write("d/file", &format!("{number}\n")).commit("next");
                }
                env.dockerfile(&format!(
                    "FROM scratch\nADD --keep-git-dir {}{more} /\n",
                    server.url("x.git")
                ));
                env.rbuild(&["-t", "app", "."]).run().success();
                assert_eq!(env.image("app").text("d/file"), format!("{number}\n"));
            }
        }
    }
    env.has_no_leftovers();
}

#[test]
fn what_goes_with_the_files_is_of_where_they_are_from() {
    let (env, server, repository) = git_world();
    let commit = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["clone", "-q", "--bare", ".", "../fork.git"]);
    let add = |what: &str| {
        env.dockerfile(&format!("FROM scratch\nADD {what}#{commit} /\n"));
        env.rbuild(&["-t", "app", "."]).run().success();
        !server.requests().is_empty()
    };
    for (name, is_fetched) in [("fork.git", true), ("x.git", true), ("fork.git", false)] {
        assert_eq!(add(&format!("--keep-git-dir {}", server.url(name))), is_fetched, "{name}");
        let settings = env.image("app").text(".git/config");
        assert!(settings.contains(&format!("\"{}\"", server.url(name))), "{name}");
    }
    // Files alone are the same wherever they are from.
    let _ = add(&server.url("x.git"));
    assert!(!add(&server.url("fork.git")));
}

fn cut(path: &Path) {
    let content = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, &content[..content.len() / 2]).unwrap();
}
