//! `rbuild du`

use crate::support::{TestEnv, require_busybox};
use crate::{descriptions, du};

#[test]
fn sizes_are_those_of_the_disk_and_who_needs_what_is_known() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN head -c 3000000 /dev/urandom > a && ln a b\n")
        .rbuild(&["-t", "app", "."])
        .run()
        .success();
    env.dockerfile("FROM base:1\nRUN echo only a step > c\nRUN false\n").rbuild(&["."]).run().code(1);
    let said = du(&env, &[]);
    let items = said["items"].as_array().unwrap();
    let item =
        |word: &str| items.iter().find(|item| item["description"].as_str().unwrap().contains(word)).unwrap();
    let big = item("urandom");
    let size = big["size"].as_u64().unwrap();
    assert!((3_000_000..3_200_000).contains(&size), "a file with two names counts once: {size}");
    assert_eq!((&big["shared"], &big["reclaimable"]), (&true.into(), &false.into()));
    let step = item("only a step");
    assert_eq!((&step["shared"], &step["reclaimable"]), (&false.into(), &true.into()));
    assert_eq!(item("app:latest")["type"], "image", "{said:#}");
    assert_eq!(
        said["total"].as_u64().unwrap(),
        items.iter().map(|item| item["size"].as_u64().unwrap()).sum::<u64>()
    );
    assert_eq!(said["reclaimable"], step["size"]);
    // All that the disk has, but for directories, tags and the like.
    let disk = env
        .program(
            "sh",
            &[
                "-c",
                &format!(
                    "'{}' unshare du -s --block-size=1 \"$RBUILD_ROOT\" | cut -f 1",
                    crate::support::binary().display()
                ),
            ],
        )
        .run()
        .success();
    let (disk, total): (u64, u64) = (disk.stdout().trim().parse().unwrap(), said["total"].as_u64().unwrap());
    assert!(total <= disk && disk - total < 150_000, "{total} of {disk}");
    // Measured once, it is remembered.
    assert_eq!(du(&env, &[]), said);
}

#[test]
fn filters_choose() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo a > a\nRUN false\n").rbuild(&["."]).run().code(1);
    assert_eq!(descriptions(&du(&env, &["--filter", "type=image"])), ["base:1"]);
    assert_eq!(descriptions(&du(&env, &["--filter", "type=regular,private"])), ["[2/3] RUN echo a > a"]);
    assert_eq!(
        descriptions(&du(&env, &["--filter", "type=regular", "--filter", "shared"])),
        ["[1/1] COPY rootfs/ /"]
    );
    assert!(descriptions(&du(&env, &["--filter", "unused-for=1h"])).is_empty());
    let id = du(&env, &["--filter", "private,type=regular"])["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(descriptions(&du(&env, &["--filter", &format!("id={}", &id[..6])])), ["[2/3] RUN echo a > a"]);
    env.rbuild(&["du", "--filter", "colour=red"]).run().code(2).says(&["there is no filter"]);
    env.rbuild(&["du", "--filter", "type=red"]).run().code(2).says(&["there is no type"]);
    let table = env.rbuild(&["du"]).run().success();
    for word in
        ["ID", "RECLAIMABLE", "LAST ACCESSED", "Shared:", "Private:", "Reclaimable:", "Total:", "base:1"]
    {
        assert!(table.stdout().contains(word), "{table}");
    }
    let verbose = env.rbuild(&["du", "--verbose"]).run().success();
    assert!(verbose.stdout().contains(&format!("ID:           {id}\n")), "{verbose}");
}

#[test]
fn there_is_nothing_to_say_of_a_store_that_is_not_there() {
    let env = TestEnv::new();
    let nowhere = env.path("nowhere");
    env.rbuild(&["du"]).env("RBUILD_ROOT", &nowhere).run().code(6).says(&["there is no store at"]);
    env.rbuild(&["store", "check"])
        .env("RBUILD_ROOT", &nowhere)
        .run()
        .code(6)
        .says(&["there is no store at"]);
    assert!(!nowhere.exists());
}

/// What was made under another id map can be neither measured nor removed, and is left alone.
#[test]
fn snapshots_of_another_rung_are_named_and_left_alone() {
    require_busybox!();
    if !crate::support::has_subuid_range() || crate::support::is_root() {
        // The two rungs that make user namespaces are those of a user with lent ids; others have one way in.
        return;
    }
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN mkdir -m 700 /d && echo a > /d/a && chown -R 5:5 /d\nRUN false\n");
    env.rbuild(&["."]).run().code(1);
    let single = |arguments: &[&str]| env.rbuild(&[&["--isolation", "single"], arguments].concat()).run();
    let table = single(&["du"]).success();
    assert!(table.stdout().contains("made under other id maps"), "{table}");
    single(&["prune", "-fa"]).success();
    let checked = single(&["store", "check", "--deep"]).success();
    assert!(checked.stdout().contains("made under other id maps"), "{checked}");
    let again = env.rbuild(&["."]).run().code(1);
    assert_eq!(again.outcome("RUN mkdir"), Some("CACHED"), "{again}");
}
