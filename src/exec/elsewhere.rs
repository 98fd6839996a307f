//! Caches from elsewhere: which of their records a step is, and what they say has come of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ExecError;
use super::known::{Key, Keys, KnownInput, LookUps, note_link};
use super::{Files, Output};
use crate::cache::{CachedResult, Imported, Link};
use crate::graph::{InputKey, Op};
use crate::image::{DiffId, Digest};
use crate::layer::LayerRef;
use crate::solve::{Found, record_digest};
use crate::store::{ImportRecord, ImportResult};

/// The places of records in each of the caches, those with the newest results first.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere(Arc<Vec<Vec<usize>>>);

impl Elsewhere {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    fn has(&self, cache: usize, place: usize) -> bool {
        self.0.get(cache).is_some_and(|places| places.contains(&place))
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let of_cache = |(cache, places): (usize, &Vec<usize>)| {
            places.iter().map(move |place| (cache, *place)).collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(of_cache)
    }
}

/// Layers that somebody said to have, and that could not be had.
#[derive(Debug, Default)]
pub struct Lost(Mutex<HashSet<DiffId>>);

impl Lost {
    /// Whether any of them was new.
    pub fn add(&self, layers: impl IntoIterator<Item = DiffId>) -> bool {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lost.len();
        lost.extend(layers);
        lost.len() > before
    }

    pub(super) fn has_any(&self, layers: &[DiffId]) -> bool {
        let lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        layers.iter().any(|layer| lost.contains(layer))
    }
}

/// What a cache from elsewhere says has come of a step.
pub(super) struct FoundElsewhere {
    pub output: Output,
    pub record: ImportResult,
    place: (usize, usize),
}

impl LookUps {
    /// The records of a source.
    pub(super) fn source_elsewhere(&self, digests: &[Digest]) -> Elsewhere {
        let digests: Vec<Digest> = digests.iter().map(record_digest).collect();
        let of_cache = |cache: &Imported| {
            let places = digests.iter().flat_map(|digest| cache.with_digest(digest).iter().copied());
            places.filter(|place| cache.record(*place).inputs.is_empty()).collect()
        };
        Elsewhere(Arc::new(self.imported.iter().map(of_cache).collect()))
    }

    /// The records of a step, by its inputs' records and by contents that are known.
    pub(super) fn elsewhere(
        &self,
        op: &Op,
        inputs: &[KnownInput],
        counts: &[InputKey],
        contents: &[Option<Digest>],
    ) -> Elsewhere {
        let Some(digest) = op.digests().last().map(record_digest) else { return Elsewhere::default() };
        let of_cache = |(index, cache): (usize, &Imported)| {
            let satisfied = |slot: usize, link: &Link| {
                let input = &inputs[slot];
                // What was made here may have other content than what has the same name there.
                let is_theirs = input.output.is_none() || input.key.from == Some(index);
                let may_go_by_name = counts[slot].content.is_none() || contents[slot].is_none() && is_theirs;
                let by_name =
                    link.selector == counts[slot].selector && input.key.elsewhere.has(index, link.record);
                by_name && may_go_by_name
                    || content_of(cache, link).is_some_and(|content| contents[slot] == Some(content))
            };
            cache.matching(&digest, inputs.len(), satisfied)
        };
        Elsewhere(Arc::new(self.imported.iter().enumerate().map(of_cache).collect()))
    }

    /// Takes over what a cache from elsewhere says of a step, so that the store knows it from now on.
    pub(super) fn take_over(
        &self,
        op: &Op,
        keys: &mut Keys,
        inputs: &[KnownInput],
        elsewhere: &Elsewhere,
        here: Found<Key, Output>,
    ) -> Result<Found<Key, Output>, ExecError> {
        let base = op.base().and_then(|slot| inputs.get(slot));
        let found = self.output_elsewhere(elsewhere, base)?;
        if keys.by_content.is_none() {
            let place = found.as_ref().map(|found| found.place).or_else(|| elsewhere.places().next());
            let counts = op.input_keys(inputs.len());
            let contents = place.map(|place| self.contents_elsewhere(place, &counts, keys.contents.clone()));
            keys.with_contents(op, inputs, &counts, contents.unwrap_or_default());
        }
        // What was read is not known, and so the step has no name here: it is found when that has been looked at.
        let Some(key) = keys.by_content else { return Ok(here) };
        let cache = self.cache();
        let from = found.as_ref().map(|found| found.place.0);
        let (output, result) = found.map(|found| (found.output, found.record)).unzip();
        if result.is_some() || !here.known {
            self.note_operation(op, inputs.len(), true)?;
            cache.import(&key.0, &ImportRecord { result, contents: keys.contents.clone() })?;
            note_link(keys, &cache)?;
        }
        Ok(Found { key: Key { from, ..keys.known() }, known: true, output })
    }

    /// The newest result of some records that can be had, on top of what the base is.
    pub(super) fn output_elsewhere(
        &self,
        elsewhere: &Elsewhere,
        base: Option<&KnownInput>,
    ) -> Result<Option<FoundElsewhere>, ExecError> {
        for place in elsewhere.places() {
            let cache = &self.imported[place.0];
            for result in &cache.record(place.1).results {
                if let Some(found) = self.result_elsewhere(cache, place, result, base)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn result_elsewhere(
        &self,
        cache: &Imported,
        place: (usize, usize),
        result: &CachedResult,
        base: Option<&KnownInput>,
    ) -> Result<Option<FoundElsewhere>, ExecError> {
        let below = base.and_then(|base| Some((base, base.output.as_ref()?.files()?)));
        let one_more = below.and_then(|(base, files)| {
            // Only where the base is what this cache says it is.
            let mut results = base.key.elsewhere.places().filter(|(index, _)| *index == place.0);
            let lower = results.find_map(|(_, place)| cache.record(place).results.first())?;
            let layer = cache.layer_above(result, lower)?;
            let diff_ids = files.layers.iter().map(LayerRef::diff_id);
            cache.is_chain(lower, diff_ids).then_some((files, layer))
        });
        let on = below.and_then(|(_, files)| files.layers.id()).map(|id| id.to_string());
        let whole = one_more.is_none();
        let (layers, stack) = match one_more {
            Some((files, layer)) => {
                let stack = files.layers.with(LayerRef::Image(layer.diff_id));
                (vec![layer], stack)
            }
            None => {
                let layers = cache.layers(result);
                let stack = layers.iter().map(|layer| LayerRef::Image(layer.diff_id)).collect();
                (layers, stack)
            }
        };
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
        if diff_ids.is_empty() || self.lost.has_any(&diff_ids) {
            return Ok(None);
        }
        let known = self.cache();
        layers.iter().try_for_each(|layer| known.claim(layer))?;
        let created = result.created;
        let output = Output::Files(Files { layers: stack, created });
        Ok(Some(FoundElsewhere {
            output,
            record: ImportResult { layers: diff_ids, whole, on, created },
            place,
        }))
    }

    /// Contents as a record has them, where they are not known.
    fn contents_elsewhere(
        &self,
        (cache, place): (usize, usize),
        counts: &[InputKey],
        mut contents: Vec<Option<Digest>>,
    ) -> Vec<Option<Digest>> {
        let cache = &self.imported[cache];
        for ((content, links), counts) in contents.iter_mut().zip(&cache.record(place).inputs).zip(counts) {
            let of_links = || links.iter().find_map(|link| content_of(cache, link));
            *content = content.or_else(of_links).filter(|_| counts.content.is_some());
        }
        contents
    }
}

/// The content that a link means, if it means one: a record of content builds upon nothing and is read as a whole.
fn content_of(cache: &Imported, link: &Link) -> Option<Digest> {
    let record = cache.record(link.record);
    (link.selector.is_none() && record.inputs.is_empty()).then_some(record.digest)
}
