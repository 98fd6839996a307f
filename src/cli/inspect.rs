//! `rbuild inspect`

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::report::{Code, Report};
use super::text::print;
use super::{Global, environment};
use crate::catalog::{Catalog, Details, Image, LayerSizes, details};
use crate::image::{Descriptor, Reference};
use crate::store::Store;

/// Print what is known of images, as JSON in docker's form.
///
/// Images that are not there are reported, and the others printed; the exit code is then 3.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// json prints one object on each line instead of an array; templates are not supported.
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What the arguments are: there are only images.
    #[arg(long = "type", value_name = "TYPE", default_value = "image")]
    kind: Kind,
    /// Names, ids, or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Image,
}

/// In docker's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: &'static str,
    comment: String,
    created: Option<String>,
    author: String,
    /// As it came, also what this program does not know.
    config: Value,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    size: u64,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(rename = "Type")]
    kind: String,
    layers: Vec<String>,
}

pub(super) fn main(global: &Global, args: InspectArgs) -> Result<i32, Report> {
    let Kind::Image = args.kind;
    let store = environment::open(global)?;
    let catalog = Catalog::read(&store).map_err(Report::from)?;
    let (mut found, mut code) = (Vec::new(), 0);
    for text in &args.images {
        match inspect(&store, &catalog, text) {
            Ok(inspected) => found.push(inspected),
            Err(report) => {
                let failed = report.with_store(store.root()).print();
                code = if code == 0 { failed } else { code };
            }
        }
    }
    let text = match args.format {
        None => serde_json::to_string_pretty(&found).map(|text| text + "\n"),
        Some(Format::Json) => {
            found.iter().map(|one| serde_json::to_string(one).map(|text| text + "\n")).collect()
        }
    };
    print(&text.map_err(|error| Report::new(Code::Bug, error))?);
    Ok(code)
}

fn inspect(store: &Store, catalog: &Catalog, text: &str) -> Result<Inspected, Report> {
    let image = catalog.find(text).map_err(Report::from)?.image;
    let known = known(store, image)?;
    let Details { config, config_bytes, .. } = &known;
    let document: Value = serde_json::from_slice(config_bytes).unwrap_or_default();
    let (tagged, pinned): (Vec<&Reference>, Vec<&Reference>) =
        image.names.iter().partition(|name| name.digest.is_none());
    let mut repo_digests: Vec<String> = image
        .record
        .places
        .iter()
        .filter_map(|place| place.parse::<Reference>().ok())
        .chain(pinned.into_iter().map(|name| Reference { tag: None, ..name.clone() }))
        .map(|place| place.familiar())
        .collect();
    repo_digests.sort();
    repo_digests.dedup();
    let last = config.history.last();
    Ok(Inspected {
        id: image.id.to_string(),
        repo_tags: tagged.iter().map(|name| name.familiar()).collect(),
        repo_digests,
        parent: "",
        comment: last.and_then(|entry| entry.comment.clone()).unwrap_or_default(),
        created: config.created.map(|created| created.to_string()),
        author: config.author.clone().unwrap_or_default(),
        config: document.get("config").cloned().unwrap_or_default(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: known.size(),
        root_fs: RootFs {
            kind: config.rootfs.kind.clone(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        descriptor: image.record.manifest.clone(),
    })
}

/// An image's config and sizes; a complaint where the store has lost them.
pub(super) fn known(store: &Store, image: &Image) -> Result<Details, Report> {
    let known = details(store, image, &mut LayerSizes::default()).map_err(Report::from)?;
    known.ok_or_else(|| {
        Report::new(Code::Store, format!("the config of image {} is gone or damaged", image.id))
    })
}
