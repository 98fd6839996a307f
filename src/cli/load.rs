//! `rbuild load`

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::report::Report;
use super::text::print;
use super::{Global, transfer};
use crate::image::{Platform, Reference};
use crate::import::{self, ImportError, Loaded};
use crate::registry::Settings;
use crate::store::Store;
use crate::sys::{At, blocking};

/// Take in images from an archive: of docker, podman, skopeo, buildah or rbuild, or any OCI layout.
///
/// The archive may be compressed with gzip, bzip2, xz or zstd. It is loaded as a whole or not at all.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The archive, or a directory with an OCI layout [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn main(global: &Global, args: LoadArgs) -> Result<i32, Report> {
    if args.input.is_none() && io::stdin().is_terminal() {
        return Err(Report::usage(
            "no archive comes from a terminal: add -i FILE, or send one through a pipe",
        ));
    }
    let opened = transfer::open(global, Settings::default())?;
    let loaded = transfer::run(opened, args.quiet, |tools| async move {
        let shown =
            args.input.as_ref().map_or("standard input".to_owned(), |path| path.display().to_string());
        let step = tools.steps.start(&format!("loading images from {shown}"));
        let store = Arc::clone(&tools.store);
        let loaded = blocking(move || load(&store, args.input)).await?;
        step.done();
        Ok::<_, ImportError>(loaded)
    });
    let loaded = loaded?.map_err(Report::from)?;
    print(&loaded.iter().map(lines).collect::<String>());
    Ok(0)
}

fn load(store: &Store, input: Option<PathBuf>) -> Result<Vec<Loaded>, ImportError> {
    let platform = Platform::host();
    match input {
        None => import::load_archive(store, io::stdin().lock(), &platform),
        Some(path) if path.is_dir() => import::load_directory(store, &path, &platform),
        Some(path) => import::load_archive(store, File::open(&path).at("open", &path)?, &platform),
    }
}

/// In docker's words, which scripts read.
fn lines(loaded: &Loaded) -> String {
    if loaded.names.is_empty() {
        return format!("Loaded image ID: {}\n", loaded.id);
    }
    let names = loaded.names.iter().map(Reference::familiar);
    names.map(|name| format!("Loaded image: {name}\n")).collect()
}
