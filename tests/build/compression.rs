//! Layers in other compressions than gzip, given and taken.

use crate::support::{Image, Registry, TestEnv, require_busybox, require_tool};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn kinds(image: &Image) -> Vec<&str> {
    image.manifest.layers.iter().map(|layer| &*layer.media_type).collect()
}

#[test]
fn new_layers_are_compressed_as_asked_and_old_ones_when_forced() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = env.push_busybox(&registry);
    env.dockerfile(&format!("FROM {base}\nRUN seq 1 200000 > /numbers\n"));
    let push = |name: &str, options: &str| {
        let output = format!("type=image,name={}/{name},push=true,{options}", registry.address());
        env.rbuild(&["--output", &output, "."]).run().success();
        Image::fetch(&registry, name).sound()
    };
    let mixed = push("mixed:1", "compression=zstd,compression-level=9");
    assert_eq!(kinds(&mixed), [GZIP, ZSTD]);
    // Of what is there any form will do.
    assert_eq!(kinds(&push("again:1", "compression=gzip")), [GZIP, ZSTD]);
    let forced = push("forced:1", "compression=zstd,force-compression=true");
    assert_eq!(kinds(&forced), [ZSTD, ZSTD]);
    assert_eq!(forced.config.rootfs, mixed.config.rootfs, "the same layers");
    let plain = push("plain:1", "compression=uncompressed,force-compression=true");
    assert_eq!(kinds(&plain), [PLAIN, PLAIN]);
    for name in ["mixed:1", "forced:1", "plain:1"] {
        let name = format!("{}/{name}", registry.address());
        // Somebody else finds the layers in the blobs ...
        let unpacked = env.path("unpacked");
        let (from, to) = (format!("docker://{name}"), format!("dir:{}", unpacked.display()));
        let flags = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-decompress"];
        env.program("skopeo", &[&flags[..], &[&from, &to]].concat()).run().success();
        for diff_id in &mixed.config.rootfs.diff_ids {
            assert!(unpacked.join(diff_id.0.hex()).exists(), "{name}: no layer {diff_id}");
        }
        // ... and so does rbuild, in a store that has never seen them.
        let other = TestEnv::new();
        let last = other.rbuild(&["run", "--rm", &name, "tail", "-n", "1", "/numbers"]);
        last.run().success().prints("200000\n");
    }
}

#[test]
fn an_output_that_cannot_be_made_is_refused_before_anything_is_built() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n");
    for (output, part) in [
        ("type=image,compression=zstd,compression-level=23,name=x,push=true", "from 0 to 22"),
        ("type=registry", "--tag"),
    ] {
        env.rbuild(&["--output", output, "."]).run().code(2).says(&[part]);
    }
    assert!(!env.store().join("snapshots").exists(), "something was made");
}
