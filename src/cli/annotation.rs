//! `--annotation [LEVEL[,LEVEL...]:]NAME=VALUE`, as buildx has it.

use std::str::FromStr;

use crate::image::{Annotations, Platform};

/// Something noted of an image, and where it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    levels: Vec<(Level, Option<Platform>)>,
    name: String,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

const LEVELS: [(&str, Level); 4] = [
    ("manifest", Level::Manifest),
    ("manifest-descriptor", Level::ManifestDescriptor),
    ("index", Level::Index),
    ("index-descriptor", Level::IndexDescriptor),
];

impl FromStr for Annotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
        let (levels, name) = match key.split_once(':') {
            Some((levels, name)) => (levels.split(',').map(level).collect::<Result<_, _>>()?, name),
            None => (vec![(Level::Manifest, None)], key),
        };
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        Ok(Self { levels, name: name.to_owned(), value: value.to_owned() })
    }
}

/// `manifest` or `manifest[linux/amd64]`
fn level(text: &str) -> Result<(Level, Option<Platform>), String> {
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => {
            let platform = rest.strip_suffix(']').ok_or_else(|| format!("{text:?} lacks the closing ]"))?;
            (name, Some(platform.parse().map_err(|error: crate::image::PlatformError| error.to_string())?))
        }
        None => (text, None),
    };
    match LEVELS.iter().find(|(known, _)| *known == name) {
        Some((_, level)) => Ok((*level, platform)),
        None => Err(format!("there is no level {name:?}: use {}", LEVELS.map(|(name, _)| name).join(", "))),
    }
}

/// All of them together; of two with one name the later one counts.
pub(super) fn together(given: Vec<Annotation>, platform: &Platform) -> Result<Annotations, String> {
    let mut all = Annotations::default();
    for Annotation { levels, name, value } in given {
        for (level, of) in levels {
            if let Some(other) = of.filter(|of| of != platform) {
                return Err(format!(
                    "annotation {name} is for {other}, but the image is built for {platform}"
                ));
            }
            let place = match level {
                Level::Manifest => &mut all.manifest,
                Level::ManifestDescriptor => &mut all.descriptor,
                Level::Index | Level::IndexDescriptor => {
                    return Err(format!(
                        "annotation {name}: an image of one platform has no index to note it in"
                    ));
                }
            };
            place.insert(name.clone(), value.clone());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(texts: &[&str]) -> Result<Annotations, String> {
        let given = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        together(given, &Platform::new("linux", "amd64", None))
    }

    #[test]
    fn annotations_are_noted_at_their_levels() {
        let all = noted(&[
            "a=1",
            "a=2=3",
            "manifest-descriptor:b=x:y",
            "manifest[linux/amd64],manifest-descriptor[linux/x86_64]:c=",
        ])
        .unwrap();
        let of = |map: &std::collections::BTreeMap<String, String>| format!("{map:?}");
        assert_eq!(of(&all.manifest), r#"{"a": "2=3", "c": ""}"#);
        assert_eq!(of(&all.descriptor), r#"{"b": "x:y", "c": ""}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("a", "NAME=VALUE"),
            ("=a", "empty"),
            ("manifest:=a", "empty"),
            ("manifst:a=b", "manifst"),
            ("manifest[linux/amd64:a=b", "]"),
            ("manifest[a/b/c/d]:a=b", "a/b/c/d"),
            ("manifest[linux/arm64]:a=b", "linux/arm64"),
            ("index:a=b", "no index"),
            ("index-descriptor:a=b", "no index"),
        ] {
            let error = noted(&[text]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
