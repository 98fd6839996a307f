//! `--output`: where the result goes besides the store, and how layers are packed.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::fields::{DEFAULT_PACKING, PackingFields, boolean, fields, target_name};
use super::report::Report;
use crate::export::layout::Description;
use crate::export::{self, ImageFile, Place};
use crate::image::{Form, Packing, Reference};

/// `type=image,name=…,push=true,compression=zstd,…`, as buildx has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    /// `type=image`, `type=registry`
    Image(ImageOutput),
    /// `type=oci`, `type=docker`
    File(FileOutput),
    /// `type=local`
    Directory(PathBuf),
    /// `type=tar`
    Tar(Destination),
}

/// The image in the store, and in registries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageOutput {
    pub names: Vec<Reference>,
    pub push: bool,
    pub packing: Packing,
    pub form: Form,
    pub rewrite_timestamps: bool,
}

/// The image in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FileOutput {
    names: Vec<Reference>,
    description: Description,
    packing: Packing,
    to: Destination,
    is_directory: bool,
    pub rewrite_timestamps: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Destination {
    /// `dest=-`
    Stdout,
    Path(PathBuf),
}

const TYPES: &str = "image, registry, oci, docker, local or tar";

impl Default for ImageOutput {
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
        if text == "-" {
            return Ok(Self::Tar(Destination::Stdout));
        }
        if !text.contains(['=', ',']) && !text.is_empty() {
            return Ok(Self::Directory(text.into()));
        }
        let fields = fields(text)?;
        match fields.iter().find(|(key, _)| key == "type").map(|(_, value)| value.as_str()) {
            Some("image") => image(&fields, ImageOutput::default()).map(Self::Image),
            Some("registry") => {
                image(&fields, ImageOutput { push: true, ..ImageOutput::default() }).map(Self::Image)
            }
            Some("oci") => file(&fields, "oci", Form::Oci).map(Self::File),
            Some("docker") => file(&fields, "docker", Form::Docker).map(Self::File),
            Some("local") => match destination_alone(&fields, "local")? {
                Some(Destination::Path(path)) => Ok(Self::Directory(path)),
                Some(Destination::Stdout) => {
                    Err("type=local writes many files: use type=tar for standard output".to_owned())
                }
                None => Err("type=local needs dest=DIR".to_owned()),
            },
            Some("tar") => Ok(Self::Tar(destination_alone(&fields, "tar")?.unwrap_or(Destination::Stdout))),
            Some("cacheonly") => {
                Err("type=cacheonly is not supported yet: without --tag the image has no name".to_owned())
            }
            Some(other) => Err(format!("there is no output type {other:?}: use {TYPES}")),
            None => Err("it is a directory, - or begins with type=image or another type".to_owned()),
        }
    }
}

fn image(fields: &[(String, String)], mut output: ImageOutput) -> Result<ImageOutput, String> {
    let mut packing = PackingFields::default();
    for (key, value) in fields {
        if packing.take(key, value)? {
            continue;
        }
        match key.as_str() {
            "type" => {}
            "name" => output.names = names(value)?,
            "push" => output.push = boolean(key, value)?,
            "rewrite-timestamp" => output.rewrite_timestamps = boolean(key, value)?,
            "oci-mediatypes" => output.form = form(key, value)?,
            "store" if boolean(key, value)? => {}
            "store" => return Err(format!("{key}=false is not supported yet")),
            "dest" => return Err("type=image has no dest: use type=oci or type=docker".to_owned()),
            _ => return Err(unsupported(key, "image")),
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

fn file(fields: &[(String, String)], kind: &str, usual: Form) -> Result<FileOutput, String> {
    let (mut wanted, mut is_directory, mut rewrite_timestamps) = (usual, false, false);
    let (mut to, mut given_names) = (None, Vec::new());
    let mut packing = PackingFields::default();
    for (key, value) in fields {
        if packing.take(key, value)? {
            continue;
        }
        match key.as_str() {
            "type" => {}
            "dest" => to = Some(destination(value)?),
            "name" => given_names = names(value)?,
            "tar" => is_directory = !boolean(key, value)?,
            "oci-mediatypes" => wanted = form(key, value)?,
            "rewrite-timestamp" => rewrite_timestamps = boolean(key, value)?,
            _ => return Err(unsupported(key, kind)),
        }
    }
    let to = match to {
        Some(Destination::Stdout) if is_directory => {
            return Err("tar=false writes a directory: dest cannot be standard output".to_owned());
        }
        Some(to) => to,
        None if is_directory => return Err("tar=false needs dest=DIR".to_owned()),
        None if kind == "docker" => {
            return Err("type=docker needs dest=FILE; there is no daemon here to load it into, but \
                        dest=- can be sent to `docker load`"
                .to_owned());
        }
        None => Destination::Stdout,
    };
    Ok(FileOutput {
        names: given_names,
        description: Description { for_docker: kind == "docker", form: wanted },
        packing: packing.finish(wanted)?,
        to,
        is_directory,
        rewrite_timestamps,
    })
}

/// The `dest` of an output that has no other key.
fn destination_alone(fields: &[(String, String)], kind: &str) -> Result<Option<Destination>, String> {
    let mut to = None;
    for (key, value) in fields {
        match key.as_str() {
            "type" => {}
            "dest" => to = Some(destination(value)?),
            _ => return Err(unsupported(key, kind)),
        }
    }
    Ok(to)
}

fn destination(value: &str) -> Result<Destination, String> {
    match value {
        "" => Err("dest is empty".to_owned()),
        "-" => Ok(Destination::Stdout),
        path => Ok(Destination::Path(path.into())),
    }
}

fn form(key: &str, value: &str) -> Result<Form, String> {
    Ok(if boolean(key, value)? { Form::Oci } else { Form::Docker })
}

fn unsupported(key: &str, kind: &str) -> String {
    format!("the key {key:?} is not supported for type={kind}")
}

fn names(value: &str) -> Result<Vec<Reference>, String> {
    value.split(',').filter(|name| !name.is_empty()).map(target_name).collect()
}

impl Output {
    /// Whether it is an image in a file, written in docker's media types.
    pub(super) fn is_in_dockers_form(&self) -> bool {
        matches!(self, Self::File(file) if file.description.form == Form::Docker)
    }

    fn destination(&self) -> Option<(Destination, Kind)> {
        match self {
            Self::Image(_) => None,
            Self::File(FileOutput { to, is_directory: true, description, .. }) => {
                let kind = if description.for_docker { Kind::NewDirectory } else { Kind::Layout };
                Some((to.clone(), kind))
            }
            Self::File(FileOutput { to, .. }) | Self::Tar(to) => Some((to.clone(), Kind::File)),
            Self::Directory(path) => Some((Destination::Path(path.clone()), Kind::Directory)),
        }
    }
}

/// What is made at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    /// One that is all new, or has a layout already.
    Layout,
    /// One that is all new.
    NewDirectory,
}

/// Sees before anything is built whether the outputs can be written, as far as that can be seen.
pub(super) fn check(outputs: &[Output]) -> Result<(), Report> {
    let mut before: Vec<Destination> = Vec::new();
    for (to, kind) in outputs.iter().filter_map(Output::destination) {
        if before.contains(&to) {
            let place = match &to {
                Destination::Stdout => "standard output".to_owned(),
                Destination::Path(path) => path.display().to_string(),
            };
            return Err(Report::usage(format!("two outputs cannot go to {place}")));
        }
        match &to {
            Destination::Stdout if io::stdout().is_terminal() => {
                return Err(Report::usage(
                    "an archive is nothing for a terminal: add dest=FILE, or send it into a pipe",
                ));
            }
            Destination::Stdout => {}
            Destination::Path(path) => check_path(path, kind)?,
        }
        before.push(to);
    }
    Ok(())
}

fn check_path(path: &Path, kind: Kind) -> Result<(), Report> {
    let shown = path.display();
    match kind {
        Kind::File if path.is_dir() => Err(Report::usage(format!("{shown} is a directory")).hint(Some(
            "dest is a file; tar=false (for type=oci and docker) and type=local write into a directory"
                .to_owned(),
        ))),
        Kind::Directory if path.exists() && !path.is_dir() => {
            Err(Report::usage(format!("{shown} is no directory")))
        }
        Kind::NewDirectory if is_in_use(path) => {
            Err(Report::usage(format!("{shown} exists and is not an empty directory")))
        }
        Kind::Layout if is_in_use(path) && !path.join("index.json").is_file() => {
            Err(Report::usage(format!("{shown} exists and is neither an OCI layout nor an empty directory")))
        }
        // type=local makes what is missing.
        Kind::File | Kind::Layout | Kind::NewDirectory
            if parent(path).is_some_and(|parent| !parent.is_dir()) =>
        {
            Err(Report::usage(format!("there is no directory for {shown}")))
        }
        Kind::File | Kind::Directory | Kind::Layout | Kind::NewDirectory => Ok(()),
    }
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// Whether something is at a path that a new directory cannot take the place of.
pub(super) fn is_in_use(path: &Path) -> bool {
    match path.read_dir() {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The outputs as the build takes them; those in files have the image's names beside their own.
pub(super) fn places(outputs: Vec<Output>, tags: &[Reference]) -> Result<Vec<export::Output>, Report> {
    let place = |to: Destination, is_directory: bool| match to {
        Destination::Path(path) if is_directory => Ok(Place::Directory(path)),
        Destination::Path(path) => Ok(Place::File(path)),
        Destination::Stdout => match io::stdout().as_fd().try_clone_to_owned() {
            Ok(fd) => Ok(Place::Stream(Arc::new(File::from(fd)))),
            Err(error) => Err(Report::usage(format!("standard output is closed: {error}"))),
        },
    };
    let output = |output| match output {
        Output::Image(_) => Ok(None),
        Output::Directory(path) => Ok(Some(export::Output::Directory(path))),
        Output::Tar(to) => place(to, false).map(export::Output::Tar).map(Some),
        Output::File(file) => {
            let own = file.names.into_iter().filter(|name| !tags.contains(name));
            let image = ImageFile {
                names: tags.iter().cloned().chain(own).collect(),
                description: file.description,
                packing: file.packing,
                to: place(file.to, file.is_directory)?,
            };
            Ok(Some(export::Output::Image(image)))
        }
    };
    outputs.into_iter().filter_map(|it| output(it).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Codec, Compression};

    #[test]
    fn an_image_is_named_and_packed() {
        let output =
            "type=image,\"name=a:1,localhost:5000/b\",push=true,compression-level=19,compression=zstd";
        let Output::Image(output) = output.parse().unwrap() else { panic!("another type") };
        let names: Vec<String> = output.names.iter().map(Reference::to_string).collect();
        assert_eq!(names, ["docker.io/library/a:1", "localhost:5000/b:latest"]);
        let codec = Codec { compression: Compression::Zstd, level: Some(19) };
        assert_eq!((output.push, output.packing), (true, Packing { codec, force: false }));
        assert!(matches!("type=registry".parse(), Ok(Output::Image(ImageOutput { push: true, .. }))));
    }

    #[test]
    fn files_have_a_form_and_a_destination() {
        let file = |text: &str| match text.parse().unwrap() {
            Output::File(file) => {
                (file.description.for_docker, file.description.form, file.is_directory, file.to)
            }
            other => panic!("{other:?}"),
        };
        let path = |text: &str| Destination::Path(text.into());
        assert_eq!(file("type=docker,dest=a.tar"), (true, Form::Docker, false, path("a.tar")));
        assert_eq!(file("type=oci"), (false, Form::Oci, false, Destination::Stdout));
        assert_eq!(
            file("type=docker,dest=-,oci-mediatypes=true"),
            (true, Form::Oci, false, Destination::Stdout)
        );
        assert_eq!(file("type=oci,dest=d,tar=false"), (false, Form::Oci, true, path("d")));
        assert_eq!("-".parse(), Ok(Output::Tar(Destination::Stdout)));
        assert_eq!("type=tar,dest=x".parse(), Ok(Output::Tar(path("x"))));
        assert_eq!("out/here".parse(), Ok(Output::Directory("out/here".into())));
        assert_eq!("type=local,dest=x=y".parse(), Ok(Output::Directory("x=y".into())));
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
            ("type=image,dest=x", "type=oci"),
            ("type=image,force-compression=true", "push=true"),
            ("type=image,oci-mediatypes=false,compression=zstd", "no name for zstd"),
            ("type=docker,dest=x,compression=zstd", "oci-mediatypes=true"),
            ("type=docker", "docker load"),
            ("type=docker,dest=x,context=y", "\"context\""),
            ("type=oci,dest=x,push=true", "\"push\""),
            ("type=oci,tar=false", "dest=DIR"),
            ("type=oci,tar=false,dest=-", "standard output"),
            ("type=oci,dest=", "empty"),
            ("type=local", "dest=DIR"),
            ("type=local,dest=-", "type=tar"),
            ("type=local,dest=x,mode=delete", "\"mode\""),
            ("type=tar,dest=x,compression=gzip", "\"compression\""),
            ("type=cacheonly", "not supported yet"),
            ("type=nothing", "oci, docker, local or tar"),
            ("a,b", "key=value"),
        ] {
            let error = text.parse::<Output>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
