//! Platforms: operating system, architecture, variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform in its normal form: `arm64` has no variant `v8`, `arm` always has one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("failed to parse platform {0:?}: expected os/architecture[/variant]")]
pub struct PlatformError(pub String);

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("amd64" | "x86_64" | "x86-64", _) => {
                ("amd64".to_owned(), variant.filter(|variant| variant != "v1"))
            }
            ("arm64" | "aarch64", _) => {
                ("arm64".to_owned(), variant.filter(|variant| variant != "8" && variant != "v8"))
            }
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
            ("arm", Some("5")) => ("arm".to_owned(), Some("v5".to_owned())),
            ("arm", Some("6")) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", Some("8")) => ("arm".to_owned(), Some("v8".to_owned())),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386".to_owned(), None),
            _ => (architecture, variant),
        };
        Self { architecture, os, os_version: None, os_features: Vec::new(), variant }
    }

    /// The platform this binary runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// As `TARGETPLATFORM` has it: with the version of the operating system, `linux(1.2)/amd64`.
    pub fn with_version(&self) -> String {
        let version = self.os_version.as_ref().map(|version| format!("({version})")).unwrap_or_default();
        self.to_string().replacen(&self.os, &format!("{}{version}", self.os), 1)
    }

    /// Whether an image for `self` serves a request for `wanted`.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let normal = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        normal.os == wanted.os
            && normal.architecture == wanted.architecture
            && normal.variant == wanted.variant
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refuse = || PlatformError(text.to_owned());
        let mut parts: Vec<&str> = text.split('/').collect();
        let mut os_version = None;
        if let Some((os, version)) = parts[0].strip_suffix(')').and_then(|first| first.split_once('(')) {
            parts[0] = os;
            os_version = Some(version).filter(|version| !version.is_empty()).map(str::to_owned);
        }
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if !parts.iter().copied().chain(os_version.as_deref()).all(word) {
            return Err(refuse());
        }
        let platform = match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(Self { os: os.to_owned(), ..Self::host() })
            }
            // An architecture has no version.
            [_] if os_version.is_some() => Err(refuse()),
            [architecture] => {
                let platform = Self::new("linux", architecture, None);
                let known =
                    ["amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le"];
                if known.contains(&platform.architecture.as_str()) { Ok(platform) } else { Err(refuse()) }
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(refuse()),
        };
        Ok(Self { os_version, ..platform? })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(out, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/x86_64/v3", "linux/amd64/v3"),
            ("linux/aarch64/v9", "linux/arm64/v9"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn an_operating_system_may_have_a_version() {
        let platform: Platform = "linux(1.2-rc)/arm/7".parse().unwrap();
        assert_eq!(platform.os_version.as_deref(), Some("1.2-rc"));
        assert_eq!(
            (&*platform.to_string(), &*platform.with_version()),
            ("linux/arm/v7", "linux(1.2-rc)/arm/v7")
        );
        assert_eq!("linux()/arm64".parse(), Ok(Platform::new("linux", "arm64", None)));
        assert_eq!("linux(3)".parse::<Platform>().unwrap().os_version.as_deref(), Some("3"));
        // On Linux it chooses nothing.
        assert!(Platform::new("linux", "arm", None).satisfies(&platform));
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in [
            "",
            "/",
            "linux/",
            "a/b/c/d",
            "linux/a b",
            "toaster",
            "linux(1/arm",
            "linux(1 2)/arm",
            "amd64(1)",
            "(1)/arm",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
