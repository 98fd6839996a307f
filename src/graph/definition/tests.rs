//! Definitions against those that BuildKit has made: the digests are from caches that it wrote.

use super::super::op::{BindMount, CacheMount, MountKind};
use super::*;
use crate::image::{DiffId, Platform};

fn record(op: &Op) -> String {
    let digest = op.digests().pop().unwrap();
    Digest::of(format!("{digest}@0").as_bytes()).to_string()
}

fn run(command: &str, directory: &str, variables: &[&str]) -> RunOp {
    let path = format!("PATH={}", crate::image::DEFAULT_PATH);
    RunOp {
        root: Some(0),
        mounts: Vec::new(),
        secret_variables: Vec::new(),
        devices: Vec::new(),
        arguments: ["/bin/sh", "-c", command].map(str::to_owned).into(),
        environment: std::iter::once(path).chain(variables.iter().map(|text| (*text).to_owned())).collect(),
        transient_environment: vec!["HTTP_PROXY=http://x".to_owned()],
        directory: directory.to_owned(),
        user: String::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        extra_hosts: Vec::new(),
        hostname: None,
        platform: Platform::new("linux", "amd64", None),
        ulimits: Vec::new(),
    }
}

fn copy(source: SourcePath, destination: &str) -> CopyOp {
    CopyOp {
        base: Some(0),
        sources: vec![CopySource { input: Some(1), path: source }],
        destination: destination.to_owned(),
        owner: None,
        mode: None,
        excludes: Vec::new(),
        unpack: false,
        if_exists: false,
    }
}

fn pattern(path: &str) -> SourcePath {
    SourcePath::Pattern(path.to_owned())
}

#[test]
fn commands_are_defined_as_buildkit_defines_them() {
    let variables = ["V=1", "E=1"];
    let one = Op::Run(Box::new(run("echo one > one", "/app", &variables)));
    assert_eq!(record(&one), "sha256:e9d64ed09e9d179dfcb0d7f78ddefefb9934f7c59159f881436e18bdf59c9c36");
    let last = Op::Run(Box::new(run("ls /app > /ls && echo done", "/", &[])));
    assert_eq!(record(&last), "sha256:3fd8071eab03ff699e3923fe1ae532ad0683081b6a3802bc84a55033760ebcab");
    let cache = CacheMount {
        id: "//c".to_owned(),
        sharing: Sharing::Shared,
        input: None,
        source: "/".to_owned(),
        readonly: false,
    };
    let bind = BindMount { input: Some(1), source: "/src".to_owned(), readonly: true };
    let mount = |target: &str, kind| Mount { target: target.to_owned(), kind };
    let mounts = vec![mount("/c", MountKind::Cache(cache)), mount("/s", MountKind::Bind(bind))];
    let two = RunOp { mounts, ..run("cat /s/a > two", "/app", &variables) };
    let two = Op::Run(Box::new(two));
    assert_eq!(record(&two), "sha256:464e3a373075da24687c08619b68f8d8f0db019479ec1671e4bac18abdf1b3e5");
}

#[test]
fn the_rest_of_a_command_is_where_buildkit_has_it() {
    let ulimits = vec![Ulimit { name: "core".to_owned(), soft: 0, hard: -1 }];
    let op = RunOp {
        extra_hosts: vec!["db".to_owned()],
        ulimits,
        network: NetworkMode::Host,
        security: SecurityMode::Insecure,
        ..run("x", "/", &[])
    };
    let definition = Op::Run(Box::new(op)).definition();
    let expected = r#""extraHosts":[{"Host":"db"}],"ulimit":[{"Name":"core","Hard":-1}],"removeMountStubsRecursive":true},"network":1,"security":1},"OS":"linux""#;
    assert!(definition.contains(expected), "{definition}");
    assert!(!definition.contains("PROXY"), "{definition}");
}

#[test]
fn files_are_defined_as_buildkit_defines_them() {
    let workdir = MakeDirectoryOp {
        base: Some(0),
        path: "/app".to_owned(),
        mode: 0o755,
        owner: String::new(),
        made: None,
        parents: true,
    };
    let chmod = CopyOp { mode: Some(CopyMode::Octal(0o755)), ..copy(pattern("b"), "/b") };
    let document = MakeFileOp { path: "/EOT".to_owned(), mode: 0o644, content: b"hi 1\n".to_vec() };
    for (op, expected) in [
        (
            Op::MakeDirectory(workdir),
            "sha256:807b3e8722c68572736f54d83fd741a5b1d69ccbef218fae52b4149a56d232ce",
        ),
        (
            Op::Copy(copy(pattern("src"), "/app/src")),
            "sha256:d340c4b5610f85cb93182f26e95882954899165cd4e7c4057a4253a64afa09d8",
        ),
        (Op::Copy(chmod), "sha256:b2fe62d7c854dc1fbe0cec52088e150bbff46996574a4f26dcc12d045a044c66"),
        (
            Op::Copy(copy(pattern("/app"), "/app")),
            "sha256:d95bfc1e0d08126f64ad5e27d91007a3a5317ca1227e0e60013fefac7328ce7c",
        ),
        (Op::MakeFile(document), "sha256:7cb748beadd3fa3bb49972ff8b5b9df086ea40c32be503e1040897fd2f32337c"),
        (
            Op::Copy(copy(SourcePath::File("EOT".to_owned()), "/h")),
            "sha256:4748bec4964d0bad1ac67d601f571a4a15589c29b4d994fb77ba2adfc33c9d03",
        ),
        // `COPY --link` of the second cache, onto nothing and then onto its stage.
        (Op::Merge(MergeOp), "sha256:5dbfbafede47210a7bd7363461bc885ec7310febe761daffdf666bfdae5970ff"),
    ] {
        assert_eq!(record(&op), expected, "{}", op.definition());
    }
    let chown = CopyOp { owner: Some("app:app".to_owned()), ..copy(pattern("t/*.txt"), "/txt/") };
    assert_eq!(
        record(&Op::Copy(chown)),
        "sha256:66f3be6ea3a2a353586418cc86f3f7d86b1745f50d2f16860b34af34dc61a442"
    );
    let exclude = CopyOp { excludes: vec!["*.md".to_owned()], ..copy(pattern("t"), "/most") };
    assert_eq!(
        record(&Op::Copy(exclude)),
        "sha256:3d88fc7b75acf869bd76c0b1390d52585171c33db52b5ce6568f63d781b4deb2"
    );
    let archive = CopyOp { unpack: true, ..copy(pattern("x.tar"), "/unpacked/") };
    assert_eq!(
        record(&Op::Copy(archive)),
        "sha256:3fd98cc7b4475b018e9fd24f8406f23eab9fa0ca5ec245e3159b77fc1cc3783d"
    );
    let linked = |path: &str, destination: &str| {
        let mut op = copy(pattern(path), destination);
        (op.base, op.sources[0].input) = (None, Some(0));
        record(&Op::Copy(op))
    };
    assert_eq!(
        linked("t/u", "/linked"),
        "sha256:360c0b4db4d05ff62cf8d7a5f02d60ae822cc4222a4ee405bf41eda801e13cb2"
    );
    assert_eq!(
        linked("/home/app/mode", "/mode"),
        "sha256:a038c2a6a19a6d83ef76ed91e1cd4ad265cb373ca656703f7141e2f60ae525c4"
    );
}

#[test]
fn images_are_known_by_their_manifest_and_by_their_layers() {
    let digest = "sha256:ea47abfa3695c3459cf75f661eaba8fd3d2e3e3386923d71ea7155d871a4a315";
    let layer = "sha256:4e6c6273ae9a87f8380304ac37ada442629d9dd668daf8513cdc9818e815e3d3";
    let op = ImageOp {
        name: "busybox".to_owned(),
        digest: Some(digest.parse().unwrap()),
        platform: Platform::new("linux", "amd64", None),
        diff_ids: vec![DiffId(layer.parse().unwrap())],
    };
    let records = Op::Image(op).digests();
    let records: Vec<String> =
        records.iter().map(|digest| Digest::of(format!("{digest}@0").as_bytes()).to_string()).collect();
    assert_eq!(
        records,
        [
            "sha256:ad06efc1db66ea39dbcc896f98493bd891aa051b92f2e0f3009630b24e9e5129",
            "sha256:8b6d05d5e16c7da10fe04c287cd24561bbcf157d916a275bdbdfb24b2905e36e"
        ]
    );
}

#[test]
fn selectors_are_of_the_paths_that_are_read() {
    let copy = Op::Copy(copy(pattern("/app"), "/app"));
    let keys = copy.input_keys(2);
    assert_eq!((&keys[0].selector, &keys[0].content), (&None, &None));
    let expected = "sha256:f53b52ad6d21cceb72dfa78fb67614fe14f110c58e68412b01508d6a485501c3";
    assert_eq!(keys[1].selector.unwrap().to_string(), expected);
    let run = Op::Run(Box::new(run("x", "/", &[])));
    let keys = run.input_keys(1);
    let expected = "sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1";
    assert_eq!(keys[0].selector.unwrap().to_string(), expected);
    assert_eq!(keys[0].content, None);
}
