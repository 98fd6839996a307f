//! Files that the Dockerfile itself contains.

use crate::support::{TestEnv, require_busybox};

#[test]
fn heredocs_become_files_under_their_names() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\nENV WHO=me\nCOPY --chmod=640 <<one <<\"two\" <<-three dir/\n\
         1 $WHO\none\n2 $WHO\ntwo\n\t\t3\n\tthree\nCMD cat /dir/one /dir/two /dir/three; stat -c %a:%u:%n /dir/*\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    let expected = "1 me\n2 $WHO\n3\n640:0:/dir/one\n640:0:/dir/three\n640:0:/dir/two\n";
    env.rbuild(&["run", "--rm", "app"]).run().success().prints(expected);
}

#[test]
fn a_script_may_name_its_interpreter() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\nARG NAME=value\nWORKDIR /w\nRUN <<-SCRIPT\n\t#!/bin/busybox sh\n\techo \"$NAME $0\" > out\n\tls -l /dev/pipes > files\nSCRIPT\n\
         RUN <<'CAT'\n#!/bin/busybox cat\nprinted as it is: $NAME\nCAT\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success().says(&["printed as it is: $NAME"]);
    let shown = env.rbuild(&["run", "--rm", "app", "busybox", "cat", "out", "files"]).run().success();
    assert!(shown.stdout().starts_with("value /dev/pipes/SCRIPT\n"), "{shown}");
    assert!(shown.stdout().contains("-rwxr-xr-x"), "{shown}");
    // Nothing of it is in a layer.
    env.rbuild(&["run", "--rm", "app", "busybox", "test", "!", "-e", "/dev/pipes"]).run().success();
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("RUN <<-SCRIPT"), Some("CACHED"), "{again}");
}
