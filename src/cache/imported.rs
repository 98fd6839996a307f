//! A cache from elsewhere, in memory, to be looked up in.
//!
//! It is the word of whoever wrote it. What contradicts itself or leads nowhere is left out, and the rest is of use still:
//! a result whose layers cannot be had, a record that nothing can lead to. Chains of layers are put together when somebody
//! asks for one, so that a cache of many long chains takes no more room than its document.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::{CacheConfig, ConfigRecord};
use super::normal::bottom_up;
use crate::image::{Descriptor, DiffId, Digest, LayerSource, Reference, Timestamp, annotation};

/// A cache that was read.
#[derive(Debug, Default)]
pub struct Imported {
    records: Vec<Record>,
    by_digest: HashMap<Digest, Vec<usize>>,
    layers: Vec<Layer>,
    unusable: usize,
}

/// A step or a source, by what identifies it and what it was built upon.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub digest: Digest,
    /// For each input the records that it may be; none for a source, or for the content of files.
    pub inputs: Vec<Vec<Link>>,
    /// What came of it, the newest first; often nothing that is in the cache.
    pub results: Vec<CachedResult>,
}

/// A record that another one was built upon, and which part of its result that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub selector: Option<Digest>,
    /// Its place in the cache, for [`Imported::record`].
    pub record: usize,
}

/// What came of a step: layers, for [`Imported::layers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    pub created: Option<Timestamp>,
    chain: Chain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chain {
    /// A layer with all layers below it.
    Above(usize),
    /// Lowest first.
    Listed(Vec<usize>),
}

/// A layer of a result, and where it can be had.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedLayer {
    pub diff_id: DiffId,
    pub blob: Descriptor,
    /// When it was made, as far as that is known.
    pub created: Option<Timestamp>,
    /// A [`LayerSource`], as records of layers keep it.
    pub source: String,
}

#[derive(Debug, Clone)]
struct Layer {
    /// None if nobody says enough of the blob.
    cached: Option<Arc<CachedLayer>>,
    parent: Option<usize>,
}

impl Imported {
    /// The places of all records with a digest.
    pub fn with_digest(&self, digest: &Digest) -> &[usize] {
        self.by_digest.get(digest).map_or(&[], Vec::as_slice)
    }

    /// A record by its place, as links and look-ups give it.
    pub fn record(&self, place: usize) -> &Record {
        &self.records[place]
    }

    /// The records with this digest that have so many inputs, each with a link that is `satisfied`. Those with the newest
    /// results come first, those without any last.
    pub fn matching(
        &self,
        digest: &Digest,
        slots: usize,
        mut satisfied: impl FnMut(usize, &Link) -> bool,
    ) -> Vec<usize> {
        let mut fits = |place: &usize| {
            let inputs = &self.records[*place].inputs;
            inputs.len() == slots
                && inputs
                    .iter()
                    .enumerate()
                    .all(|(slot, links)| links.iter().any(|link| satisfied(slot, link)))
        };
        let mut found: Vec<usize> =
            self.with_digest(digest).iter().copied().filter(|place| fits(place)).collect();
        found.sort_by_key(|place| std::cmp::Reverse(self.records[*place].newest()));
        found
    }

    /// The layers of a result of this cache, lowest first.
    pub fn layers(&self, result: &CachedResult) -> Vec<Arc<CachedLayer>> {
        let layer = |place: usize| self.layers.get(place).and_then(|layer| layer.cached.clone());
        match &result.chain {
            Chain::Listed(places) => places.iter().filter_map(|place| layer(*place)).collect(),
            Chain::Above(top) => {
                let next = |place: &usize| self.layers.get(*place).and_then(|layer| layer.parent);
                let mut layers: Vec<_> = std::iter::successors(Some(*top), next).filter_map(layer).collect();
                layers.reverse();
                layers
            }
        }
    }

    /// The one layer that a result has more than another one, if that is how they differ: found without going through all of
    /// them.
    pub fn layer_above(&self, result: &CachedResult, below: &CachedResult) -> Option<Arc<CachedLayer>> {
        let (Chain::Above(top), Chain::Above(lower)) = (&result.chain, &below.chain) else { return None };
        let layer = self.layers.get(*top)?;
        (layer.parent == Some(*lower)).then(|| layer.cached.clone()).flatten()
    }

    /// Whether a result consists of these layers, given from the uppermost down.
    pub fn is_chain(&self, result: &CachedResult, layers: impl Iterator<Item = Option<DiffId>>) -> bool {
        let own: Vec<usize> = match &result.chain {
            Chain::Listed(places) => places.iter().rev().copied().collect(),
            Chain::Above(top) => {
                let next = |place: &usize| self.layers.get(*place).and_then(|layer| layer.parent);
                std::iter::successors(Some(*top), next).collect()
            }
        };
        let own = own.iter().map(|place| self.layers.get(*place)?.cached.as_ref().map(|layer| layer.diff_id));
        own.eq(layers)
    }

    /// How many results and records were left out because of what they say.
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// How many records there are, with and without results.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Reads a cache whose blobs are described in a manifest and lie at one place.
    pub fn of(config: &CacheConfig, blobs: &[Descriptor], source: &LayerSource) -> Self {
        let layers = layers(config, blobs, source);
        let usable = usable(&layers);
        let mut unusable = 0;
        let (inputs, alive) = inputs(&config.records);
        let mut records = Vec::with_capacity(config.records.len());
        for (record, inputs) in config.records.iter().zip(inputs) {
            let (results, lost) = results(record, &usable);
            unusable += lost;
            records.push(Record { digest: record.digest, inputs, results });
        }
        unusable += alive.iter().filter(|alive| !**alive).count();
        let mut imported = Self { records, by_digest: HashMap::new(), layers, unusable };
        for (place, record) in imported.records.iter().enumerate().filter(|(place, _)| alive[*place]) {
            imported.by_digest.entry(record.digest).or_default().push(place);
        }
        imported
    }

    /// Adds another cache to this one, such as that of the same image for another platform.
    pub fn add(&mut self, other: Self) {
        let (records, layers) = (self.records.len(), self.layers.len());
        self.records.extend(other.records.into_iter().map(|mut record| {
            record.inputs.iter_mut().flatten().for_each(|link| link.record += records);
            for result in &mut record.results {
                match &mut result.chain {
                    Chain::Above(top) => *top += layers,
                    Chain::Listed(places) => places.iter_mut().for_each(|place| *place += layers),
                }
            }
            record
        }));
        let moved = |layer: Layer| Layer { parent: layer.parent.map(|parent| parent + layers), ..layer };
        self.layers.extend(other.layers.into_iter().map(moved));
        for (digest, places) in other.by_digest {
            self.by_digest.entry(digest).or_default().extend(places.into_iter().map(|place| place + records));
        }
        self.unusable += other.unusable;
    }
}

impl Record {
    /// When the newest result was made; less than anything for a record without results.
    fn newest(&self) -> Option<Option<Timestamp>> {
        self.results.first().map(|result| result.created)
    }
}

/// The layers of a document with what is known of their blobs.
fn layers(config: &CacheConfig, blobs: &[Descriptor], source: &LayerSource) -> Vec<Layer> {
    let mut known: HashMap<Digest, Arc<CachedLayer>> = HashMap::new();
    for blob in blobs {
        if let Some(layer) = described(blob, source) {
            known.entry(blob.digest).or_insert_with(|| Arc::new(layer));
        }
    }
    let layer = |layer: &super::document::ConfigLayer| Layer {
        cached: known.get(&layer.blob).cloned(),
        parent: layer.parent,
    };
    config.layers.iter().map(layer).collect()
}

/// A layer by its entry in a manifest; none if that does not say which layer it is, or how to read it.
fn described(blob: &Descriptor, source: &LayerSource) -> Option<CachedLayer> {
    blob.compression()?;
    let said = |name: &str| blob.annotations.get(name);
    let diff_id = DiffId(said(annotation::DIFF_ID)?.parse().ok()?);
    let created = said(annotation::CREATED).and_then(|text| text.parse().ok());
    let urls = blob.urls.clone();
    let blob = Descriptor { urls, ..Descriptor::new(&blob.media_type, blob.digest, blob.size) };
    let source = source_of(&blob, source).to_string();
    Some(CachedLayer { diff_id, blob, created, source })
}

/// Where one blob of a place is. Of a registry that is the repository, whatever the cache in it is called today: what is
/// noted of a layer must not change with each new cache that has it.
fn source_of(blob: &Descriptor, source: &LayerSource) -> LayerSource {
    match source {
        LayerSource::Registry(name) => {
            LayerSource::Registry(Reference { tag: None, digest: Some(blob.digest), ..name.clone() })
        }
        LayerSource::Layout(path) => LayerSource::Layout(path.clone()),
    }
}

/// Which layers can be had with everything below them. A loop has no lowest layer.
fn usable(layers: &[Layer]) -> Vec<bool> {
    let mut found: Vec<Option<bool>> = vec![None; layers.len()];
    for start in 0..layers.len() {
        let (mut walked, mut place) = (Vec::new(), Some(start));
        let answer = loop {
            let Some(here) = place else { break true };
            match found.get(here) {
                None => break false,
                Some(Some(answer)) => break *answer,
                Some(None) => {}
            }
            // Until it is known better: whoever comes back here has gone in a circle.
            found[here] = Some(false);
            walked.push(here);
            if layers[here].cached.is_none() {
                break false;
            }
            place = layers[here].parent;
        };
        walked.into_iter().for_each(|place| found[place] = Some(answer));
    }
    found.into_iter().map(|answer| answer == Some(true)).collect()
}

/// The results of a record that can be had, the newest first, and how many cannot.
fn results(record: &ConfigRecord, usable: &[bool]) -> (Vec<CachedResult>, usize) {
    let is_usable = |place: usize| usable.get(place) == Some(&true);
    let above = record
        .results
        .iter()
        .map(|result| CachedResult { created: result.created, chain: Chain::Above(result.layer) });
    let listed = record
        .chains
        .iter()
        .map(|chain| CachedResult { created: chain.created, chain: Chain::Listed(chain.layers.clone()) });
    let mut results: Vec<CachedResult> = above.chain(listed).collect();
    let all = results.len();
    results.retain(|result| match &result.chain {
        Chain::Above(top) => is_usable(*top),
        Chain::Listed(places) => !places.is_empty() && places.iter().all(|place| is_usable(*place)),
    });
    results.sort_by_key(|result| std::cmp::Reverse(result.created));
    let lost = all - results.len();
    (results, lost)
}

/// The inputs of all records, without links that lead nowhere or back, and which records something can lead to: those that
/// have a link left for each input.
fn inputs(records: &[ConfigRecord]) -> (Vec<Vec<Vec<Link>>>, Vec<bool>) {
    let order = bottom_up(records);
    let mut rank = vec![0; records.len()];
    order.iter().enumerate().for_each(|(index, place)| rank[*place] = index);
    let mut alive = vec![false; records.len()];
    let mut inputs = vec![Vec::new(); records.len()];
    for place in order {
        let slots = records[place].inputs.iter().map(|slot| {
            // What comes later is above it: a link there closes a loop.
            let leads = |link: usize| alive.get(link) == Some(&true) && rank[link] < rank[place];
            let links = slot.iter().filter(|link| leads(link.link));
            links.map(|link| Link { selector: link.selector, record: link.link }).collect::<Vec<_>>()
        });
        let slots: Vec<_> = slots.collect();
        alive[place] = slots.iter().all(|links| !links.is_empty());
        inputs[place] = slots;
    }
    (inputs, alive)
}

#[cfg(test)]
mod tests;
