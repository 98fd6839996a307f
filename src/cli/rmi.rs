//! `rbuild rmi`

use clap::Args;

use super::report::Report;
use super::text::print;
use super::{Global, environment};
use crate::catalog::{self, RemoveError, Removed};

/// Remove names, and images with their last name.
///
/// A name goes alone, and takes the image along if it was its last. An id stands for the image with all of its names; if it
/// has several, --force has to say so. What the images' layers occupy is freed by `rbuild prune`.
#[derive(Debug, Args)]
pub(super) struct RmiArgs {
    /// Remove an image by its id although it has several names; an image that is not there is no failure.
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn main(global: &Global, args: RmiArgs) -> Result<i32, Report> {
    let store = environment::open(global)?;
    let mut code = 0;
    for image in &args.images {
        match catalog::remove(&store, image, args.force) {
            Ok(removed) => print(&removed.iter().map(line).collect::<String>()),
            Err(error) => {
                let forgiven =
                    args.force && matches!(&error, RemoveError::Find(catalog::FindError::Unknown { .. }));
                // The others are removed all the same; the first failure decides the code.
                let failed = Report::from(error).with_store(store.root()).print();
                code = if code == 0 && !forgiven { failed } else { code };
            }
        }
    }
    store.sync().map_err(Report::from)?;
    Ok(code)
}

fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {name}\n"),
        Removed::Deleted(id) => format!("Deleted: {id}\n"),
    }
}
