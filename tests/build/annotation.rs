//! `--annotation`: what is noted of an image where it goes, and nowhere else.

use std::collections::BTreeMap;
use std::fs;

use rbuild::image::Index;

use crate::support::{Image, Registry, TestEnv, require_tool};

fn notes(of: &BTreeMap<String, String>) -> String {
    of.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn manifests_and_their_entries_are_annotated() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nENV a=b\n");
    let plain = env.rbuild(&["-q", "."]).run().success().stdout().to_owned();
    let layout = env.path("layout");
    let to = format!("type=oci,tar=false,dest={}", layout.display());
    let noted = ["--annotation", "org.example=x=y", "--annotation", "manifest,manifest-descriptor:both=2"];
    let annotated = env.rbuild(&["-q", "-o", &to, "-t", "app"]).arguments(&noted).arguments(&["."]).run();
    // It is the same image: what it is does not change by what is noted of it.
    assert_eq!(annotated.success().stdout(), plain);
    assert_eq!(notes(&Image::open(&layout).sound().manifest.annotations), "both=2 org.example=x=y");
    let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index.manifests[0].annotations["both"], "2");
}

#[test]
fn what_is_noted_of_an_image_goes_with_it_until_it_is_built_without() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    let name = format!("{}/app:1", registry.address());
    env.write("f", "x").dockerfile("FROM scratch\nCOPY f /\n");
    let pushed = |first: &[&str]| {
        env.rbuild(first).arguments(&["-t", &name, "."]).run().success();
        if !first.contains(&"--push") {
            env.rbuild(&["push", &name]).run().success();
        }
        notes(&Image::fetch(&registry, "app:1").sound().manifest.annotations)
    };
    assert_eq!(pushed(&["--push", "--annotation", "a=1"]), "a=1");
    assert_eq!(pushed(&["--annotation", "a=2", "--annotation", "manifest:b=3"]), "a=2 b=3");
    assert_eq!(pushed(&[]), "");
    assert_eq!(pushed(&["--annotation", "a=1"]), "a=1");
    // One that came from elsewhere keeps what it came with.
    let other = TestEnv::new();
    other.rbuild(&["pull", &name]).run().success();
    let copy = format!("{}/copy:1", registry.address());
    other.rbuild(&["tag", &name, &copy]).run().success();
    other.rbuild(&["push", &copy]).run().success();
    assert_eq!(notes(&Image::fetch(&registry, "copy:1").sound().manifest.annotations), "a=1");
}

#[test]
fn annotations_that_have_no_place_are_refused() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nENV a=b\n");
    let refused = |arguments: &[&str], said: &str| {
        env.rbuild(arguments).arguments(&["."]).run().code(2).says(&[said]);
    };
    refused(&["--annotation", "index:a=b"], "no index");
    refused(&["--annotation", "manifest[linux/s390x]:a=b"], "linux/s390x");
    refused(&["--annotation", "a"], "NAME=VALUE");
    refused(&["--annotation", "a=b", "-o", "type=docker,dest=x.tar"], "oci-mediatypes=true");
    env.rbuild(&["--annotation", "a=b", "-o", "type=docker,oci-mediatypes=true,dest=x.tar", "."])
        .run()
        .success();
}
