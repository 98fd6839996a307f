//! The list of images: a row for each name, the newest first.

use std::collections::BTreeMap;

use super::filter::repository;
use super::{Catalog, Details, Filter, FindError, Image, LayerSizes, details};
use crate::image::{Digest, ImageId, Reference, Timestamp};
use crate::store::{Store, StoreError};

/// One line of the list.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: ImageId,
    /// None for an image without a name.
    pub repository: Option<String>,
    /// None for a name with a digest alone.
    pub tag: Option<String>,
    /// Under which a registry has it in this repository.
    pub digest: Option<Digest>,
    pub created: Option<Timestamp>,
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Find(#[from] FindError),
}

/// The images that satisfy all filters.
pub fn list(store: &Store, catalog: &Catalog, filters: &[Filter]) -> Result<Vec<Row>, ListError> {
    let mut sizes = LayerSizes::default();
    let mut bounds = Vec::new();
    for filter in filters {
        let (text, is_before) = match filter {
            Filter::Before(text) => (text, true),
            Filter::Since(text) => (text, false),
            Filter::Reference(_) | Filter::Dangling(_) | Filter::Label(..) => continue,
        };
        let image = catalog.find(text)?.image;
        let known = details(store, image, &mut sizes)?;
        bounds.push((known.and_then(|known| known.config.created), is_before));
    }
    let mut rows = Vec::new();
    for image in catalog.images() {
        let known = details(store, image, &mut sizes)?;
        if is_wanted(image, known.as_ref(), filters, &bounds) {
            rows.extend(rows_of(image, known.as_ref(), filters));
        }
    }
    // Rows of one image stand together, in the order of their names.
    rows.sort_by_key(|row| (std::cmp::Reverse(row.created), row.id));
    Ok(rows)
}

fn is_wanted(
    image: &Image,
    known: Option<&Details>,
    filters: &[Filter],
    bounds: &[(Option<Timestamp>, bool)],
) -> bool {
    let created = known.and_then(|known| known.config.created);
    let labels = known.map(|known| &known.config.config.labels);
    let empty = BTreeMap::new();
    let labels = labels.unwrap_or(&empty);
    let holds = |filter: &Filter| match filter {
        Filter::Dangling(wanted) => image.names.is_empty() == *wanted,
        Filter::Label(name, None) => labels.contains_key(name),
        Filter::Label(name, Some(value)) => labels.get(name) == Some(value),
        // Of the rows, and of the bounds.
        Filter::Reference(_) | Filter::Before(_) | Filter::Since(_) => true,
    };
    let within = |(bound, is_before): &(Option<Timestamp>, bool)| {
        if *is_before { created < *bound } else { created > *bound }
    };
    filters.iter().all(holds) && bounds.iter().all(within)
}

fn rows_of(image: &Image, known: Option<&Details>, filters: &[Filter]) -> Vec<Row> {
    let patterns: Vec<_> = filters
        .iter()
        .filter_map(|filter| match filter {
            Filter::Reference(pattern) => Some(pattern),
            Filter::Dangling(_) | Filter::Before(_) | Filter::Since(_) | Filter::Label(..) => None,
        })
        .collect();
    let row = |name: Option<&Reference>| Row {
        id: image.id,
        repository: name.map(repository),
        tag: name.and_then(|name| name.tag.clone()),
        digest: name.and_then(|name| digest_of(image, name)),
        created: known.and_then(|known| known.config.created),
        size: known.map_or(0, Details::size),
    };
    if image.names.is_empty() && patterns.is_empty() {
        return vec![row(None)];
    }
    let wanted =
        |name: &&Reference| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name));
    image.names.iter().filter(wanted).map(|name| row(Some(name))).collect()
}

/// The digest under which a registry has the image in the repository of a name.
fn digest_of(image: &Image, name: &Reference) -> Option<Digest> {
    let in_registry = || {
        let mut places = image.record.places.iter().filter_map(|place| place.split_once('@'));
        places.find(|(repository, _)| *repository == name.name())?.1.parse().ok()
    };
    name.digest.or_else(in_registry)
}
