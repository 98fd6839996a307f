//! Whether a manifest, a config and its blobs agree with each other.

use super::config::Config;
use super::digest::{DiffId, Digest, Hasher};
use super::manifest::{Manifest, media_type};

/// One way in which an image contradicts itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the manifest names config {named}, but the config is {found}")]
    ConfigDigest { named: Digest, found: Digest },
    #[error("the manifest says the config has {named} bytes, but it has {found}")]
    ConfigSize { named: u64, found: u64 },
    #[error("the config is not valid JSON of an image config: {0}")]
    ConfigJson(String),
    #[error("the manifest has {layers} layers, but the config has {diff_ids} diff ids")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("the history has {entries} entries with a layer, but there are {layers} layers")]
    History { entries: usize, layers: usize },
    #[error("layer {index} has media type {found:?}, which does not go with manifest type {manifest:?}")]
    MixedMediaTypes { index: usize, found: String, manifest: String },
    #[error("rootfs type is {0:?}, not \"layers\"")]
    RootFsType(String),
}

/// Checks a manifest against the bytes of its config. An empty list is a sound image.
pub fn validate(manifest: &Manifest, config_bytes: &[u8]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let found = Digest::of(config_bytes);
    if found != manifest.config.digest {
        flaws.push(Flaw::ConfigDigest { named: manifest.config.digest, found });
    }
    let size = config_bytes.len() as u64;
    if size != manifest.config.size {
        flaws.push(Flaw::ConfigSize { named: manifest.config.size, found: size });
    }
    check_media_types(manifest, &mut flaws);
    match serde_json::from_slice::<Config>(config_bytes) {
        Ok(config) => check_config(manifest, &config, &mut flaws),
        Err(error) => flaws.push(Flaw::ConfigJson(error.to_string())),
    }
    flaws
}

/// The identity of a stack of layers, as the OCI image specification defines it; none for no layers.
pub fn chain_id(diff_ids: &[DiffId]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(first.0, |chain, diff_id| {
        let mut hasher = Hasher::new();
        hasher.update(format!("{chain} {diff_id}").as_bytes());
        hasher.finish()
    }))
}

fn check_config(manifest: &Manifest, config: &Config, flaws: &mut Vec<Flaw>) {
    let layers = manifest.layers.len();
    if config.rootfs.kind != "layers" {
        flaws.push(Flaw::RootFsType(config.rootfs.kind.clone()));
    }
    if config.rootfs.diff_ids.len() != layers {
        flaws.push(Flaw::LayerCount { layers, diff_ids: config.rootfs.diff_ids.len() });
    }
    let entries = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && entries != layers {
        flaws.push(Flaw::History { entries, layers });
    }
}

fn check_media_types(manifest: &Manifest, flaws: &mut Vec<Flaw>) {
    let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
    let family =
        if kind == media_type::DOCKER_MANIFEST { "application/vnd.docker." } else { "application/vnd.oci." };
    for (index, layer) in manifest.layers.iter().enumerate() {
        if !layer.media_type.starts_with(family) {
            flaws.push(Flaw::MixedMediaTypes {
                index,
                found: layer.media_type.clone(),
                manifest: kind.to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Descriptor, Platform};

    #[test]
    fn a_sound_image_has_no_flaws_and_a_wrong_one_has_each() {
        let config = Config::scratch(&Platform::host()).to_bytes();
        let descriptor = Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), config.len() as u64);
        let mut manifest = Manifest::oci(descriptor, Vec::new());
        assert_eq!(validate(&manifest, &config), []);
        manifest.layers.push(Descriptor::new(media_type::DOCKER_LAYER_GZIP, Digest::of(b""), 0));
        manifest.config.size += 1;
        manifest.config.digest = Digest::of(b"");
        assert_eq!(validate(&manifest, &config).len(), 4);
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let a = DiffId(Digest::of(b"a"));
        let b = DiffId(Digest::of(b"b"));
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&[a]), Some(a.0));
        assert_eq!(chain_id(&[a, b]), Some(Digest::of(format!("{a} {b}").as_bytes())));
    }
}
