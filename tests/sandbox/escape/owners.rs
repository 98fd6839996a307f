//! Calls about owners and devices through links that lead to a path of the host: on the lowest rung they are carried out by
//! a process outside, for which that path is there.

use std::os::unix::fs::symlink;

use super::{Victim, image_with};
use crate::support::TestEnv;

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
            let words = ["run", "--rm", "-u", user, "hostile:1", "/bin/probe", "owners", link];
            let ran = env.rbuild(&words).run().success();
            // Inside there is no such directory; whoever may not make devices is told so first.
            for line in ran.stdout().lines() {
                assert!(line.ends_with(" ENOENT") || line == "mknod EPERM", "{user}, {link}: {line}\n{ran}");
            }
            assert_eq!(ran.stdout().lines().count(), 8, "{ran}");
            victim.is_whole();
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
