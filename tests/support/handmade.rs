//! Images put together by hand, pushed with skopeo or in a layout: nothing of the product has to work for them, and they may
//! lie.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rbuild::image::{Digest, media_type};

use super::{Registry, TestEnv, http};

/// One layer of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    tar: &'a [u8],
    is_packed: bool,
    diff_id: Option<Digest>,
}

impl<'a> Layer<'a> {
    /// Compressed with gzip.
    pub(crate) fn gzip(tar: &'a [u8]) -> Self {
        Self { tar, is_packed: true, diff_id: None }
    }

    /// As it is, which is quicker for a large one.
    pub(crate) fn plain(tar: &'a [u8]) -> Self {
        Self { tar, is_packed: false, diff_id: None }
    }

    /// The config says this of it, true or not.
    pub(crate) fn claiming(self, diff_id: Digest) -> Self {
        Self { diff_id: Some(diff_id), ..self }
    }
}

/// Pushes an image of these layers, lowest first; returns its name.
pub(crate) fn push_by_hand(env: &TestEnv, registry: &Registry, name: &str, layers: &[Layer<'_>]) -> String {
    let layout = env.path(format!("layout-{name}"));
    let (mut diff_ids, mut blobs) = (Vec::new(), Vec::new());
    for layer in layers {
        diff_ids.push(format!(r#""{}""#, layer.diff_id.unwrap_or_else(|| Digest::of(layer.tar))));
        blobs.push(if layer.is_packed {
            describe(&layout, "layer.v1.tar+gzip", &gzip(layer.tar))
        } else {
            describe(&layout, "layer.v1.tar", layer.tar)
        });
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    finish(&layout, &config, &blobs);
    let image = format!("{}/by-hand/{name}:1", registry.address());
    let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{image}"));
    let flags = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"];
    env.program("skopeo", &[&flags[..], &[&from, &to]].concat()).run().success();
    fs::remove_dir_all(&layout).unwrap();
    image
}

/// Puts an index above tags of its repository, each for a platform (OS/ARCH); returns its name. `name` is that in the registry.
pub(crate) fn push_index(registry: &Registry, name: &str, entries: &[(&str, &str)]) -> String {
    let (repository, to) = name.rsplit_once(':').unwrap();
    let entry = |(tag, platform): &(&str, &str)| {
        let (os, architecture) = platform.split_once('/').unwrap();
        let manifest = registry.get(&format!("/v2/{repository}/manifests/{tag}"));
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            media_type::OCI_MANIFEST,
            Digest::of(&manifest),
            manifest.len()
        )
    };
    let manifests = entries.iter().map(entry).collect::<Vec<_>>().join(",");
    let kind = media_type::OCI_INDEX;
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{manifests}]}}"#);
    let (address, path) = (registry.address(), format!("/v2/{repository}/manifests/{to}"));
    let answer = http::put(address.parse().unwrap(), &path, kind, &index).unwrap();
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    format!("{address}/{name}")
}

/// Writes a layout with an image without layers; `said` stands in its config beside what every config has to have.
pub(crate) fn layout_by_hand(env: &TestEnv, name: &str, said: &str) -> PathBuf {
    let layout = env.path(format!("layout-{name}"));
    finish(&layout, &format!(r#"{{{said},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#), &[]);
    layout
}

/// Writes the documents of a layout with one image.
fn finish(layout: &Path, config: &str, layers: &[String]) {
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        describe(layout, "config.v1+json", config.as_bytes()),
        layers.join(",")
    );
    let manifest = describe(layout, "manifest.v1+json", manifest.as_bytes());
    fs::write(layout.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#))
        .unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Writes a blob; returns what a document says of it.
fn describe(layout: &Path, kind: &str, bytes: &[u8]) -> String {
    let (digest, size) = (write_blob(layout, bytes), bytes.len());
    format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(tar).unwrap();
    packed.finish().unwrap()
}

fn write_blob(layout: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest
}
