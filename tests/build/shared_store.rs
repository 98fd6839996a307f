//! One store, whether something can be isolated or not: what is made without is understood with, and the other way round.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{TestEnv, is_root, require_busybox};

#[test]
fn a_store_is_shared_with_the_single_rung() {
    require_busybox!();
    let env = TestEnv::new();
    let rbuild = |rung, words: &[&str]| env.rbuild(&["--isolation", rung]).arguments(words).run();
    // Root that may give files away keeps real owners.
    let none = |words: &[&str]| {
        let program = crate::support::binary();
        let all =
            [&["--bounding-set=-all", program.to_str().unwrap(), "--isolation", "none"], words].concat();
        if is_root() { env.program("setpriv", &all).run() } else { rbuild("none", words) }
    };
    let context = crate::support::BaseImage::busybox().context(&env);
    none(&["-q", "-t", "base:1", context.to_str().unwrap()]).success();
    env.write("file", "content");
    env.dockerfile("FROM base:1\nCOPY --chown=7:50 file /f\nWORKDIR /w\n");
    none(&["-t", "app:1", "."]).success();
    rbuild("single", &["."]).success().says(&["#5 CACHED", "#6 CACHED"]);
    rbuild("single", &["run", "--rm", "app:1", "stat", "-c", "%u:%g:%a", "/f"])
        .success()
        .prints("7:50:644\n");
    // What was run is not run again.
    env.dockerfile(
        "FROM app:1\nRUN echo made > /made && chown 9:9 /made\nCOPY --from=app:1 /f /g\nCOPY file /h\n",
    );
    rbuild("single", &["."]).success();
    none(&["-t", "app:2", "."]).success().says(&["#6 CACHED"]);
    rbuild("single", &["run", "--rm", "app:2", "stat", "-c", "%u:%g", "/made", "/g"])
        .success()
        .prints("9:9\n7:50\n");
    env.write("fixed/file", "content");
    fs::set_permissions(env.path("context/fixed"), fs::Permissions::from_mode(0o555)).unwrap();
    env.dockerfile("FROM base:1\nCOPY fixed/ /fixed/\nCOPY --chmod=555 file /made/\n");
    none(&["-t", "app:7", "."]).success();
    rbuild("single", &["run", "--rm", "app:7", "stat", "-c", "%a", "/made"]).success().prints("555\n");
    // What only the lower one understands is made again by the other.
    env.dockerfile("FROM base:1\nCOPY --chmod=0 file /f\nCOPY file /g\n");
    none(&["-t", "app:3", "."]).success();
    rbuild("single", &["-t", "app:3", "."]).success();
    rbuild("single", &["run", "--rm", "app:3", "stat", "-c", "%a", "/f"]).success().prints("0\n");
    // And the other way round: what only root may read is not taken by whoever is not, and where it cannot be made again that
    // is said.
    env.dockerfile("FROM base:1\nRUN mkdir -p /d/e && echo x > /d/e/f && chmod 0 /d/e\n");
    rbuild("single", &["-t", "app:4", "."]).success();
    env.dockerfile("FROM scratch\nCOPY --from=app:4 /d /d\n");
    none(&["."]).code(4).says(&["only another rung of isolation can read", "--isolation"]);
    env.dockerfile("FROM base:1\nCOPY --chmod=0 --chown=3:4 file /x\n");
    rbuild("single", &["-t", "app:4", "."]).success();
    none(&["-t", "app:4", "."]).success();
    env.dockerfile("FROM scratch\nCOPY --from=app:4 --chmod=600 /x /y\n");
    none(&["-t", "app:5", "."]).success();
    env.dockerfile("FROM base:1\nCOPY --from=app:5 /y /y\n");
    rbuild("single", &["-t", "app:6", "."]).success();
    rbuild("single", &["run", "--rm", "app:6", "stat", "-c", "%u:%g:%a", "/y"]).success().prints("3:4:600\n");
    // Directories that may not be written to are moved away all the same.
    env.dockerfile("FROM base:1\nRUN mkdir /e && touch /e/f && chmod 500 /e && chmod 555 /\n");
    rbuild("single", &["."]).success();
    rbuild("single", &["."]).success().says(&["#5 CACHED"]);
    none(&["prune", "--all", "--force"]).success().omits(&["warning", "error"]);
    rbuild("single", &["."]).success().omits(&["#5 CACHED"]);
}
