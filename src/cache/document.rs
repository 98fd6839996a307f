//! The document that lists a cache: records of steps, what each was built upon, and the layers it led to.
//!
//! It is BuildKit's, byte for byte as Go writes it: what is zero is left out, but for the places that say which layer and
//! which record is meant. So a `parent` that is absent is the first layer, and -1 is none.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::{DiffId, Digest, Timestamp};

/// What manifests call such a document.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// What all versions of it are called, before the version.
pub(super) const ANY_VERSION: &str = "application/vnd.buildkit.cacheconfig.";

/// A whole cache. Records and layers are meant by their places in these lists.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct CacheConfig {
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<ConfigLayer>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<ConfigRecord>,
}

/// A layer above another one. The same blob may lie above several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigLayer {
    pub blob: Digest,
    #[serde(default = "first", with = "parent", skip_serializing_if = "is_first")]
    pub parent: Option<usize>,
    /// For places that have no manifest in which the blob is described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerAnnotations>,
}

/// What a manifest would say of a blob.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LayerAnnotations {
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    #[serde(rename = "diffID", default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    #[serde(rename = "createdAt", default, with = "time")]
    pub created: Option<Timestamp>,
}

/// A step, or a source: what identifies it, what it was built upon, and what came of it, if that is in the cache.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigRecord {
    #[serde(
        rename = "layers",
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub results: Vec<ConfigResult>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ConfigChain>,
    pub digest: Digest,
    /// For each input the records that it may be; one of them has to fit.
    #[serde(default, deserialize_with = "nulls_as_default", skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Vec<ConfigLink>>,
}

/// A result that is a layer with all layers below it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigResult {
    #[serde(with = "place")]
    pub layer: usize,
    #[serde(rename = "createdAt", default, with = "time")]
    pub created: Option<Timestamp>,
}

/// A result whose layers are listed, lowest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigChain {
    pub layers: Vec<usize>,
    #[serde(rename = "createdAt", default, with = "time")]
    pub created: Option<Timestamp>,
}

/// A record that another one was built upon, and which part of its result that read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigLink {
    #[serde(default, deserialize_with = "selector", skip_serializing_if = "Option::is_none")]
    pub selector: Option<Digest>,
    #[serde(with = "place")]
    pub link: usize,
}

impl CacheConfig {
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        as_go_writes(self)
    }
}

/// JSON with the characters escaped that Go escapes for the sake of browsers.
pub(super) fn as_go_writes(value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("a cache has only string keys");
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text.into_bytes();
    }
    // They stand in strings only.
    let escaped = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    escaped.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").into_bytes()
}

/// A place in a list that nothing has: what stands there is no number of one.
const NOWHERE: usize = usize::MAX;

#[expect(clippy::unnecessary_wraps, reason = "the default of a field that may be none")]
fn first() -> Option<usize> {
    Some(0)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn is_first(parent: &Option<usize>) -> bool {
    *parent == Some(0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// Go writes an empty list as `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn nulls_as_default<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<ConfigLink>>, D::Error> {
    let slots = Option::<Vec<Option<Vec<ConfigLink>>>>::deserialize(from)?.unwrap_or_default();
    Ok(slots.into_iter().map(Option::unwrap_or_default).collect())
}

fn selector<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
    match Option::<String>::deserialize(from)?.unwrap_or_default() {
        none if none.is_empty() => Ok(None),
        text => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// A place in a list; a negative one leads nowhere.
mod place {
    use super::{Deserialize, Deserializer, NOWHERE, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(place: &usize, to: S) -> Result<S::Ok, S::Error> {
        place.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        Ok(usize::try_from(i64::deserialize(from)?).unwrap_or(NOWHERE))
    }
}

/// -1 is none.
mod parent {
    use super::{Deserialize, Deserializer, NOWHERE, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(parent: &Option<usize>, to: S) -> Result<S::Ok, S::Error> {
        match parent {
            Some(parent) => parent.serialize(to),
            None => (-1).serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
        Ok(match i64::deserialize(from)? {
            -1 => None,
            other => Some(usize::try_from(other).unwrap_or(NOWHERE)),
        })
    }
}

/// Go has a time where there is none, too: the beginning of the year 1.
mod time {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    const NONE: Timestamp = Timestamp { seconds: -62_135_596_800, nanoseconds: 0 };

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(created: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        created.unwrap_or(NONE).serialize(to)
    }

    /// What is no time is none: a cache is worth more than the order of its results.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?.unwrap_or_default();
        Ok(text.parse().ok().filter(|time| *time != NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_leaves_out_is_left_out() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"layers":[{{"blob":"{digest}","parent":-1}},{{"blob":"{digest}"}},{{"blob":"{digest}","parent":1,"annotations":{{"mediaType":"a\u003cb","createdAt":"0001-01-01T00:00:00Z"}}}}],"records":[{{"digest":"{digest}"}},{{"layers":[{{"layer":0,"createdAt":"2026-11-20T16:03:55.6692406Z"}}],"chains":[{{"layers":[0,1],"createdAt":"0001-01-01T00:00:00Z"}}],"digest":"{digest}","inputs":[[{{"link":0}},{{"selector":"{digest}","link":1}}]]}}]}}"#
        );
        let config = CacheConfig::parse(text.as_bytes()).unwrap();
        let parents: Vec<_> = config.layers.iter().map(|layer| layer.parent).collect();
        assert_eq!(parents, [None, Some(0), Some(1)]);
        assert_eq!(config.records[1].chains[0].created, None);
        assert_eq!(config.layers[2].annotations.as_ref().unwrap().media_type, "a<b");
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
    }

    #[test]
    fn nulls_and_numbers_below_zero_are_read() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"layers":null,"records":[{{"layers":[{{"layer":-2}}],"digest":"{digest}","inputs":[null,[{{"selector":"","link":-7,"more":1}}]]}}]}}"#
        );
        let config = CacheConfig::parse(text.as_bytes()).unwrap();
        let record = &config.records[0];
        assert_eq!(record.results[0].layer, NOWHERE);
        assert_eq!(record.inputs, [vec![], vec![ConfigLink { selector: None, link: NOWHERE }]]);
        assert!(CacheConfig::parse(b"{}").unwrap().records.is_empty());
        assert!(CacheConfig::parse(br#"{"records":[{"digest":"md5:1"}]}"#).is_err());
    }

    #[test]
    fn documents_of_buildkit_are_written_as_they_were() {
        for bytes in crate::cache::vectors::CONFIGS {
            let config = CacheConfig::parse(bytes).unwrap();
            assert!(config.records.len() > 10 && config.layers.len() > 5);
            assert_eq!(config.to_bytes(), bytes);
        }
    }
}
