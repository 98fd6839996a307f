//! A build of which nothing has to be made: told from records alone, without a namespace, a mount or a registry.

use std::sync::Arc;

use super::error::BuildError;
use super::steps::{Steps, layers};
use super::warnings::Warnings;
use super::{BaseSource, Built, Planning, Request, assemble, look_ups};
use crate::event::Events;
use crate::exec::Output;
use crate::export::{self, ImageLayer, Packer};
use crate::layer::Stack;
use crate::registry::Client;
use crate::solve;
use crate::store::Store;

/// The image, if all its layers have been made before; none if anything has to be looked at more closely. In that case, and
/// if there is an error, the build has to be begun anew, and no event that was sent is true.
pub async fn build_known(
    request: &Request,
    store: &Arc<Store>,
    client: &Client,
    events: &Events,
) -> Result<Option<Built>, BuildError> {
    let steps = Steps::new(events.clone());
    let mut warnings = Warnings::default();
    let platform = request.wanted.platform.clone();
    let base = BaseSource { store: Arc::clone(store), registry: None, platform, always_ask: request.pull };
    let planning = Planning { request, base: &base, fetcher: None, steps: &steps };
    let (_, contexts, plan) = planning.load_and_plan(&mut warnings).await?;
    let look_ups = look_ups(&plan, contexts, Vec::new(), store, events);
    let targets: Vec<_> = plan.target.into_iter().collect();
    // What cannot be looked up like this is no failure of the build.
    let Ok(Some(solution)) = solve::known(&look_ups.graph, &targets, &look_ups) else { return Ok(None) };
    let target = plan.target.and_then(|target| solution.output(target));
    let stack = target.and_then(Output::files).map(|files| files.layers.clone()).unwrap_or_default();
    let latest = plan.epoch.filter(|_| request.rewrite_timestamps);
    let step = steps.start("exporting to image");
    let Some(sealed) = sealed(&stack, latest, store, client, events)? else { return Ok(None) };
    let image = assemble::assemble(&plan, &solution, sealed, None, &request.annotations);
    let built = export::store::keep(store, &image, &request.tags).map_err(BuildError::Export)?;
    look_ups.contexts.keep_memory();
    store.sync()?;
    step.done();
    warnings.sum_up(events);
    Ok(Some(Built { image: built, pushed: None }))
}

/// The layers, lowest first, if each is known by its digest.
fn sealed(
    stack: &Stack,
    latest: Option<i64>,
    store: &Arc<Store>,
    client: &Client,
    events: &Events,
) -> Result<Option<Vec<ImageLayer>>, BuildError> {
    let layers = layers(store, client, events);
    let packer = Packer { layers: &layers, packing: None, destination: None };
    let known = |level: &Stack| packer.known(level, latest).map_err(BuildError::Export);
    stack.levels().iter().rev().map(known).collect()
}
