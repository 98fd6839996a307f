//! `--output`: where the image goes besides the store, and how its layers are packed.

use std::str::FromStr;

use crate::image::{Codec, Compression, Form, Packing, Reference};

/// `type=image,name=…,push=true,compression=zstd,…`, as buildx has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub names: Vec<Reference>,
    pub push: bool,
    pub packing: Packing,
    pub form: Form,
    pub rewrite_timestamps: bool,
}

pub(super) const DEFAULT_PACKING: Packing =
    Packing { codec: Codec { compression: Compression::Gzip, level: None }, force: false };

/// Other tools know these; they are refused by name.
const LATER_TYPES: [&str; 5] = ["local", "tar", "oci", "docker", "cacheonly"];

impl Default for Output {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            push: false,
            packing: DEFAULT_PACKING,
            form: Form::default(),
            rewrite_timestamps: false,
        }
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = fields(text)?;
        let mut output = match fields.iter().find(|(key, _)| key == "type").map(|(_, value)| value.as_str()) {
            Some("image") => Self::default(),
            Some("registry") => Self { push: true, ..Self::default() },
            Some(later) if LATER_TYPES.contains(&later) => {
                return Err(format!("type={later} is not supported yet: use type=image or type=registry"));
            }
            Some(other) => return Err(format!("there is no output type {other:?}: use image or registry")),
            None => return Err("it has to begin with type=image or type=registry".to_owned()),
        };
        let mut level = None;
        for (key, value) in &fields {
            match key.as_str() {
                "type" => {}
                "name" => output.names = names(value)?,
                "push" => output.push = boolean(key, value)?,
                "compression" => output.packing.codec.compression = compression(value)?,
                "compression-level" => level = Some(value),
                "rewrite-timestamp" => output.rewrite_timestamps = boolean(key, value)?,
                "force-compression" => output.packing.force = boolean(key, value)?,
                "oci-mediatypes" if boolean(key, value)? => output.form = Form::Oci,
                "oci-mediatypes" => output.form = Form::Docker,
                "store" if boolean(key, value)? => {}
                "store" => return Err(format!("{key}=false is not supported yet")),
                _ => return Err(format!("the key {key:?} is not supported")),
            }
        }
        // What the level means depends on the compression, which may come after it.
        if let Some(level) = level {
            output.packing.codec.level = Some(parse_level(output.packing.codec.compression, level)?);
        }
        if output.form == Form::Docker && output.packing.codec.compression == Compression::Zstd {
            return Err(
                "docker's media types have no name for zstd: leave out oci-mediatypes=false, or use gzip"
                    .to_owned(),
            );
        }
        if output.form == Form::Docker && !output.push {
            return Err("oci-mediatypes=false changes what is pushed: add push=true".to_owned());
        }
        if output.packing.force && !output.push {
            return Err("force-compression changes what is pushed: add push=true".to_owned());
        }
        Ok(output)
    }
}

/// Comma-separated pairs; a pair with commas in its value stands in quotes: `"name=a,b"`.
fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars().chain([',']) {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.to_owned())),
        None => Err(format!("{field:?} is no key=value")),
    };
    fields.into_iter().map(pair).collect()
}

fn names(value: &str) -> Result<Vec<Reference>, String> {
    let parse = |name: &str| match name.parse::<Reference>() {
        Ok(reference) if reference.digest.is_some() => {
            Err(format!("a name to push to has no digest: {name}"))
        }
        Ok(reference) => Ok(reference),
        Err(error) => Err(error.to_string()),
    };
    value.split(',').filter(|name| !name.is_empty()).map(parse).collect()
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{key} is true or false, not {value:?}")),
    }
}

fn compression(value: &str) -> Result<Compression, String> {
    match value {
        "uncompressed" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "estargz" => {
            Err("compression=estargz is not supported yet: use gzip, zstd or uncompressed".to_owned())
        }
        _ => Err(format!("there is no compression {value:?}: use gzip, zstd or uncompressed")),
    }
}

fn parse_level(compression: Compression, text: &str) -> Result<u8, String> {
    let highest = compression.highest_level();
    match text.parse::<u8>() {
        Ok(level) if level <= highest => Ok(level),
        Ok(_) | Err(_) => Err(format!("the compression level goes from 0 to {highest} here, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_says_where_and_how() {
        let output: Output =
            "type=image,\"name=a:1,localhost:5000/b\",push=true,compression-level=19,compression=zstd"
                .parse()
                .unwrap();
        let names: Vec<String> = output.names.iter().map(Reference::to_string).collect();
        assert_eq!(names, ["docker.io/library/a:1", "localhost:5000/b:latest"]);
        let codec = Codec { compression: Compression::Zstd, level: Some(19) };
        assert_eq!((output.push, output.packing), (true, Packing { codec, force: false }));
        assert!("type=registry".parse::<Output>().unwrap().push);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("name=a", "type=image"),
            ("type=image,push=maybe", "maybe"),
            ("type=image,\"name=a", "quote"),
            ("type=image,compression-level=10", "from 0 to 9"),
            ("type=image,compression=lzma", "lzma"),
            ("type=image,unpack=true", "unpack"),
            ("type=local,dest=x", "local"),
            ("type=image,force-compression=true", "push=true"),
            ("type=image,oci-mediatypes=false,compression=zstd", "no name for zstd"),
            ("image", "key=value"),
        ] {
            let error = text.parse::<Output>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
