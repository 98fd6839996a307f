//! `--output`: where the image goes besides the store, and how its layers are packed.

use std::str::FromStr;

use super::fields::{DEFAULT_PACKING, PackingFields, boolean, fields, target_name};
use crate::image::{Form, Packing, Reference};

/// `type=image,name=…,push=true,compression=zstd,…`, as buildx has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub names: Vec<Reference>,
    pub push: bool,
    pub packing: Packing,
    pub form: Form,
    pub rewrite_timestamps: bool,
}

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
        let mut packing = PackingFields::default();
        for (key, value) in &fields {
            if packing.take(key, value)? {
                continue;
            }
            match key.as_str() {
                "type" => {}
                "name" => output.names = names(value)?,
                "push" => output.push = boolean(key, value)?,
                "rewrite-timestamp" => output.rewrite_timestamps = boolean(key, value)?,
                "oci-mediatypes" if boolean(key, value)? => output.form = Form::Oci,
                "oci-mediatypes" => output.form = Form::Docker,
                "store" if boolean(key, value)? => {}
                "store" => return Err(format!("{key}=false is not supported yet")),
                _ => return Err(format!("the key {key:?} is not supported")),
            }
        }
        output.packing = packing.finish(output.form)?;
        if output.form == Form::Docker && !output.push {
            return Err("oci-mediatypes=false changes what is pushed: add push=true".to_owned());
        }
        if output.packing.force && !output.push {
            return Err("force-compression changes what is pushed: add push=true".to_owned());
        }
        Ok(output)
    }
}

fn names(value: &str) -> Result<Vec<Reference>, String> {
    value.split(',').filter(|name| !name.is_empty()).map(target_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Codec, Compression};

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
