//! Caches from elsewhere and for elsewhere.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;

use super::error::BuildError;
use super::seal::Sealing;
use super::steps::Steps;
use crate::cache::{self, CacheFrom, Imported, OutLayer, OutLink, OutRecord, OutResult, Outgoing};
use crate::event::Events;
use crate::exec::{Executor, Key, Output};
use crate::export::cache::{CacheMode, CacheTarget, CacheTo, PackedCache};
use crate::export::{ExportError, ImageLayer, Packer};
use crate::graph::{Graph, Op, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Stack};
use crate::plan::Plan;
use crate::registry::Client;
use crate::solve::{Solution, record_digest};

/// Reads the caches that can be read; of others it is told why not.
pub(super) async fn import(
    from: &[CacheFrom],
    client: &Client,
    steps: &Steps,
    events: &Events,
) -> Vec<Imported> {
    let reading = from.iter().map(|from| async move {
        let step = steps.start(&format!("importing cache from {}", from.source));
        match step.ended(cache::import(client, &from.source).await) {
            Ok(imported) => {
                if imported.unusable() > 0 {
                    let count = imported.unusable();
                    events.warn(format!("{} things in the cache {} are of no use", count, from.source));
                }
                Some(imported)
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                events.warn(format!("the cache {} is not used: {error}{hint}", from.source));
                None
            }
        }
    });
    join_all(reading).await.into_iter().flatten().collect()
}

/// Writes what this build knows of its steps for others.
pub(super) struct Exporting<'a> {
    pub plan: &'a Plan,
    pub solution: &'a Solution<Key, Output>,
    pub executor: &'a Executor,
    pub client: &'a Client,
    pub steps: &'a Steps,
}

impl Exporting<'_> {
    /// The cache for the image's own config; none if it would say nothing.
    pub(super) fn inline(&self, layers: &[ImageLayer]) -> Option<String> {
        let target = self.target();
        // Layers are told apart by what they are: blobs are no matter of a config.
        let places: HashMap<LayerRef, usize> =
            target.to_vec().into_iter().enumerate().map(|(place, layer)| (layer, place)).collect();
        let mut records = self.records(CacheMode::Min);
        for (record, stack) in &mut records {
            let chain =
                |stack: &Stack| stack.to_vec().iter().map(|layer| places.get(layer).copied()).collect();
            record.result = match (record.result.take(), stack.as_ref().and_then(chain)) {
                (Some(result), Some(chain)) => Some(OutResult { chain, ..result }),
                (_, _) => None,
            };
        }
        let out = |layer: &ImageLayer| OutLayer {
            diff_id: layer.diff_id,
            blob: layer.blob.clone().unwrap_or_else(|| crate::image::Descriptor::new("", layer.diff_id.0, 0)),
            created: None,
            sources: Vec::new(),
        };
        let outgoing = Outgoing {
            records: records.into_iter().map(|(record, _)| record).collect(),
            layers: layers.iter().map(out).collect(),
        };
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        outgoing.inline(&diff_ids)
    }

    /// Writes one cache; one that lies in the image is written with it.
    pub(super) async fn export(&self, to: &CacheTo, sealing: &mut Sealing) -> Result<(), BuildError> {
        let where_to = match &to.target {
            CacheTarget::Inline => return Ok(()),
            CacheTarget::Registry { name, .. } => format!("registry {name}"),
            CacheTarget::Local { directory, .. } => format!("directory {}", directory.path.display()),
        };
        let step = self.steps.start(&format!("exporting cache to {where_to}"));
        let events = &self.executor.events;
        let exported = async {
            match PackedCache::of(&self.outgoing(to, sealing).await?) {
                Some(cache) => {
                    to.target.send(self.client, &cache, &self.executor.layers, &step.watch()).await.map(drop)
                }
                None => {
                    events.warn(format!("there is nothing to be written into the cache {}", to.target));
                    Ok(())
                }
            }
        };
        let exported = exported.await;
        match step.ended(exported) {
            Ok(()) => Ok(()),
            Err(error) if to.ignore_error => {
                events.warn(format!("the cache {} could not be written: {error}", to.target));
                Ok(())
            }
            Err(error) => Err(BuildError::CacheExport { name: to.target.to_string(), error }),
        }
    }

    async fn outgoing(&self, to: &CacheTo, sealing: &mut Sealing) -> Result<Outgoing, ExportError> {
        let packer = Packer { layers: &self.executor.layers, packing: Some(to.packing), destination: None };
        let mut outgoing = Outgoing::default();
        let mut places: HashMap<LayerRef, usize> = HashMap::new();
        // A step has the layers of its base and one more.
        let mut chains: HashMap<usize, Vec<usize>> = HashMap::from([(0, Vec::new())]);
        for (mut record, stack) in self.records(to.mode) {
            if let (Some(result), Some(stack)) = (&mut record.result, stack) {
                let unknown: Vec<Stack> = above_known(&stack, &chains);
                for level in unknown.into_iter().rev() {
                    let Some(top) = level.top() else { continue };
                    let place = match places.get(top) {
                        Some(place) => *place,
                        None => {
                            // What is packed just now is waited for instead of being packed twice.
                            sealing.wait_for(top).await?;
                            let layer = packer.top(&level, sealing.latest()).await?;
                            outgoing
                                .layers
                                .extend(layer.map(|layer| out(layer, result.created)).transpose()?);
                            places.insert(top.clone(), outgoing.layers.len() - 1);
                            outgoing.layers.len() - 1
                        }
                    };
                    let mut chain = chains.get(&level.below().address()).cloned().unwrap_or_default();
                    chain.push(place);
                    chains.insert(level.address(), chain);
                }
                result.chain = chains.get(&stack.address()).cloned().unwrap_or_default();
            }
            outgoing.records.push(record);
        }
        Ok(outgoing)
    }

    /// The layers of the image.
    pub(super) fn target(&self) -> Stack {
        let target = self.plan.target.and_then(|target| self.solution.output(target));
        target.and_then(Output::files).map(|files| files.layers.clone()).unwrap_or_default()
    }

    /// Everything that is known of the steps, those first that others build upon; with the layers of results, whose list in the
    /// record is left empty.
    fn records(&self, mode: CacheMode) -> Vec<(OutRecord, Option<Stack>)> {
        let mut listing = Listing {
            graph: &self.executor.graph,
            records: Vec::new(),
            of: HashMap::new(),
            contents: HashMap::new(),
        };
        // What the image begins with. Stacks that come from records of their own are compared layer by layer.
        let target = self.target();
        let levels: HashSet<usize> = target.levels().iter().map(Stack::address).collect();
        let in_image: Vec<LayerRef> = target.to_vec();
        let is_of_image = |stack: &Stack| {
            levels.contains(&stack.address())
                || stack.top().is_some_and(|top| in_image.contains(top))
                    && in_image.starts_with(&stack.to_vec())
        };
        for (vertex, _) in self.executor.graph.iter() {
            let Some(solved) = self.solution.get(vertex) else { continue };
            let files = solved.output.as_ref().and_then(Output::files);
            let files = files.filter(|files| mode == CacheMode::Max || is_of_image(&files.layers));
            listing.add(vertex, &solved.key, files.map(|files| (files.layers.clone(), files.created)));
        }
        listing.records
    }
}

/// The levels of a stack down to the first whose chain is known.
fn above_known(stack: &Stack, chains: &HashMap<usize, Vec<usize>>) -> Vec<Stack> {
    let mut unknown = Vec::new();
    let mut level = stack.clone();
    while !chains.contains_key(&level.address()) {
        let below = level.below();
        unknown.push(level);
        level = below;
    }
    unknown
}

fn out(layer: ImageLayer, created: Timestamp) -> Result<OutLayer, ExportError> {
    let ImageLayer { diff_id, blob, sources } = layer;
    let blob = blob.ok_or(ExportError::NotCompressed(diff_id))?;
    Ok(OutLayer { diff_id, blob, created: Some(created), sources })
}

/// Records as they are put together.
struct Listing<'a> {
    graph: &'a Graph,
    records: Vec<(OutRecord, Option<Stack>)>,
    /// The records of each vertex: several for a source that is known in several ways.
    of: HashMap<VertexId, Vec<usize>>,
    /// The records of contents.
    contents: HashMap<Digest, usize>,
}

impl Listing<'_> {
    fn add(&mut self, vertex: VertexId, key: &Key, files: Option<(Stack, Option<Timestamp>)>) {
        let it = self.graph.get(vertex);
        let digests = it.op.digests();
        if matches!(it.op, Op::Image(_)) {
            // Its layers are nothing that anybody would have to find.
            let places =
                digests.iter().map(|digest| self.push(record_digest(digest), Vec::new(), None, None));
            let places = places.collect();
            self.of.insert(vertex, places);
            return;
        }
        let Some(digest) = digests.last().or(key.source.as_ref()) else { return };
        let counts = it.op.input_keys(it.inputs.len());
        let mut inputs = Vec::new();
        for (slot, input) in it.inputs.iter().enumerate() {
            let selector = counts[slot].selector;
            let known = self.of.get(input).into_iter().flatten();
            let mut links: Vec<OutLink> = known.map(|record| OutLink { selector, record: *record }).collect();
            if let Some(content) = key.contents.get(slot).copied().flatten() {
                links.push(OutLink { selector: None, record: self.content(content) });
            }
            inputs.push(links);
        }
        // What nobody could find need not be told.
        if inputs.iter().any(Vec::is_empty) {
            return;
        }
        // A file that the Dockerfile itself contains is made sooner than it is fetched, and one from an address is asked for
        // in any case.
        let (stack, created) =
            files.filter(|_| !matches!(it.op, Op::MakeFile(_) | Op::Http(_) | Op::Git(_))).unzip();
        let result = stack.as_ref().filter(|stack| stack.top().is_some()).map(|_| OutResult {
            created: created.flatten().unwrap_or_else(Timestamp::now),
            chain: Vec::new(),
        });
        let place = self.push(record_digest(digest), inputs, result, stack);
        self.of.insert(vertex, vec![place]);
    }

    fn content(&mut self, digest: Digest) -> usize {
        if let Some(place) = self.contents.get(&digest) {
            return *place;
        }
        let place = self.push(digest, Vec::new(), None, None);
        self.contents.insert(digest, place);
        place
    }

    fn push(
        &mut self,
        digest: Digest,
        inputs: Vec<Vec<OutLink>>,
        result: Option<OutResult>,
        stack: Option<Stack>,
    ) -> usize {
        self.records.push((OutRecord { digest, inputs, result }, stack));
        self.records.len() - 1
    }
}
