//! Calls about owners and devices through links that lead to a path of the host: on the lowest rung they are carried out by
//! a process outside, for which that path is there.

use std::os::unix::fs::symlink;

use super::{Victim, image_with};
use crate::support::TestEnv;

const CALLS: [&str; 9] = [
    "chown 7:8 L/file",
    "chown -h 7:8 L/file",
    "chown 7:8 L",
    "mknod L/node c 1 3",
    "mkdir L/new",
    "touch L/new",
    "mkfifo L/pipe",
    "cd L && chown 7:8 file",
    "cd L && mkdir new",
];

#[test]
fn links_to_paths_of_the_host_do_not_reach_them() {
    let env = TestEnv::new();
    let victim = Victim::new(&env);
    image_with(&env, "hostile:1", |root| {
        symlink(victim.path(), root.join("direct")).unwrap();
        symlink(format!("../../../../../../../..{}", victim.path()), root.join("up")).unwrap();
        symlink("direct", root.join("chain")).unwrap();
        symlink("/proc/1/root/direct", root.join("magic")).unwrap();
    });
    for user in ["root", "app"] {
        for link in ["/direct", "/up", "/chain", "/magic"] {
            for call in CALLS {
                let script = call.replace('L', link);
                // Inside there is no such directory.
                let script = format!("{script} 2>/dev/null && echo DONE; true");
                let ran = env
                    .rbuild(&["run", "--rm", "-u", user, "hostile:1", "sh", "-c", &script])
                    .run()
                    .success();
                assert_eq!(ran.stdout(), "", "{user}: {script}\n{ran}");
                victim.is_whole();
            }
            let script = format!("stat -c '%n %s' {link}/file {link}/. 2>/dev/null; true");
            let ran =
                env.rbuild(&["run", "--rm", "-u", user, "hostile:1", "sh", "-c", &script]).run().success();
            assert_eq!(ran.stdout(), "", "something of the host was seen\n{ran}");
        }
    }
}

#[test]
fn what_is_changed_and_seen_is_the_images() {
    let env = TestEnv::new();
    let victim = Victim::new(&env);
    // The same path, inside and with something else in it.
    image_with(&env, "hostile:1", |root| {
        let inside = root.join(victim.path().trim_start_matches('/'));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("file"), "of the image").unwrap();
        symlink(victim.path(), root.join("link")).unwrap();
    });
    env.dockerfile(
        "FROM hostile:1\n\
         RUN chown 7:8 /link/file && mkdir /link/made && chown 9 /link/made && chown 5:6 /link/.\n\
         RUN test \"$(stat -c %u:%g:%s /link/file) $(stat -c %u:%g /link/made /link/.)\" = \"7:8:12 9:0\n5:6\"\n",
    );
    env.dockerfile(&format!(
        "FROM hostile:1\n\
         RUN chown 7:8 /link/file && mkdir /link/made && chown 9 /link/made && chown 5:6 /link/.\n\
         RUN stat -c 'SEEN %u:%g' /link/file /link/made {path} && stat -c 'SIZE %s' /link/file\n",
        path = victim.path()
    ));
    let built = env.rbuild(&["."]).run().success();
    built.says(&[" SEEN 7:8\n", " SEEN 9:0\n", " SEEN 5:6\n", " SIZE 12\n"]);
    victim.is_whole();
}
