//! Keys must be what they were: on every machine, in every version, and as BuildKit has them. Whoever changes one makes every cache
//! that there is worthless, so that had better be meant.
//!
//! `UPDATE_GOLDEN=1` rewrites the expected files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rbuild::context::{IgnoreFrom, LocalContext};
use rbuild::dockerfile;
use rbuild::exec;
use rbuild::graph::NetworkMode;
use rbuild::image::{Config, DiffId, Platform};
use rbuild::plan::{self, Anew, BaseImage, BaseImages, Plan, Planned, Request, WantedImage};

#[path = "support/mod.rs"]
mod support;

use support::{TestEnv, Vector, copy_tree, source_directory};

/// The manifest of the base image, and its one layer.
const MANIFEST: &str = "sha256:ea47abfa3695c3459cf75f661eaba8fd3d2e3e3386923d71ea7155d871a4a315";
const LAYER: &str = "sha256:4e6c6273ae9a87f8380304ac37ada442629d9dd668daf8513cdc9818e815e3d3";

fn request(build_args: &[(&str, &str)]) -> Request {
    let platform = Platform::new("linux", "amd64", None);
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Request {
        build_args: build_args.iter().map(pair).collect(),
        target: None,
        platform: platform.clone(),
        is_platform_given: false,
        build_platform: platform,
        labels: Vec::new(),
        entitlements: BTreeSet::new(),
        contexts: BTreeMap::new(),
        anew: Anew::Nothing,
        ulimits: Vec::new(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
    }
}

fn planned(context: &Path, request: &Request) -> Plan {
    let text = fs::read_to_string(context.join("Dockerfile")).unwrap();
    let file = dockerfile::parse("Dockerfile", &text).unwrap();
    let mut config = Config::scratch(&request.platform);
    config.rootfs.diff_ids = vec![DiffId(LAYER.parse().unwrap())];
    let digest = Some(MANIFEST.parse().unwrap());
    let base = BaseImage { name: "docker.io/library/busybox:latest".to_owned(), digest, config };
    let wanted = WantedImage { name: "busybox".to_owned(), platform: request.platform.clone() };
    let images: BaseImages = BTreeMap::from([(wanted, base)]);
    match plan::plan(&file, request, &images).unwrap() {
        Planned::Ready(plan) => *plan,
        Planned::Needs(names) => panic!("{names:?}"),
    }
}

fn keys(context: &Path, request: &Request) -> String {
    let ignore = IgnoreFrom::Files { dockerfile: Some(&context.join("Dockerfile")) };
    let tree = LocalContext::open(context, ignore).unwrap().into_tree();
    let mut contexts = exec::Contexts::default();
    contexts.add(plan::MAIN_CONTEXT, tree);
    exec::keys(&planned(context, request).graph, &contexts).unwrap()
}

#[test]
fn keys_are_what_they_were() {
    for name in Vector::NAMES {
        let env = TestEnv::new();
        let vector = Vector::assemble(&env, name);
        let expected = source_directory().join(format!("testdata/cache/{name}/keys.txt"));
        let found = keys(&vector.context, &request(&[]));
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap();
        assert!(
            expected == found,
            "the keys of {name} have changed\n--- expected\n{expected}--- found\n{found}"
        );
    }
}

#[test]
fn keys_are_buildkits() {
    for name in Vector::NAMES {
        let env = TestEnv::new();
        let vector = Vector::assemble(&env, name);
        let found = keys(&vector.context, &request(&[]));
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(vector.cache.join("index.json")).unwrap()).unwrap();
        let blob = |digest: &serde_json::Value| -> serde_json::Value {
            let path = digest.as_str().unwrap().replace(':', "/");
            serde_json::from_slice(&fs::read(vector.cache.join("blobs").join(path)).unwrap()).unwrap()
        };
        let config = blob(&blob(&index["manifests"][0]["digest"])["config"]["digest"]);
        let records = config["records"].as_array().unwrap();
        let known: BTreeSet<&str> = records.iter().map(|record| record["digest"].as_str().unwrap()).collect();
        let mut count = 0;
        for line in found.lines() {
            let Some((_, digest)) =
                line.trim().split_once("record ").or_else(|| line.trim().split_once("content "))
            else {
                continue;
            };
            assert!(known.contains(digest), "BuildKit has no {digest} in {name}\n{found}");
            count += 1;
        }
        assert!(count >= 12, "{found}");
    }
}

#[test]
fn keys_depend_on_no_place_and_no_time() {
    let env = TestEnv::new();
    let vector = Vector::assemble(&env, "b");
    let moved = env.path("elsewhere/deep/context");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    copy_tree(&vector.context, &moved);
    env.program("find", &[moved.to_str().unwrap(), "-exec", "touch", "-h", "-d", "2001-01-01", "{}", ";"])
        .run()
        .success();
    let request = request(&[("HTTP_PROXY", "http://127.0.0.1:1")]);
    assert_eq!(keys(&vector.context, &self::request(&[])), keys(&moved, &request));
}
