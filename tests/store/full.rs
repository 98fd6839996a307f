//! Disks that are full: what fails says so and leaves nothing, what makes room works, and what failed is done once there is
//! room.

use std::collections::BTreeSet;

use crate::support::{BaseImage, Disk, Output, Registry, TestEnv, binary, require_busybox};

const SAYS: [&str; 3] = ["the file system of the store, ", "`rbuild prune`", "--root"];

/// What a disk has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// In KiB.
    Bytes,
    Files,
}

impl Room {
    fn option(self, number: u64) -> String {
        match self {
            Self::Bytes => format!("size={number}k"),
            Self::Files => format!("nr_inodes={number}"),
        }
    }

    fn used(self, disk: &Disk<'_>) -> u64 {
        let (bytes, files) = disk.used();
        if self == Self::Bytes { bytes } else { files }
    }

    fn lift(self, disk: &Disk<'_>) {
        disk.remount(match self {
            Self::Bytes => "size=1g",
            Self::Files => "nr_inodes=1m",
        });
    }
}

/// Fails for want of room, says so, and leaves nothing. Returns what failed.
#[track_caller]
fn fails_cleanly(disk: &Disk<'_>, failed: &Output, at: u64) -> String {
    let text = failed.to_string();
    let code = failed.exit_code();
    // A command that finds no room fails in its own way.
    let is_command = code == Some(1) && text.contains("did not complete successfully");
    assert!(code == Some(6) || is_command, "at {at}: {failed}");
    for said in SAYS {
        assert!(text.contains(said), "at {at}: lacks {said:?}\n{failed}");
    }
    // There is a store when it has its format.
    if disk.program("test", &["-e", disk.place().join("format").to_str().unwrap()]).run().succeeded() {
        let checked = disk.rbuild(&["store", "check"]).run().success();
        assert!(checked.stdout().ends_with("the store is sound\n"), "at {at}: {failed}\n{checked}");
    }
    text
}

/// Gives a command more and more room until it succeeds; returns what it said each time it failed.
#[track_caller]
fn with_growing_room(
    disk: &Disk<'_>,
    room: Room,
    steps: impl Fn(u64) -> u64,
    command: &[&str],
) -> Vec<String> {
    let mut failures = Vec::new();
    // To a tmpfs no size is no limit.
    let mut limit = room.used(disk).max(1);
    loop {
        disk.remount(&room.option(limit));
        let output = disk.rbuild(command).run();
        if output.exit_code() == Some(0) {
            return failures;
        }
        failures.push(fails_cleanly(disk, &output, limit));
        // What a failed attempt has finished is kept, and takes room.
        limit = limit.max(room.used(disk)) + steps(failures.len() as u64);
        assert!(failures.len() < 400, "it never succeeds: {output}");
    }
}

/// The headlines of steps that have failed.
fn failed_steps(failures: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in failures {
        // What is canceled last is what failed, if it is the export.
        let has_failed = |line: &&str| line.contains(" ERROR: ") || line.ends_with(" CANCELED");
        for line in text.lines().filter(has_failed) {
            let number = line.split(' ').next().unwrap();
            let headline = text.lines().find(|line| line.split(' ').next() == Some(number)).unwrap();
            found.insert(headline.split_once(' ').unwrap().1.to_owned());
        }
    }
    found
}

#[track_caller]
fn has_failed_at(failures: &[String], stages: &[&str]) {
    let failed = failed_steps(failures);
    for stage in stages {
        assert!(failed.iter().any(|name| name.contains(stage)), "never failed at {stage}: {failed:#?}");
    }
}

/// An archive of a small base image, made in another store.
fn archive(env: &TestEnv) -> String {
    let context = BaseImage::busybox().context(env);
    let other = env.path("other").display().to_string();
    env.rbuild(&["--root", &other, "-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    let archive = env.path("base.tar").display().to_string();
    env.rbuild(&["--root", &other, "save", "-q", "-o", &archive, "base:1"]).run().success();
    archive
}

const DOCKERFILE: &str = "FROM base:1 AS first\nCOPY a /a/\nRUN cp /a/big /b; mkdir /m; for i in 1 2 3 4 5 6; do echo $i > /m/$i || exit 1; done\n\
                          FROM base:1\nWORKDIR /w\nCOPY --from=first /b /m ./\nRUN cat b b > c\n";

fn write_context(env: &TestEnv) {
    env.write("a/big", &"0123456789abcdef".repeat(6 << 10)).dockerfile(DOCKERFILE);
    for number in 0..10 {
        env.write(&format!("a/f{number}"), "x");
    }
}

#[track_caller]
fn has_built(disk: &Disk<'_>) {
    let size = disk.rbuild(&["run", "--rm", "app", "sh", "-c", "cat c | wc -c; cat 6"]).run().success();
    assert_eq!(size.stdout(), format!("{}\n6\n", 2 * 16 * (6 << 10)));
    let checked = disk.rbuild(&["store", "check", "--deep"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
}

#[track_caller]
fn builds_as_room_grows(room: Room, steps: impl Fn(u64) -> u64) {
    let env = TestEnv::new();
    let archive = archive(&env);
    write_context(&env);
    let disk = Disk::over(&env, &env.store(), "size=1g,nr_inodes=1m");
    disk.rbuild(&["load", "-q", "-i", &archive]).run().success();
    let failures = with_growing_room(&disk, room, steps, &["-t", "app", "."]);
    has_failed_at(&failures, &["WORKDIR", "COPY a", "RUN cp", "COPY --from", "RUN cat"]);
    if room == Room::Bytes {
        // Of files each step needs more.
        has_failed_at(&failures, &["exporting to image"]);
    }
    assert!(
        failures.iter().any(|text| text.contains("error: ") && text.contains(" bin/")),
        "never while unpacking"
    );
    room.lift(&disk);
    has_built(&disk);
}

#[test]
fn a_build_goes_on_where_the_disk_was_full() {
    require_busybox!();
    // The base takes two megabytes; what comes after that is looked at closely.
    builds_as_room_grows(Room::Bytes, |failures| if failures < 6 { 350 } else { 16 });
}

#[test]
fn a_build_goes_on_where_there_were_no_files_left() {
    require_busybox!();
    builds_as_room_grows(Room::Files, |failures| if failures < 8 { 13 } else { 2 });
}

#[test]
fn a_full_disk_leaves_the_way_out() {
    require_busybox!();
    for room in [Room::Bytes, Room::Files] {
        let env = TestEnv::new();
        let archive = archive(&env);
        write_context(&env);
        let disk = Disk::over(&env, &env.store(), "size=1g,nr_inodes=1m");
        disk.rbuild(&["load", "-q", "-i", &archive]).run().success();
        disk.rbuild(&["-t", "app", "."]).run().success();
        let slack = if room == Room::Bytes { 1000 } else { 60 };
        disk.remount(&room.option(room.used(&disk) + slack));
        disk.fill();
        // Nothing at all can be written, and everything can be looked at.
        disk.rbuild(&["build", "--no-cache", "-t", "app", "."]).run().code(6).says(&SAYS);
        disk.rbuild(&["tag", "app", "other"]).run().code(6).says(&SAYS);
        disk.rbuild(&["images"]).run().success();
        disk.rbuild(&["history", "app"]).run().success();
        disk.rbuild(&["du"]).run().success();
        disk.rbuild(&["store", "check"]).run().success();
        let before = room.used(&disk);
        disk.rbuild(&["rmi", "app"]).run().success();
        let pruned = disk.rbuild(&["prune", "-fa"]).run().success();
        assert!(pruned.stdout().contains("RUN cat b b"), "{room:?}: {pruned}");
        is_freed(&disk, room, before);
        disk.shell(&format!("rm -r {}/ballast*", env.store().display()));
        disk.rbuild(&["-t", "app", "."]).run().success();
        has_built(&disk);
    }
}

/// The space of what was pruned is free, soon.
#[track_caller]
fn is_freed(disk: &Disk<'_>, room: Room, before: u64) {
    let wanted = if room == Room::Bytes { 400 } else { 15 };
    for _ in 0..500 {
        if room.used(disk) + wanted < before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{room:?}: {} of {before} are still used", room.used(disk));
}

#[test]
fn an_archive_is_loaded_as_a_whole_or_not_at_all() {
    require_busybox!();
    for (room, step) in [(Room::Bytes, 150), (Room::Files, 1)] {
        let env = TestEnv::new();
        let archive = archive(&env);
        let disk = Disk::over(&env, &env.store(), "size=1g,nr_inodes=1m");
        let failures = with_growing_room(&disk, room, |_| step, &["load", "-q", "-i", &archive]);
        assert!(failures.len() > 5, "{room:?}: {failures:#?}");
        room.lift(&disk);
        disk.rbuild(&["run", "--rm", "base:1", "echo", "here"]).run().success().prints("here\n");
    }
}

#[test]
fn a_pull_goes_on_where_the_disk_was_full() {
    require_busybox!();
    let (maker, registry) = (TestEnv::new(), Registry::start());
    let base = maker.push_busybox(&registry);
    for (room, step) in [(Room::Bytes, 150), (Room::Files, 1)] {
        let env = TestEnv::new();
        let disk = Disk::over(&env, &env.store(), "size=1g,nr_inodes=1m");
        let failures = with_growing_room(&disk, room, |_| step, &["pull", "-q", &base]);
        assert!(failures.len() > 5, "{room:?}: {failures:#?}");
        room.lift(&disk);
        disk.rbuild(&["run", "--rm", &base, "echo", "here"]).run().success().prints("here\n");
    }
}

#[test]
fn a_push_goes_on_where_the_disk_was_full() {
    require_busybox!();
    let registry = Registry::start();
    let name = format!("{}/app:1", registry.address());
    let env = TestEnv::new();
    let archive = archive(&env);
    write_context(&env);
    let disk = Disk::over(&env, &env.store(), "size=1g,nr_inodes=1m");
    disk.rbuild(&["load", "-q", "-i", &archive]).run().success();
    // Everything is there but the compressed layers.
    disk.rbuild(&["-t", "app", "."]).run().success();
    let failures = with_growing_room(&disk, Room::Bytes, |_| 4, &["-t", &name, "--push", "."]);
    has_failed_at(&failures, &["exporting to image"]);
    let fetched = disk.rbuild(&["--root", env.path("fresh").to_str().unwrap(), "pull", "-q", &name]).run();
    fetched.success();
    disk.rbuild(&["store", "check", "--deep"]).run().success();
}

#[test]
fn an_archive_that_finds_no_room_is_no_archive() {
    require_busybox!();
    let env = TestEnv::new();
    let target = env.path("target");
    std::fs::create_dir(&target).unwrap();
    let disk = Disk::over(&env, &target, "size=300k");
    let context = BaseImage::busybox().context(&env);
    disk.rbuild(&["-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    for form in ["docker-archive", "oci-archive", "oci-dir"] {
        let place = target.join("saved").display().to_string();
        let save = ["save", "--format", form, "-o", &place, "base:1"];
        disk.remount("size=300k");
        let failed = disk.rbuild(&save).run().code(6);
        failed.says(&[&target.display().to_string(), "No space left on device", "write to another place"]);
        assert_eq!(disk.shell(&format!("ls -A {}", target.display())), "", "{form}");
        disk.remount("size=10m");
        disk.rbuild(&save).run().success();
        disk.shell(&format!("rm -r {place}"));
    }
    let full = disk.program("sh", &["-c", &format!("{} save base:1 > /dev/full", binary().display())]);
    full.run().code(6).says(&["write standard output: No space left on device"]);
    disk.rbuild(&["store", "check"]).run().success();
}
