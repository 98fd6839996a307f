//! SOURCE_DATE_EPOCH: the same image whenever it is built.

use std::time::Duration;

use crate::support::{Image, Registry, TestEnv, require_busybox, require_tool};

const EPOCH: &str = "1500000000";
const SHOWN: &str = "2017-07-14T02:40:00Z";

#[test]
fn an_image_is_the_same_whenever_and_wherever_it_is_built() {
    require_tool!("docker-registry");
    require_busybox!();
    let (first, registry) = (TestEnv::new(), Registry::start());
    let base = first.push_busybox(&registry);
    let file = format!(
        "FROM {base}\nWORKDIR /made/here\nCOPY file /copied/\nRUN echo x > /new && mkdir /d && ln -s /new /d/link\nLABEL a=b\n"
    );
    let build = |env: &TestEnv, name: &str| {
        env.write("file", "content").dockerfile(&file);
        let output = format!("type=registry,name={}/{name},rewrite-timestamp=true", registry.address());
        env.rbuild(&["--output", &output, "."]).env("SOURCE_DATE_EPOCH", EPOCH).run().success();
        Image::fetch(&registry, name).sound()
    };
    let one = build(&first, "one:1");
    // Times in layers are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let other = build(&TestEnv::new(), "other:1");
    assert_eq!(one.listing(), other.listing());
    assert_eq!(one.manifest_digest, other.manifest_digest);
    assert_eq!(one.config.created.unwrap().to_string(), SHOWN);
    // As it is stored, the layer has no times but these.
    let name = format!("{}/other:1", registry.address());
    let seen = [
        "run",
        "--rm",
        &name,
        "stat",
        "-c",
        "%Y",
        "/new",
        "/d",
        "/d/link",
        "/made",
        "/made/here",
        "/copied/file",
    ];
    TestEnv::new().rbuild(&seen).run().success().prints(&format!("{EPOCH}\n").repeat(6));
    // An image that is built on it takes it as it was pushed, also from the store that made it.
    first.dockerfile(&format!("FROM {}/one:1\nLABEL c=d\n", registry.address()));
    let again = format!("{}/again:1", registry.address());
    first.rbuild(&["-t", &again, "--push", "."]).run().success();
    assert_eq!(Image::fetch(&registry, "again:1").sound().manifest.layers, one.manifest.layers);
}

#[test]
fn without_rewriting_only_what_rbuild_itself_dates_is_of_the_epoch() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base");
    env.dockerfile(&format!(
        "ARG SOURCE_DATE_EPOCH={EPOCH}\nFROM base\nWORKDIR /made/here\nRUN touch /new && echo $SOURCE_DATE_EPOCH > /seen\n"
    ));
    env.rbuild(&["-t", "app", "."]).run().success();
    let shell = format!(
        "test $(stat -c %Y /made/here) = {EPOCH} && test $(stat -c %Y /new) -gt {EPOCH} && ! grep . /seen"
    );
    env.rbuild(&["run", "--rm", "app", "sh", "-c", &shell]).run().success();
    let dump = env.rbuild(&[
        "--build-arg",
        "SOURCE_DATE_EPOCH=",
        "--output",
        "type=image,rewrite-timestamp=true",
        ".",
    ]);
    dump.run().success().says(&["rewrite-timestamp does nothing"]);
}

#[test]
fn an_epoch_that_is_no_time_is_refused() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n");
    let build = |arguments: &[&str]| env.rbuild(arguments).run();
    build(&["--build-arg", "SOURCE_DATE_EPOCH=yesterday", "."])
        .code(2)
        .says(&["SOURCE_DATE_EPOCH", "yesterday"]);
    env.dockerfile("ARG SOURCE_DATE_EPOCH=tomorrow\nFROM scratch\n");
    build(&["."]).code(3).says(&["SOURCE_DATE_EPOCH", "tomorrow", "Dockerfile:1"]);
}
