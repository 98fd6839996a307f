//! `rbuild tag`

use clap::Args;

use super::report::Report;
use super::{Global, environment};
use crate::catalog::Catalog;
use crate::image::Reference;
use crate::store::ImageRecord;

/// Give an image of the store further names.
///
/// A name that another image has is taken from it.
#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// The image: a name, an id, or the beginning of an id.
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The new names; without a tag, `latest` is meant.
    #[arg(required = true, value_name = "NAME")]
    targets: Vec<Reference>,
}

pub(super) fn main(global: &Global, args: TagArgs) -> Result<i32, Report> {
    if let Some(name) = args.targets.iter().find(|name| name.digest.is_some()) {
        return Err(Report::usage(format!("a tag cannot contain a digest: {name}")));
    }
    let store = environment::open(global)?;
    let catalog = Catalog::read(&store).map_err(Report::from)?;
    let image = catalog.find(&args.source).map_err(Report::from)?.image;
    let key = image.id.0.hex();
    let record = || store.record::<ImageRecord>(&key).map_err(Report::from);
    // Read before it gets a name: from then on no collector takes the image away.
    let known = record()?.unwrap_or_else(|| image.record.clone());
    for name in &args.targets {
        store.set_tag(name, image.id).map_err(Report::from)?;
    }
    // Whoever removes an image looks for names after he took its record away; here it is the other way round.
    if record()?.is_none() {
        store.put_record(&key, &known).map_err(Report::from)?;
    }
    store.sync().map_err(Report::from)?;
    Ok(0)
}
