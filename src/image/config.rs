//! The image config: docker's superset of the OCI document, so that nothing docker knows is lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::digest::DiffId;
use super::history::HistoryEntry;
use super::platform::Platform;
use super::time::Timestamp;

/// The search path of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The document whose digest is the image id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Config {
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default)]
    pub config: RunConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The cache that the image carries along.
    #[serde(rename = "moby.buildkit.cache.v0", default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

/// How a container of the image runs. Fields that are absent and fields that are empty mean the same, but for the
/// lists that docker tells apart: `Cmd` and `Entrypoint`.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Keys::is_empty")]
    pub exposed_ports: Keys,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Keys::is_empty")]
    pub volumes: Keys,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// A set of names, which the document writes as `{"name":{}}`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Keys(pub std::collections::BTreeSet<String>);

/// Times are nanoseconds; zero means docker's default.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Config {
    /// The config that `FROM scratch` starts from.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            author: None,
            config: RunConfig {
                env: vec![format!("PATH={DEFAULT_PATH}")],
                working_dir: "/".to_owned(),
                ..RunConfig::default()
            },
            created: None,
            history: Vec::new(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            variant: platform.variant.clone(),
            cache: None,
        }
    }

    pub fn platform(&self) -> Platform {
        let mut platform = Platform::new(&self.os, &self.architecture, self.variant.as_deref());
        platform.os_version.clone_from(&self.os_version);
        platform.os_features.clone_from(&self.os_features);
        platform
    }

    /// Says that the image is for a platform. A variant and a version that the platform leaves open stay those of the base
    /// image, unless that was for another kind of machine; what the operating system has to have stays in any case.
    pub fn make_for(&mut self, platform: &Platform) {
        let is_same = (&self.os, &self.architecture) == (&platform.os, &platform.architecture);
        self.os.clone_from(&platform.os);
        self.architecture.clone_from(&platform.architecture);
        if platform.variant.is_some() || !is_same {
            self.variant.clone_from(&platform.variant);
        }
        if platform.os_version.is_some() || !is_same {
            self.os_version.clone_from(&platform.os_version);
        }
    }

    /// Writes the platform as everybody does, whatever the base image did.
    pub fn normalize_platform(&mut self) {
        let Platform { architecture, os, variant, .. } = self.platform();
        (self.architecture, self.os, self.variant) = (architecture, os, variant);
        self.os_version.take_if(|version| version.is_empty());
    }

    /// The bytes whose digest is the image id.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has only string keys")
    }
}

impl RunConfig {
    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }

    /// Sets a variable in place, or appends it.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.env.iter_mut().find(|old| old.split_once('=').is_some_and(|(key, _)| key == name)) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, key: impl Into<String>) {
        self.0.insert(key.into());
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|key| (key, Map::<String, Value>::new())))
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(BTreeMap::<String, Value>::deserialize(from)?.into_keys().collect()))
    }
}

/// Go writes an empty list or map as `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_fields_survive_a_round_trip() {
        let text = r#"{"architecture":"amd64","config":{"User":"app","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Entrypoint":["/e"],"Cmd":[],"Healthcheck":{"Test":["CMD","x"],"Interval":5},"ArgsEscaped":true,"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"a":"1","b":"2"},"OnBuild":["RUN x"],"StopSignal":"TERM","Shell":["/bin/bash","-c"]},"created":"2024-01-01T00:00:00Z","history":[{"created_by":"x"}],"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
    }

    #[test]
    fn null_is_empty() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Labels":null,"Volumes":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.config, RunConfig::default());
    }

    #[test]
    fn variables_are_replaced_in_place() {
        let mut config = RunConfig { env: vec!["A=1".into(), "B=2".into()], ..RunConfig::default() };
        config.set_variable("A", "3");
        config.set_variable("C", "");
        assert_eq!(config.env, ["A=3", "B=2", "C="]);
        assert_eq!(config.variable("C"), Some(""));
        assert_eq!(config.variable("D"), None);
    }
}
