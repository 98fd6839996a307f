//! `--cache-from` and `--cache-to`: where caches are, and how they are written.

use std::path::PathBuf;
use std::str::FromStr;

use super::fields::{DEFAULT_PACKING, PackingFields, boolean, fields, target_name};
use crate::cache::{CacheFrom, CacheSource, Which};
use crate::dockerfile::nearest;
use crate::export::cache::{CacheDirectory, CacheForm, CacheMode, CacheShape, CacheTarget, CacheTo};
use crate::image::Form;

/// What a cache without a tag is called in a directory.
const DEFAULT_TAG: &str = "latest";

/// `type=registry,ref=…`, `type=local,src=…`, or just the name in a registry.
impl FromStr for CacheFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(given) = Given::parse(text)? else {
            let name = text.parse().map_err(|error: crate::image::ReferenceError| error.to_string())?;
            return Ok(Self { source: CacheSource::Registry(name), insecure: false });
        };
        match given.kind()? {
            "registry" => {
                given.only(&["ref", "registry.insecure"])?;
                let name = given.required("ref")?.parse();
                let name = name.map_err(|error: crate::image::ReferenceError| error.to_string())?;
                Ok(Self {
                    source: CacheSource::Registry(name),
                    insecure: given.boolean("registry.insecure", false)?,
                })
            }
            "local" => {
                given.only(&["src", "tag", "digest"])?;
                let layout = PathBuf::from(given.required("src")?);
                let which = match given.get("digest") {
                    Some(digest) => Which::Digest(
                        digest.parse().map_err(|error: crate::image::DigestError| error.to_string())?,
                    ),
                    None => Which::Tag(given.get("tag").unwrap_or(DEFAULT_TAG).to_owned()),
                };
                Ok(Self { source: CacheSource::Local { layout, which }, insecure: false })
            }
            "inline" => Err("a cache within an image is read with type=registry,ref=IMAGE".to_owned()),
            other => Err(no_such_type(other)),
        }
    }
}

/// `type=registry,ref=…`, `type=local,dest=…`, `type=inline`, or just the name in a registry.
impl FromStr for CacheTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(given) = Given::parse(text)? else {
            let form = CacheForm { form: Form::Oci, shape: CacheShape::Manifest };
            let target = CacheTarget::Registry { name: target_name(text)?, form, insecure: false };
            return Ok(Self { target, mode: CacheMode::Min, packing: DEFAULT_PACKING, ignore_error: false });
        };
        match given.kind()? {
            "registry" => {
                given.only(&[&WRITTEN[..], &["ref", "registry.insecure"]].concat())?;
                let (name, form) = (target_name(given.required("ref")?)?, given.form()?);
                let insecure = given.boolean("registry.insecure", false)?;
                given.to(CacheTarget::Registry { name, form, insecure }, form.form)
            }
            "local" => {
                given.only(&[&WRITTEN[..], &["dest", "tag", "reset"]].concat())?;
                let form = given.form()?;
                let tag = given.get("tag").unwrap_or(DEFAULT_TAG).to_owned();
                let path = PathBuf::from(given.required("dest")?);
                let directory = CacheDirectory { path, tag, reset: given.boolean("reset", false)? };
                given.to(CacheTarget::Local { directory, form }, form.form)
            }
            "inline" => {
                given.only(&["mode", "ignore-error"])?;
                if given.mode()? == CacheMode::Max {
                    return Err(
                        "an image has just what it consists of: leave out mode=max, or use type=registry"
                            .to_owned(),
                    );
                }
                given.to(CacheTarget::Inline, Form::Oci)
            }
            other => Err(no_such_type(other)),
        }
    }
}

/// Keys of all caches that are written as documents of their own.
const WRITTEN: [&str; 7] = [
    "mode",
    "image-manifest",
    "oci-mediatypes",
    "ignore-error",
    PackingFields::KEYS[0],
    PackingFields::KEYS[1],
    PackingFields::KEYS[2],
];

fn no_such_type(kind: &str) -> String {
    match kind {
        "gha" | "s3" | "azblob" => format!(
            "type={kind} is not supported: use type=registry, or type=local with a directory that the CI keeps"
        ),
        _ => {
            let known = ["registry", "local", "inline"];
            let near =
                nearest(kind, known).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
            format!("there is no cache type {kind:?}{near}: there are registry, local and inline")
        }
    }
}

/// The pairs that were given.
struct Given(Vec<(String, String)>);

impl Given {
    /// None for a bare name.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.contains('=') {
            return fields(text).map(|fields| Some(Self(fields)));
        }
        if text.contains(',') {
            return Err("one cache at a time: the option may be given several times".to_owned());
        }
        Ok(None)
    }

    /// The last one counts.
    fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.0.iter().rev().filter(|(name, value)| name == key && !value.is_empty());
        found.next().map(|(_, value)| value.as_str())
    }

    fn kind(&self) -> Result<&str, String> {
        self.get("type").ok_or_else(|| "it needs a type: registry, local or inline".to_owned())
    }

    fn required(&self, key: &str) -> Result<&str, String> {
        self.get(key).ok_or_else(|| format!("type={} needs {key}=…", self.get("type").unwrap_or_default()))
    }

    /// Whether there are no other keys.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        let foreign = self.0.iter().find(|(key, _)| key != "type" && !known.contains(&key.as_str()));
        let Some((key, _)) = foreign else { return Ok(()) };
        let kind = self.get("type").unwrap_or_default();
        Err(match nearest(key, known.iter().copied()) {
            Some(near) => format!("the key {key:?} is not supported for type={kind}: did you mean {near}?"),
            None => {
                format!("the key {key:?} is not supported for type={kind}: there are {}", known.join(", "))
            }
        })
    }

    fn boolean(&self, key: &str, default: bool) -> Result<bool, String> {
        self.get(key).map_or(Ok(default), |value| boolean(key, value))
    }

    fn mode(&self) -> Result<CacheMode, String> {
        match self.get("mode") {
            None | Some("min") => Ok(CacheMode::Min),
            Some("max") => Ok(CacheMode::Max),
            Some(other) => Err(format!("mode is min or max, not {other:?}")),
        }
    }

    /// Docker's media types have no manifest that could list a cache, just a list.
    fn form(&self) -> Result<CacheForm, String> {
        let form = if self.boolean("oci-mediatypes", true)? { Form::Oci } else { Form::Docker };
        let shape = match (self.boolean("image-manifest", form == Form::Oci)?, form) {
            (true, Form::Docker) => {
                return Err(
                    "image-manifest=true needs OCI's media types: leave out oci-mediatypes=false".to_owned()
                );
            }
            (true, Form::Oci) => CacheShape::Manifest,
            (false, _) => CacheShape::Index,
        };
        Ok(CacheForm { form, shape })
    }

    fn to(&self, target: CacheTarget, form: Form) -> Result<CacheTo, String> {
        let mut packing = PackingFields::default();
        for (key, value) in &self.0 {
            packing.take(key, value)?;
        }
        Ok(CacheTo {
            target,
            mode: self.mode()?,
            packing: packing.finish(form)?,
            ignore_error: self.boolean("ignore-error", false)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Codec, Compression, Digest, Packing};

    fn from(text: &str) -> CacheFrom {
        text.parse().unwrap()
    }

    fn to(text: &str) -> CacheTo {
        text.parse().unwrap()
    }

    #[test]
    fn a_bare_name_is_in_a_registry() {
        let name = "reg.io/cache:main";
        assert_eq!(from(name).source, CacheSource::Registry(name.parse().unwrap()));
        assert_eq!(
            to(name),
            to(&format!("type=registry,ref={name},mode=min,image-manifest=true,oci-mediatypes=1"))
        );
        let digest = Digest::of(b"x");
        assert_eq!(
            from(&format!("reg.io/cache@{digest}")).source.to_string(),
            format!("reg.io/cache@{digest}")
        );
    }

    #[test]
    fn a_source_says_where() {
        let registry = from("type=registry,ref=localhost:5000/cache,registry.insecure=true");
        assert_eq!(
            (registry.source.to_string().as_str(), registry.insecure),
            ("localhost:5000/cache:latest", true)
        );
        assert_eq!(from("type=local,src=/c").source.to_string(), "/c:latest");
        assert_eq!(from("\"src=/a,b\",tag=x,type=local").source.to_string(), "/a,b:x");
        let digest = Digest::of(b"x");
        assert_eq!(
            from(&format!("type=local,src=c,tag=x,digest={digest}")).source.to_string(),
            format!("c@{digest}")
        );
    }

    #[test]
    fn a_target_says_where_and_how() {
        let all = "type=registry,ref=reg.io/c,mode=max,oci-mediatypes=false,compression-level=3,compression=gzip,\
                   force-compression=true,ignore-error=true,registry.insecure=1";
        let form = CacheForm { form: Form::Docker, shape: CacheShape::Index };
        let target = CacheTarget::Registry { name: "reg.io/c".parse().unwrap(), form, insecure: true };
        let codec = Codec { compression: Compression::Gzip, level: Some(3) };
        let packing = Packing { codec, force: true };
        assert_eq!(to(all), CacheTo { target, mode: CacheMode::Max, packing, ignore_error: true });

        let form = CacheForm { form: Form::Oci, shape: CacheShape::Index };
        let directory = CacheDirectory { path: "c".into(), tag: "t".to_owned(), reset: true };
        assert_eq!(
            to("type=local,dest=c,tag=t,reset=true,image-manifest=false,compression=zstd").target,
            CacheTarget::Local { directory, form }
        );
        assert_eq!(to("type=inline,mode=min").target, CacheTarget::Inline);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "empty"),
            ("a,b", "several times"),
            ("UPPER", "lower-case"),
            ("ref=a", "needs a type"),
            ("type=registry", "needs ref="),
            ("type=registry,ref=", "needs ref="),
            ("type=registry,ref=a b", "invalid image name"),
            ("type=gha,scope=x", "type=gha is not supported"),
            ("type=s3", "type=s3 is not supported"),
            ("type=azblob", "type=azblob is not supported"),
            ("type=registri,ref=a", "did you mean registry"),
            ("type=nowhere", "there are registry, local and inline"),
            ("type=local,src=c,dest=c,tg=x", "is not supported for type=local"),
            ("type=registry,ref=a,registry.insecure=maybe", "true or false"),
            ("type=registry,\"ref=a", "quote"),
        ] {
            let error = text.parse::<CacheFrom>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (text, part) in [
            ("type=inline", "read with type=registry"),
            ("type=registry,ref=a,mode=max", "the key \"mode\" is not supported for type=registry"),
            ("type=local,src=c,digest=sha256:1", "64"),
        ] {
            let error = text.parse::<CacheFrom>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let digest = Digest::of(b"x");
        for (text, part) in [
            ("type=registry,ref=a,mod=max", "did you mean mode?"),
            ("type=registry,ref=a,mode=all", "min or max"),
            (&*format!("type=registry,ref=a@{digest}"), "has no digest"),
            (&*format!("a@{digest}"), "has no digest"),
            ("type=local", "needs dest="),
            ("type=local,dest=c,ref=x", "the key \"ref\""),
            ("type=local,dest=c,compression=zstd,compression-level=40", "from 0 to 22"),
            ("type=local,dest=c,compression=lzma", "lzma"),
            ("type=registry,ref=a,image-manifest=true,oci-mediatypes=false", "needs OCI's media types"),
            ("type=registry,ref=a,compression=zstd,oci-mediatypes=false", "no name for zstd"),
            ("type=inline,mode=max", "mode=max"),
            ("type=inline,compression=zstd", "is not supported for type=inline"),
            ("type=gha", "type=gha is not supported"),
        ] {
            let error = text.parse::<CacheTo>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
