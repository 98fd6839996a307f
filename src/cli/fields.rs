//! Values that consist of `key=value` pairs, as buildx has them: `--output`, `--cache-from`, `--cache-to`.

use crate::image::{Codec, Compression, Form, Packing, Reference};

pub(super) const DEFAULT_PACKING: Packing =
    Packing { codec: Codec { compression: Compression::Gzip, level: None }, force: false };

/// Comma-separated pairs; a pair with commas in its value stands in quotes: `"name=a,b"`.
pub(super) fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
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

/// A name that something is pushed to.
pub(super) fn target_name(name: &str) -> Result<Reference, String> {
    match name.parse::<Reference>() {
        Ok(reference) if reference.digest.is_some() => {
            Err(format!("a name to push to has no digest: {name}"))
        }
        Ok(reference) => Ok(reference),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn boolean(key: &str, value: &str) -> Result<bool, String> {
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

/// The keys that say how layers are packed.
#[derive(Debug, Default)]
pub(super) struct PackingFields<'a> {
    compression: Option<Compression>,
    level: Option<&'a str>,
    force: bool,
}

impl<'a> PackingFields<'a> {
    pub(super) const KEYS: [&'static str; 3] = ["compression", "compression-level", "force-compression"];

    /// Whether it is one of these keys.
    pub(super) fn take(&mut self, key: &str, value: &'a str) -> Result<bool, String> {
        match key {
            "compression" => self.compression = Some(compression(value)?),
            "compression-level" => self.level = Some(value),
            "force-compression" => self.force = boolean(key, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn finish(self, form: Form) -> Result<Packing, String> {
        let compression = self.compression.unwrap_or(DEFAULT_PACKING.codec.compression);
        if form == Form::Docker && compression == Compression::Zstd {
            return Err(
                "docker's media types have no name for zstd: let it be oci-mediatypes=true, or use gzip"
                    .to_owned(),
            );
        }
        // What the level means depends on the compression, which may come after it.
        let level = self.level.map(|level| parse_level(compression, level)).transpose()?;
        Ok(Packing { codec: Codec { compression, level }, force: self.force })
    }
}
