//! Images in which the places that rbuild mounts on, reads or enters are not what they should be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::{Victim, image_with};
use crate::support::TestEnv;

const PLACES: [&str; 5] = ["proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"];

const UP: &str = "../../../../../../../../../../../../../../..";

#[test]
fn mount_points_that_are_links_lead_nowhere_outside() {
    let env = TestEnv::new();
    let victim = Victim::new(&env);
    let (up, file) = (format!("{UP}{}", victim.path()), format!("{}/file", victim.path()));
    let targets = [victim.path(), &up, &file, "/no/such/place", "loop", "/proc/1/root/tmp", "/", ".."];
    for place in PLACES {
        for target in targets {
            image_with(&env, "hostile:1", |root| {
                let place = root.join(place);
                let _ = fs::remove_dir(&place).or_else(|_| fs::remove_file(&place));
                let target =
                    if target == "loop" { place.file_name().unwrap().to_str().unwrap() } else { target };
                symlink(target, &place).unwrap();
            });
            env.dockerfile("FROM hostile:1\nRUN [\"/bin/true\"]\n");
            let built = env.rbuild(&["--no-cache", "."]).limit(Duration::from_secs(20)).run();
            // A file may be a link, and then is where it leads to, inside.
            if !place.starts_with("etc") || !built.succeeded() {
                built.code(1).says(&[&format!("cannot mount on /{place}"), "in the image"]);
            }
            victim.is_whole();
        }
    }
    env.has_no_leftovers();
}

#[test]
fn mount_points_of_another_kind_are_refused() {
    let env = TestEnv::new();
    for place in PLACES {
        image_with(&env, "hostile:1", |root| {
            let path = root.join(place);
            let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
            if place.starts_with("etc") {
                fs::create_dir(&path).unwrap()
            } else {
                fs::write(&path, "").unwrap()
            }
        });
        env.dockerfile("FROM hostile:1\nRUN [\"/bin/true\"]\n");
        env.rbuild(&["."])
            .run()
            .code(1)
            .says(&[&format!("cannot mount on /{place}"), "directory in the image"]);
    }
    env.has_no_leftovers();
}

#[test]
fn the_working_directory_is_inside() {
    let env = TestEnv::new();
    let victim = Victim::new(&env);
    let up = format!("{UP}{}", victim.path());
    image_with(&env, "hostile:1", |root| {
        symlink(victim.path(), root.join("absolute")).unwrap();
        symlink(&up, root.join("up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/1/root", root.join("magic")).unwrap();
    });
    for directory in ["/absolute/new", "/up/new", &format!("/{UP}/made"), &up, "/absolute/../../new"] {
        // By the instruction, and by the step that finds it missing.
        env.dockerfile(&format!(
            "FROM hostile:1\nWORKDIR {directory}\nRUN pwd && touch here && test -e /bin/probe\n"
        ));
        let _ = env.rbuild(&["--no-cache", "."]).run();
        let _ = env.rbuild(&["run", "--rm", "-w", directory, "hostile:1", "sh", "-c", "touch here"]).run();
        victim.is_whole();
    }
    for directory in ["/loop/new", "/magic/../new"] {
        env.dockerfile(&format!("FROM hostile:1\nWORKDIR {directory}\nRUN pwd\n"));
        let _ = env.rbuild(&["."]).limit(Duration::from_secs(20)).run();
    }
    // And what was made is there, inside.
    env.dockerfile(&format!(
        "FROM hostile:1\nWORKDIR /absolute/new\nRUN test \"$(pwd -P)\" = {}/new\n",
        victim.path()
    ));
    env.rbuild(&["."]).run().success();
    victim.is_whole();
    env.has_no_leftovers();
}

#[test]
fn files_of_accounts_may_be_anything() {
    let env = TestEnv::new();
    let mkfifo = |path: &Path| env.program("mkfifo", &[path.to_str().unwrap()]).run().success();
    type Change<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: [(&str, Change<'_>, &str); 7] = [
        ("a pipe", Box::new(|file| drop(mkfifo(file))), "app"),
        ("a directory", Box::new(|file| fs::create_dir(file).unwrap()), "app"),
        ("a link to what never ends", Box::new(|file| symlink("/dev/zero", file).unwrap()), "app"),
        ("a link to a terminal", Box::new(|file| symlink("/dev/ptmx", file).unwrap()), "app"),
        ("huge", Box::new(|file| fs::File::create(file).unwrap().set_len(64 << 20).unwrap()), "app"),
        (
            "of ids that are too large",
            Box::new(|file| fs::write(file, "app:x:4294967295:4294967294::/:\n").unwrap()),
            "app",
        ),
        (
            "of numbers that are none",
            Box::new(|file| fs::write(file, "app:x:99999999999:-1::/:\n").unwrap()),
            "app",
        ),
    ];
    for (what, change, user) in cases {
        image_with(&env, "hostile:1", |root| {
            let file = root.join("etc/passwd");
            fs::remove_file(&file).unwrap();
            change(&file);
        });
        env.dockerfile(&format!("FROM hostile:1\nUSER {user}\nRUN [\"/bin/true\"]\n"));
        let built = env.rbuild(&["."]).limit(Duration::from_secs(20)).run();
        assert!(!built.succeeded(), "/etc/passwd is {what}, and a name was found in it\n{built}");
        // Root is root whatever the files are.
        env.dockerfile("FROM hostile:1\nRUN [\"/bin/true\"]\n");
        let built = env.rbuild(&["."]).limit(Duration::from_secs(20)).run();
        if what != "a pipe" && what != "a directory" && !what.starts_with("a link") {
            built.success();
        }
    }
    env.has_no_leftovers();
}

#[test]
fn names_of_users_are_names_and_nothing_else() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    for user in [
        "a:b:c",
        ":",
        "app:",
        ":app",
        "app:staff:root",
        "../../etc",
        "-1",
        "+5",
        "0x0",
        " ",
        "root\\nroot",
        "*",
    ] {
        let ran = env.rbuild(&["run", "--rm", "-u", user, "probe:1", "id", "-u"]).run();
        let became_root = ran.succeeded() && ran.success().stdout() == "0\n";
        let means_root = [":", ":app"].contains(&user);
        assert_eq!(became_root, means_root, "{user:?}");
    }
}

#[test]
fn variables_are_passed_on_as_they_are() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    let odd = "a=b \t'\"$`\\ \u{1} ü";
    let ran = env.rbuild(&[
        "run",
        "--rm",
        "-e",
        &format!("ODD={odd}"),
        "probe:1",
        "sh",
        "-c",
        "printf %s \"$ODD\"",
    ]);
    ran.run().success().prints(odd);
    // An empty entry of PATH means the working directory to some, and there an image puts what it likes.
    env.write("probe", "#!/bin/sh\necho fake\n");
    env.dockerfile("FROM probe:1\nCOPY --chmod=755 probe /here/\nWORKDIR /here\nENV PATH=:/bin::\nCMD [\"probe\", \"chroot\"]\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app"]).run().success().prints("climb ok\nroot the same\n");
}
