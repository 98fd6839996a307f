//! A store that nothing can be written to: what only looks works, and what cannot says why.

use crate::support::{Disk, TestEnv, require_busybox};

#[test]
fn what_only_looks_works_in_a_store_that_is_read_only() {
    require_busybox!();
    let env = TestEnv::new();
    let disk = Disk::over(&env, &env.store(), "size=1g");
    let context = crate::support::BaseImage::busybox().context(&env);
    disk.rbuild(&["-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    env.dockerfile("FROM base:1\nRUN echo a > /a\n");
    disk.rbuild(&["-q", "-t", "app", "."]).run().success();
    let archive = env.path("base.tar").display().to_string();
    // From now on its layers are packed.
    disk.rbuild(&["save", "-q", "-o", &archive, "base:1"]).run().success();
    disk.remount("ro");
    for looks in [
        &["images"] as &[&str],
        &["inspect", "app"],
        &["history", "app"],
        &["du"],
        &["store", "check"],
        &["prune", "--dry-run"],
        &["save", "-q", "-o", &archive, "base:1"],
        // Nothing has to be made, and the name is there.
        &["-t", "app", "."],
    ] {
        let output = disk.rbuild(looks).run().success();
        assert!(!output.stderr().contains("error"), "{output}");
    }
    assert!(disk.rbuild(&["images"]).run().success().stdout().contains("app "));
    let says = ["Read-only file system", "the file system of the store, ", " is read-only", "--root"];
    for (writes, code) in [
        (&["-t", "other", "."] as &[&str], 6),
        (&["--no-cache", "-t", "app", "."], 6),
        (&["load", "-i", &archive], 6),
        (&["tag", "app", "other"], 6),
        (&["rmi", "app"], 6),
        (&["run", "--rm", "app", "cat", "/a"], 125),
    ] {
        disk.rbuild(writes).run().code(code).says(&says);
    }
    env.dockerfile("FROM base:1\nRUN echo b > /b\n");
    disk.rbuild(&["."]).run().code(6).says(&says);
    disk.rbuild(&["--root", env.store().join("new").to_str().unwrap(), "."]).run().code(6).says(&says[..2]);
    disk.remount("rw");
    disk.rbuild(&["-t", "app", "."]).run().success();
    disk.rbuild(&["run", "--rm", "app", "cat", "/b"]).run().success().prints("b\n");
    let checked = disk.rbuild(&["store", "check"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
}
