//! What copies are known by, against a cache that BuildKit wrote for the same Dockerfile.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::selectors;
use crate::context::{Forgetful, IgnoreFrom, LocalContext, fingerprint};
use crate::dockerfile::parse;
use crate::graph::{Graph, NetworkMode, Op};
use crate::image::{Config, DiffId, Digest, Platform};
use crate::plan::{Anew, BaseImage, BaseImages, Planned, Request, WantedImage, plan};
use crate::solve::{content_digest, record_digest};

/// `testdata/cache/b/context`, with the modes and the link that it had.
fn context(directory: &Path) -> LocalContext {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cache/b/context");
    fs::create_dir_all(directory.join("t/u")).unwrap();
    for name in ["Dockerfile", ".dockerignore", "x.tar", "t/one.txt", "t/two.md", "t/u/three.txt"] {
        fs::copy(from.join(name), directory.join(name)).unwrap();
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o644)).unwrap();
    }
    symlink("one.txt", directory.join("t/link")).unwrap();
    fs::set_permissions(directory.join("t"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(directory.join("t/u"), Permissions::from_mode(0o754)).unwrap();
    LocalContext::open(directory, IgnoreFrom::Files { dockerfile: None }).unwrap()
}

/// The copies of the Dockerfile, without mounts, which are no matter of theirs.
fn graph(text: &str) -> Graph {
    let text: String =
        text.lines().filter(|line| !line.contains("--mount")).map(|line| format!("{line}\n")).collect();
    let platform = Platform::new("linux", "amd64", None);
    let request = Request {
        build_args: BTreeMap::new(),
        target: None,
        platform: platform.clone(),
        is_platform_given: false,
        build_platform: platform.clone(),
        labels: Vec::new(),
        entitlements: [].into(),
        contexts: [].into(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        anew: Anew::Nothing,
    };
    let mut config = Config::scratch(&platform);
    config.rootfs.diff_ids.push(DiffId(Digest::of(b"any")));
    let base = BaseImage { name: "busybox".to_owned(), digest: None, config };
    let images: BaseImages = [(WantedImage { name: "busybox".to_owned(), platform }, base)].into();
    match plan(&parse("Dockerfile", &text).unwrap(), &request, &images) {
        Ok(Planned::Ready(plan)) => plan.graph,
        other => panic!("{other:?}"),
    }
}

#[test]
fn copies_have_the_records_that_buildkit_gave_them() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path());
    let graph = graph(&fs::read_to_string(directory.path().join("Dockerfile")).unwrap());
    let record = |op: &Op| record_digest(&op.digests().pop().unwrap()).to_string();
    let mut copies = Vec::new();
    for (_, vertex) in graph.iter() {
        let Op::Copy(op) = &vertex.op else { continue };
        let read = vertex.op.input_keys(vertex.inputs.len()).into_iter().zip(&vertex.inputs);
        let read = read.filter(|(_, input)| matches!(graph.get(**input).op, Op::Context(_)));
        let contents = read.map(|(counts, _)| {
            let selectors = selectors(&counts.content.unwrap()).unwrap();
            let content = fingerprint(context.tree(), &selectors, &Forgetful).unwrap();
            content_digest(&content).to_string()
        });
        copies.push((op.destination.clone(), record(&vertex.op), contents.collect::<Vec<_>>()));
    }
    let expected = [
        (
            "/txt/",
            "66f3be6ea3a2a353586418cc86f3f7d86b1745f50d2f16860b34af34dc61a442",
            vec!["5e5e8a5155839ba1c6f0a9376e430aadc78eec268cf51f44e2cebad827b2d9cb"],
        ),
        (
            "/linked",
            "360c0b4db4d05ff62cf8d7a5f02d60ae822cc4222a4ee405bf41eda801e13cb2",
            vec!["6dd5a170e35f36a0817bbc5d27b3c5cc801d1d5ebaaf257c57559f32b9ca5901"],
        ),
        (
            "/most",
            "3d88fc7b75acf869bd76c0b1390d52585171c33db52b5ce6568f63d781b4deb2",
            vec!["95b194913c32d5c2e86d499b0b88848589d9eb9384a9f5d7abf89c6295552af7"],
        ),
        (
            "/unpacked/",
            "3fd98cc7b4475b018e9fd24f8406f23eab9fa0ca5ec245e3159b77fc1cc3783d",
            vec!["7d76377e08ee920ef4b004db70d62c9a1c8cf9d9ceed6fcc1847ccd17ab756fd"],
        ),
        ("/mode", "a038c2a6a19a6d83ef76ed91e1cd4ad265cb373ca656703f7141e2f60ae525c4", vec![]),
    ];
    let expected = expected.map(|(destination, record, contents)| {
        let digest = |hex: &str| format!("sha256:{hex}");
        (destination.to_owned(), digest(record), contents.into_iter().map(digest).collect::<Vec<_>>())
    });
    assert_eq!(copies, expected);
    let merges = graph.iter().filter(|(_, vertex)| matches!(vertex.op, Op::Merge(_)));
    let merges: Vec<String> = merges.map(|(_, vertex)| record(&vertex.op)).collect();
    assert_eq!(merges, ["sha256:5dbfbafede47210a7bd7363461bc885ec7310febe761daffdf666bfdae5970ff"; 2]);
}

/// What a copy with `--if-exists` is known by when nothing is there is not what it is known by when something is, and
/// neither is what a copy without it is known by.
#[test]
fn what_may_be_missing_has_keys_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let context = LocalContext::open(directory.path(), IgnoreFrom::Files { dockerfile: None }).unwrap();
    let keys = |line: &str| {
        let graph = graph(&format!("FROM busybox\n{line}\n"));
        let (_, vertex) = graph.iter().last().unwrap();
        let content = vertex.op.input_keys(2).remove(1).content.unwrap();
        let content = fingerprint(context.tree(), &selectors(&content).unwrap(), &Forgetful);
        (record_digest(&vertex.op.digests().pop().unwrap()), content.ok())
    };
    let (optional, missing) = keys("COPY --if-exists a /");
    let (plain, failed) = keys("COPY a /");
    assert_eq!(failed, None);
    assert_ne!(optional, plain);
    let nothing = Digest::of(Digest::of(b"").to_string().as_bytes());
    assert_eq!(missing, Some(nothing));
    assert_eq!(keys("COPY --if-exists --parents x/./a /").1, Some(nothing));
    fs::write(directory.path().join("a"), "").unwrap();
    let (_, there) = keys("COPY --if-exists a /");
    assert_eq!(keys("COPY a /"), (plain, there));
    assert_ne!(there, missing);
}
