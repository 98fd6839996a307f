//! What look-ups know a step by, and where they look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::{Imported, ListedEntry, LocalCache, Remembered, Step};
use crate::context::{Listed, Look, Owner, Selector, Taken, Tree, fingerprint, look, state};
use crate::event::{EventKind, Events, StepId};
use crate::graph::{Graph, InputKey, Op, Slot, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Stack};
use crate::solve::{Finder, Found, Ingredient, Input, Progress, StepKey, content_digest, record_digest};
use crate::store::{SnapshotId, StepRecord, Store};

use super::contexts::Contexts;
use super::elsewhere::{Elsewhere, Lost};
use super::error::ExecError;
use super::looks::{AsRead, Looks};
use super::{Files, Output, selectors};

/// What a vertex is known by.
#[derive(Debug, Clone, Default)]
pub struct Key {
    /// None for files outside the graph, which only their content identifies, and as long as content is not known that decides.
    pub step: Option<StepKey>,
    /// The record digests of what is read of each input, where content counts and is known.
    pub contents: Vec<Option<Digest>>,
    /// What identifies a source of which that was not known before it was looked at.
    pub source: Option<Digest>,
    /// The records of caches from elsewhere that are this step, as far as its result has not been made here.
    pub elsewhere: Elsewhere,
    /// The cache from elsewhere that the result has come from just now.
    pub from: Option<usize>,
}

pub(super) type KnownInput = Input<Key, Output>;

/// The two keys of a step.
#[derive(Debug)]
pub(super) struct Keys {
    /// By what its inputs are.
    by_definition: Option<StepKey>,
    /// By what is read of them; none as long as that is not known.
    pub by_content: Option<StepKey>,
    pub contents: Vec<Option<Digest>>,
    tops: Vec<Option<String>>,
}

impl Keys {
    /// None for what has no definition.
    pub(super) fn new(op: &Op, inputs: &[KnownInput], counts: &[InputKey]) -> Option<Self> {
        let record = record_digest(op.digests().last()?);
        let contents = inputs.iter().map(|input| input.content.as_ref().map(content_digest)).collect();
        let tops = inputs.iter().map(|input| input.output.as_ref().and_then(Output::id)).collect();
        let mut keys = Self { by_definition: None, by_content: None, contents, tops };
        keys.by_definition = key(record, inputs, counts, &keys.contents, op.order(), false);
        keys.by_content = key(record, inputs, counts, &keys.contents, op.order(), true);
        Some(keys)
    }

    /// Takes over contents that somebody else has looked at.
    pub(super) fn with_contents(
        &mut self,
        op: &Op,
        inputs: &[KnownInput],
        counts: &[InputKey],
        contents: Vec<Option<Digest>>,
    ) {
        self.contents = contents;
        let record = op.digests().last().map(record_digest);
        self.by_content =
            record.and_then(|record| key(record, inputs, counts, &self.contents, op.order(), true));
    }
}

/// None where something is missing.
fn key(
    record: Digest,
    inputs: &[KnownInput],
    counts: &[InputKey],
    contents: &[Option<Digest>],
    order: Option<Digest>,
    prefer_content: bool,
) -> Option<StepKey> {
    let ingredients = inputs.iter().zip(counts).zip(contents).map(|((input, counts), content)| {
        let by_content = counts.content.is_some() && (prefer_content || input.key.step.is_none());
        if by_content {
            return content.map(Ingredient::Content);
        }
        input.key.step.map(|key| Ingredient::Definition { key, selector: counts.selector })
    });
    let ingredients: Option<Vec<Ingredient>> = ingredients.collect();
    Some(StepKey::with_order(record, &ingredients?, order))
}

/// Everything that look-ups need: nothing in here takes a namespace.
#[derive(Debug)]
pub struct LookUps {
    pub graph: Arc<Graph>,
    pub store: Arc<Store>,
    pub contexts: Contexts,
    /// Caches from elsewhere.
    pub imported: Arc<Vec<Imported>>,
    /// Layers that turned out not to be had.
    pub lost: Arc<Lost>,
    /// What contents consist of that were looked at, by record digests.
    pub listed: Mutex<HashMap<Digest, Vec<ListedEntry>>>,
    /// How the files outside the graph were when they were looked at.
    pub looks: Looks,
    pub events: Events,
    /// Numbers of steps begin here; smaller ones are taken by what is not in the graph.
    pub first_step: u32,
}

impl Finder for LookUps {
    type Key = Key;
    type Output = Output;
    type Error = ExecError;

    fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, ExecError> {
        let it = self.graph.get(vertex);
        if it.forced {
            return Ok(true);
        }
        let Some(operation) = it.op.digests().pop() else { return Ok(false) };
        let record = record_digest(&operation);
        let is_elsewhere = self.imported.iter().any(|cache| !cache.with_digest(&record).is_empty());
        Ok(!is_elsewhere && !self.cache().has_heard_of(&operation)?)
    }

    fn may_look_later(&self, vertex: VertexId, slot: Slot) -> Result<bool, ExecError> {
        let it = self.graph.get(vertex);
        let Op::Context(context) = &self.graph.get(it.inputs[slot]).op else { return Ok(true) };
        if self.contexts.get(&context.name)?.tree.owner() == Owner::Kept {
            return Ok(true);
        }
        // Somebody may change these meanwhile. Who copies files sees whether anybody has, if what is copied is what counts.
        let Op::Copy(op) = &it.op else { return Ok(false) };
        Ok(!op.may_unpack() && self.selected(vertex, slot)?.iter().all(|selector| !selector.has_filters()))
    }

    fn outside(&self, vertex: VertexId, slot: Slot) -> Result<Digest, ExecError> {
        let tree = self.outside_tree(vertex, slot)?;
        Ok(fingerprint(tree, &self.selected(vertex, slot)?, tree.memory())?)
    }

    fn find(&self, vertex: VertexId, inputs: &[KnownInput]) -> Result<Found<Key, Output>, ExecError> {
        self.look_up(vertex, inputs)
    }

    fn progress(&self, vertex: VertexId, progress: Progress) {
        let (step, it) = (self.step(vertex), self.graph.get(vertex));
        // Nothing is done in these that would have to be told.
        if matches!(it.op, Op::Context(_) | Op::Merge(_)) {
            return;
        }
        self.events.send(match progress {
            Progress::Started => EventKind::Started { step, name: it.name.clone() },
            Progress::Cached => EventKind::Cached { step },
            Progress::Shared => EventKind::Shared { step },
            Progress::Done => EventKind::Done { step },
            Progress::Canceled => EventKind::Canceled { step },
        });
    }
}

impl LookUps {
    pub fn step(&self, vertex: VertexId) -> StepId {
        StepId(self.first_step + u32::try_from(vertex.index()).expect("a graph has fewer vertices"))
    }

    pub(super) fn cache(&self) -> LocalCache {
        LocalCache::new(Arc::clone(&self.store))
    }

    /// What an operation reads of an input.
    pub(super) fn selected(&self, vertex: VertexId, slot: Slot) -> Result<Vec<Selector>, ExecError> {
        let it = self.graph.get(vertex);
        let counts = it.op.input_keys(it.inputs.len()).swap_remove(slot);
        Ok(selectors(&counts.content.ok_or(ExecError::Unexpected("content is asked for where it counts"))?)?)
    }

    /// Whether files outside the graph are not what they were when they were looked at: somebody changes them meanwhile. Who has
    /// read them may know how they were then.
    pub(super) fn has_changed_outside(
        &self,
        vertex: VertexId,
        inputs: &[KnownInput],
        as_read: &AsRead,
    ) -> Result<bool, ExecError> {
        for (slot, input) in inputs.iter().enumerate() {
            if let (Some(then), Some(Output::Context(context))) =
                (self.looks.state(vertex, slot), &input.output)
            {
                let now = match as_read.get(&slot) {
                    Some(now) => *now,
                    None => state(&context.tree, &self.selected(vertex, slot)?).ok(),
                };
                if now != Some(then) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The digest of what is read, noted with what it consists of.
    pub(super) fn list(
        &self,
        tree: &Tree,
        selectors: &[Selector],
        taken: Option<&Taken>,
    ) -> Result<Look, ExecError> {
        let mut look = look(tree, selectors, tree.memory(), taken)?;
        let entry = |entry: Listed| {
            let path = entry.path.to_string_lossy().into_owned();
            ListedEntry::new(path, entry.mode, (entry.uid, entry.gid), entry.size, &entry.digest)
        };
        let entries = std::mem::take(&mut look.listed).into_iter().map(entry).collect();
        let mut known = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(content_digest(&look.digest), entries);
        Ok(look)
    }

    /// Keeps what contents consist of, so that it can be told later what has changed.
    pub(super) fn note_listings<'c>(
        &self,
        contents: impl Iterator<Item = &'c Digest>,
    ) -> Result<(), ExecError> {
        let cache = self.cache();
        for content in contents {
            let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner).remove(content);
            listed.map(|entries| cache.list(content, &entries)).transpose()?;
        }
        Ok(())
    }

    /// Looks for an earlier result.
    fn look_up(&self, vertex: VertexId, inputs: &[KnownInput]) -> Result<Found<Key, Output>, ExecError> {
        let it = self.graph.get(vertex);
        match &it.op {
            Op::Image(op) => {
                let layers = op.diff_ids.iter().copied().map(LayerRef::Image).collect();
                let step = it.op.digests().last().map(|digest| StepKey::new(record_digest(digest), &[]));
                let output = Some(Output::Files(Files { layers, created: None }));
                let elsewhere = self.source_elsewhere(&it.op.digests());
                Ok(Found { key: Key { step, elsewhere, ..Key::default() }, known: true, output })
            }
            Op::Context(op) => {
                let output = Some(Output::Context(self.contexts.get(&op.name)?.clone()));
                Ok(Found { key: Key::default(), known: true, output })
            }
            Op::Http(op) => self.look_up_download(op),
            Op::Git(op) => self.look_up_checkout(op),
            Op::Merge(_) => {
                let counts = it.op.input_keys(inputs.len());
                let keys =
                    Keys::new(&it.op, inputs, &counts).ok_or(ExecError::Unexpected("a merge has a key"))?;
                let mut key = keys.known();
                key.elsewhere = self.elsewhere(&it.op, inputs, &counts, &keys.contents);
                let output = match merged(inputs) {
                    Some(output) => Some(output),
                    None => self.output_elsewhere(&key.elsewhere, None)?.map(|found| found.output),
                };
                Ok(Found { key, known: true, output })
            }
            Op::Run(_) | Op::Copy(_) | Op::MakeDirectory(_) | Op::MakeFile(_) => {
                self.look_up_step(&it.op, it.forced, inputs)
            }
        }
    }

    fn look_up_step(
        &self,
        op: &Op,
        forced: bool,
        inputs: &[KnownInput],
    ) -> Result<Found<Key, Output>, ExecError> {
        let counts = op.input_keys(inputs.len());
        let mut keys = Keys::new(op, inputs, &counts).ok_or(ExecError::Unexpected("a step has a key"))?;
        if forced {
            return Ok(Found { key: keys.known(), known: false, output: None });
        }
        let base = op.base().and_then(|slot| inputs.get(slot));
        let elsewhere = self.elsewhere(op, inputs, &counts, &keys.contents);
        let mut found = self.look_up_here(&mut keys, base)?;
        if found.output.is_none() && !elsewhere.is_empty() {
            found = self.take_over(op, &mut keys, inputs, &elsewhere, found)?;
        }
        found.key.elsewhere = elsewhere;
        Ok(found)
    }

    /// Looks into the records of the store.
    fn look_up_here(
        &self,
        keys: &mut Keys,
        base: Option<&KnownInput>,
    ) -> Result<Found<Key, Output>, ExecError> {
        let cache = self.cache();
        let by_content = match (keys.by_content, keys.by_definition) {
            (Some(key), _) => Some(key.0),
            (None, Some(key)) => cache.follow(&key.0, &keys.tops)?,
            (None, None) => None,
        };
        let Some(key) = by_content else {
            return Ok(Found { key: keys.known(), known: false, output: None });
        };
        let (mut known, mut output) = (false, None);
        for remembered in cache.find(&key) {
            let remembered = remembered?;
            if let Remembered::Imported(record) = &remembered
                && self.lost.has_any(record.layers())
            {
                cache.forget_import(&key)?;
                continue;
            }
            if !known && keys.by_content.is_none() {
                keys.by_content = Some(StepKey(key));
                keys.contents = remembered.contents().to_vec();
            } else if !known {
                note_link(keys, &cache)?;
            }
            known = true;
            output = output_of(base, remembered);
            if output.is_some() {
                break;
            }
        }
        Ok(Found { key: keys.known(), known, output })
    }

    /// What a step is known by whose inputs are all known.
    pub(super) fn keys_of(&self, vertex: VertexId, inputs: &[KnownInput]) -> Result<Keys, ExecError> {
        let op = &self.graph.get(vertex).op;
        let keys = Keys::new(op, inputs, &op.input_keys(inputs.len()));
        keys.ok_or(ExecError::Unexpected("a step has a key"))
    }

    /// Remembers what a step has made.
    pub(super) fn remember_step(
        &self,
        vertex: VertexId,
        inputs: &[KnownInput],
        keys: &Keys,
        snapshot: SnapshotId,
        created: Timestamp,
    ) -> Result<(), ExecError> {
        let it = self.graph.get(vertex);
        let key = keys.by_content.ok_or(ExecError::Unexpected("what was read is known"))?;
        let base = it.op.base().and_then(|slot| Some(&inputs.get(slot)?.output.as_ref()?.files()?.layers));
        let parent = match base.and_then(Stack::top) {
            Some(LayerRef::Made(parent) | LayerRef::Linked(parent)) => Some(parent.clone()),
            Some(LayerRef::Image(_)) | None => None,
        };
        let step = Step {
            name: it.name.clone(),
            parent,
            on: base.and_then(Stack::id).map(|id| id.to_string()),
            contents: keys.contents.clone(),
            definition: it.op.definition(),
            inputs: inputs.iter().map(|input| input.key.step.map(|key| key.0)).collect(),
        };
        let record: StepRecord = step.into_record(snapshot, created);
        let cache = self.cache();
        self.note_listings(keys.contents.iter().flatten())?;
        self.note_operation(&it.op, inputs.len(), false)?;
        // A link that leads to nothing is a miss; a record that cannot be kept takes the snapshot with it, so it comes last.
        note_link(keys, &cache)?;
        Ok(cache.remember(&key.0, &record)?)
    }

    /// Notes that there are steps of an operation, if it is one that can be looked for in vain.
    pub(super) fn note_operation(&self, op: &Op, inputs: usize, imported: bool) -> Result<(), ExecError> {
        let reads = op.input_keys(inputs).iter().any(|counts| counts.content.is_some());
        match op.digests().last().filter(|_| reads) {
            Some(operation) => Ok(self.cache().hear_of(operation, imported)?),
            None => Ok(()),
        }
    }
}

impl Keys {
    pub(super) fn by_definition(&self) -> Key {
        Key { step: self.by_definition, contents: self.contents.clone(), ..Key::default() }
    }

    pub(super) fn known(&self) -> Key {
        Key { step: self.by_content, contents: self.contents.clone(), ..Key::default() }
    }
}

/// So that the next look-up need not look at any content.
pub(super) fn note_link(keys: &Keys, cache: &LocalCache) -> Result<(), ExecError> {
    if let (Some(from), Some(to)) = (keys.by_definition, keys.by_content)
        && from != to
        && keys.tops.iter().all(Option::is_some)
    {
        cache.link(&from.0, to.0, keys.tops.clone())?;
    }
    Ok(())
}

/// What is remembered, on top of what the base is now; nothing if it was made on something else.
fn output_of(base: Option<&KnownInput>, remembered: Remembered) -> Option<Output> {
    let files = match remembered {
        Remembered::Made(record) => {
            let below = match base {
                Some(base) => base.output.as_ref()?.files()?.layers.clone(),
                None => Stack::default(),
            };
            if below.id().map(|id| id.to_string()) != record.on {
                return None;
            }
            Files { layers: below.with(LayerRef::Made(record.snapshot)), created: Some(record.created) }
        }
        Remembered::Imported(record) => {
            let result = record.result?;
            let below = base.and_then(|base| base.output.as_ref()?.files()).map(|files| files.layers.clone());
            let is_at_hand = base.is_none_or(|base| base.output.is_some());
            let on = below.as_ref().and_then(Stack::id).map(|id| id.to_string());
            // What was found beside a base that was not at hand fits as long as that is so.
            if is_at_hand && on != result.on {
                return None;
            }
            let below = if result.whole { Stack::default() } else { below? };
            let layers =
                result.layers.into_iter().fold(below, |stack, layer| stack.with(LayerRef::Image(layer)));
            Files { layers, created: result.created }
        }
    };
    Some(Output::Files(files))
}

/// The layers of all inputs. Those above the first lie there as they are.
fn merged(inputs: &[KnownInput]) -> Option<Output> {
    let mut layers = Stack::default();
    let mut created = None;
    for (index, input) in inputs.iter().enumerate() {
        let files = input.output.as_ref()?.files()?;
        created = files.created.or(created);
        if index == 0 {
            layers = files.layers.clone();
            continue;
        }
        for layer in files.layers.to_vec() {
            layers = layers.with(match layer {
                LayerRef::Made(snapshot) | LayerRef::Linked(snapshot) => LayerRef::Linked(snapshot),
                LayerRef::Image(diff_id) => LayerRef::Image(diff_id),
            });
        }
    }
    Some(Output::Files(Files { layers, created }))
}
