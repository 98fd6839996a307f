//! `rbuild save`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::output::is_in_use;
use super::registry::{self, RegistryArgs};
use super::report::Report;
use super::{Global, transfer};
use crate::catalog::{self, Catalog};
use crate::export::layout::{Description, Layout, Named};
use crate::export::{ExportError, Pending, archive, directory};
use crate::image::{self, ImageId, Reference};
use crate::store::Store;
use crate::sys::blocking;

/// Write images into an archive that `load` of docker, podman and rbuild read, and skopeo.
///
/// The same images give the same bytes. A file gets its name when it is whole.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// The file, or for oci-dir the directory [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What is written.
    #[arg(long, value_name = "FORM", default_value = "docker-archive")]
    format: Form,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Names, ids, or beginnings of ids. An image that is given by its id has no name in the archive.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// What `docker save` writes: a tar with docker's manifest.json, which is an OCI layout, too.
    DockerArchive,
    /// A tar of an OCI layout alone.
    OciArchive,
    /// A directory with an OCI layout.
    OciDir,
}

/// Where it goes.
enum Target {
    Stream(Box<dyn io::Write + Send>),
    File(Pending, File),
    Directory(Pending),
}

pub(super) fn main(global: &Global, args: SaveArgs) -> Result<i32, Report> {
    check_output(&args)?;
    let which = |catalog: &Catalog| wanted(catalog, &args.images);
    let ids = |catalog: &Catalog| Ok(which(catalog)?.into_iter().map(|(id, _)| id).collect());
    let opened = transfer::open_for_sending(global, registry::settings(global, &args.registry)?, ids)?;
    let wanted = which(&Catalog::read(&opened.0).map_err(Report::from)?)?;
    let saved = transfer::run(opened, args.quiet, |tools| async move {
        let mut images = Vec::with_capacity(wanted.len());
        for (id, names) in wanted {
            images.push(Named { image: catalog::whole(&tools.layers, id, None).await?, names });
        }
        let for_docker = args.format == Form::DockerArchive;
        let how = Description { for_docker, form: image::Form::Oci };
        let layout = Layout::of(&images, how, &tools.layers).await?;
        let step = tools.steps.start("saving images");
        step.ended(write(&args, layout, &tools.store).await)
    });
    saved?.map_err(Report::from)?;
    Ok(0)
}

/// Writes the images to where they are wanted.
async fn write(args: &SaveArgs, layout: Layout, store: &Arc<Store>) -> Result<(), ExportError> {
    let shown = shown(args);
    // Held here, so that it is removed when the work is given up.
    let (pending, stream) = match target(args)? {
        Target::Stream(stream) => (None, Some(stream)),
        Target::File(pending, file) => (Some(pending), Some(Box::new(file) as Box<dyn io::Write + Send>)),
        Target::Directory(pending) => (Some(pending), None),
    };
    let (from, place) = (Arc::clone(store), pending.as_ref().map(|it| it.path().to_owned()));
    blocking(move || match (stream, place) {
        (Some(stream), _) => {
            archive::write(&from, &layout, BufWriter::with_capacity(1 << 20, stream), &shown)
        }
        (None, Some(place)) => directory::write(&from, &layout, &place),
        (None, None) => Ok(()),
    })
    .await?;
    pending.map(Pending::finish).transpose()?;
    Ok(store.sync()?)
}

fn check_output(args: &SaveArgs) -> Result<(), Report> {
    match (&args.output, args.format) {
        (None, Form::OciDir) => Err(Report::usage("a directory needs a name: add -o DIR")),
        (None, _) if io::stdout().is_terminal() => {
            Err(Report::usage("an archive is nothing for a terminal: add -o FILE, or send it into a pipe"))
        }
        (Some(path), Form::OciDir) if is_in_use(path) => {
            Err(Report::usage(format!("{} exists and is not an empty directory", path.display())))
        }
        (Some(path), Form::DockerArchive | Form::OciArchive) if path.is_dir() => {
            Err(Report::usage(format!("{} is a directory", path.display()))
                .hint(Some("--format oci-dir writes into a directory that it makes".to_owned())))
        }
        _ => Ok(()),
    }
}

fn target(args: &SaveArgs) -> Result<Target, ExportError> {
    let Some(path) = &args.output else { return Ok(Target::Stream(Box::new(io::stdout()))) };
    if args.format == Form::OciDir {
        return Ok(Target::Directory(Pending::directory(path)?));
    }
    Ok(match Pending::stream(path)? {
        (Some(pending), file) => Target::File(pending, file),
        (None, stream) => Target::Stream(Box::new(stream)),
    })
}

/// What messages call the archive.
fn shown(args: &SaveArgs) -> PathBuf {
    let absolute = args.output.as_ref().and_then(|path| std::path::absolute(path).ok());
    absolute.unwrap_or_else(|| "standard output".into())
}

/// The images in the order in which they were first mentioned, each with the names that were given of it.
fn wanted(catalog: &Catalog, texts: &[String]) -> Result<Vec<(ImageId, Vec<Reference>)>, Report> {
    let mut wanted: Vec<(ImageId, Vec<Reference>)> = Vec::new();
    for text in texts {
        let pointed = catalog.find(text).map_err(Report::from)?;
        let name = pointed.name.filter(|name| name.digest.is_none());
        match wanted.iter_mut().find(|(id, _)| *id == pointed.image.id) {
            Some((_, names)) => names.extend(name.filter(|name| !names.contains(name))),
            None => wanted.push((pointed.image.id, name.into_iter().collect())),
        }
    }
    Ok(wanted)
}
