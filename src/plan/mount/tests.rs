//! Mounts as definitions have them, against caches that BuildKit wrote.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::parse;
use crate::graph::{Graph, MountKind, NetworkMode, Op, RunOp};
use crate::image::{Config, DiffId, Digest, Platform};
use crate::plan::{Anew, BaseImage, Planned, Request, WantedImage, plan};

fn planned(text: &str) -> Graph {
    let file = parse("Dockerfile", text).unwrap();
    let platform = Platform::new("linux", "amd64", None);
    let mut config = Config::scratch(&platform);
    config.rootfs.diff_ids = vec![DiffId(Digest::of(b"layer"))];
    let base = BaseImage { name: "busybox".to_owned(), digest: None, config };
    let wanted = WantedImage { name: "busybox".to_owned(), platform: platform.clone() };
    let images = BTreeMap::from([(wanted, base)]);
    let request = Request {
        build_args: BTreeMap::new(),
        target: None,
        is_platform_given: false,
        build_platform: platform.clone(),
        platform,
        labels: Vec::new(),
        entitlements: BTreeSet::new(),
        contexts: BTreeMap::new(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        anew: Anew::Nothing,
    };
    match plan(&file, &request, &images) {
        Ok(Planned::Ready(plan)) => plan.graph,
        other => panic!("{other:?}"),
    }
}

fn record(op: &Op) -> String {
    Digest::of(format!("{}@0", op.digests().pop().unwrap()).as_bytes()).to_string()
}

/// The last RUN, and what it has of each input.
fn last_run(text: &str) -> (RunOp, String, Vec<Option<String>>) {
    let graph = planned(text);
    let vertices: Vec<_> = graph.iter().collect();
    let (_, vertex) = vertices.iter().rev().find(|(_, vertex)| matches!(vertex.op, Op::Run(_))).unwrap();
    let Op::Run(op) = &vertex.op else { unreachable!() };
    let keys = vertex.op.input_keys(vertex.inputs.len());
    let selectors = keys.iter().map(|key| key.selector.map(|digest| digest.to_string())).collect();
    ((**op).clone(), record(&vertex.op), selectors)
}

#[test]
fn mounts_are_defined_as_buildkit_defines_them() {
    let (_, record, _) = last_run(
        "FROM busybox\nARG V=1\nENV E=$V\nWORKDIR /app\n\
         RUN --mount=type=cache,target=/c --mount=type=bind,source=src,target=/s cat /s/a > two\n",
    );
    assert_eq!(record, "sha256:464e3a373075da24687c08619b68f8d8f0db019479ec1671e4bac18abdf1b3e5");
    let (_, record, selectors) = last_run(
        "FROM busybox AS build\nRUN true\nFROM busybox\n\
         RUN --mount=type=secret,id=tok,required=false --mount=type=tmpfs,target=/scratch,size=1m \
         --mount=type=bind,from=build,source=/txt,target=/in ls /in > /listing\n",
    );
    assert_eq!(record, "sha256:ebcdf75684b4111f8702c62e9d5c4f5467ed9d8e2a3f6c3dc193b73c25d604cc");
    assert_eq!(
        selectors[1].as_deref(),
        Some("sha256:59b7e5192fe01aaff4ce353814a93583572e769571fbcfa305ea4b063015daa2")
    );
    let (_, record, _) =
        last_run("FROM busybox\nRUN --network=none [\"/bin/sh\", \"-c\", \"echo exec > /exec\"]\n");
    assert_eq!(record, "sha256:66d951e93c588966ed434c0c04af5e011de2dab9ec90b2b55f9e42f189717315");
}

#[test]
fn they_are_sorted_by_target_with_secrets_and_agents_behind() {
    let (op, _, _) = last_run(
        "FROM busybox\nWORKDIR /w\n\
         RUN --mount=type=ssh --mount=type=secret,id=a/b --mount=type=tmpfs,target=z --mount=type=cache,target=/b \
         --mount=type=ssh,id=x --mount=type=secret,id=s,env=S --mount=target=/a/,rw true\n",
    );
    let targets: Vec<&str> = op.mounts.iter().map(|mount| &*mount.target).collect();
    let agents = ["/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1"];
    assert_eq!(targets, ["/a/", "/b", "/w/z", "/run/secrets/b", agents[0], agents[1]]);
    assert_eq!(op.environment.last().unwrap(), "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0");
    assert_eq!((&*op.secret_variables[0].id, &*op.secret_variables[0].name), ("s", "S"));
    let set = last_run("FROM busybox\nENV SSH_AUTH_SOCK=/x\nRUN --mount=type=ssh true\n").0;
    assert_eq!(set.environment.last().unwrap(), "SSH_AUTH_SOCK=/x");
}

#[test]
fn a_cache_with_an_owner_begins_with_a_directory_that_has_it() {
    let graph = planned("FROM busybox\nRUN --mount=type=cache,target=c,uid=7,mode=1750 true\n");
    let find = |wanted: fn(&Op) -> bool| graph.iter().map(|(_, it)| it).find(|it| wanted(&it.op)).unwrap();
    let made = find(|op| matches!(op, Op::MakeDirectory(_)));
    assert_eq!(made.name, "[internal] settings cache mount permissions");
    let Op::MakeDirectory(directory) = &made.op else { unreachable!() };
    assert_eq!((&*directory.path, &*directory.owner, directory.mode), ("/cache", "7:0", 0o750));
    assert_eq!(directory.base, None);
    let Op::Run(run) = &find(|op| matches!(op, Op::Run(_))).op else { unreachable!() };
    let MountKind::Cache(cache) = &run.mounts[0].kind else { panic!("{run:?}") };
    assert_eq!((&*cache.id, &*cache.source, cache.input), ("/c", "/cache", Some(1)));
}
