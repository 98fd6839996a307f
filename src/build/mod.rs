//! A build from beginning to end: parse, plan, solve, seal, assemble, export.

mod assemble;
mod base;
mod caches;
mod contexts;
mod error;
mod fetch;
mod known;
mod layout;
mod load;
mod memory;
mod outputs;
mod pull;
mod seal;
mod steps;
mod warnings;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

pub use crate::container::Tools;
pub use base::{BaseSource, FindError, Found, ImageName};
pub use contexts::{ContextSource, DockerfileSource, LayoutImage, NamedSource, Stream};
pub use error::{BuildError, Place};
pub use known::build_known;
pub use load::{Found as FoundContext, is_at_hand};
pub use pull::{PullError, Pulled, pull};
pub use steps::{Step, Steps, layers};
pub use warnings::{broken_rules, check};

use crate::cache::{CacheFrom, Imported};
use crate::dockerfile::Dockerfile;
use crate::event::{self, Events};
use crate::exec::{
    self, Contexts, Executor, Explain, Explaining, Given, HOSTNAME, Key, LookUps, Looks, Output, StepMounts,
    StepNetworks,
};
use crate::export::cache::{CacheMode, CacheTarget, CacheTo};
use crate::export::{self, registry::Destination};
use crate::graph::{Op, VertexId};
use crate::image::{Annotations, DiffId, Digest, Form, ImageId, Packing, Reference};
use crate::plan::{self, BaseImages, Plan, Planned};
use crate::registry::Client;
use crate::sandbox::Networks;
use crate::solve::{Solution, solve};
use crate::store::Store;
use crate::sys::blocking;
use fetch::Fetcher;
use warnings::Warnings;

/// What is to be built, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Request {
    pub context: ContextSource,
    pub dockerfile: DockerfileSource,
    /// What named contexts stand for.
    pub contexts: BTreeMap<String, NamedSource>,
    pub tags: Vec<Reference>,
    pub push: bool,
    /// How layers are packed when the image is pushed.
    pub packing: Packing,
    /// Where the result goes besides the store and registries.
    pub outputs: Vec<export::Output>,
    /// What is noted of the image where it goes.
    pub annotations: Annotations,
    /// Whose media types a manifest that is pushed is written in.
    pub form: Form,
    /// Whether files of new layers that are newer than SOURCE_DATE_EPOCH are given that time.
    pub rewrite_timestamps: bool,
    /// Ask registries for base images even when the store has them.
    pub pull: bool,
    pub wanted: plan::Request,
    /// Secrets and agents.
    pub given: Given,
    /// How many steps run at the same time.
    pub jobs: usize,
    /// Who is told why steps were not found.
    pub explain: Option<Explain>,
    pub cache_from: Vec<CacheFrom>,
    pub cache_to: Vec<CacheTo>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Built {
    pub image: ImageId,
    /// The manifest that was pushed.
    pub pushed: Option<Digest>,
}

/// Builds an image, keeps it, tags it, and pushes it if that is asked for. However it ends, the file's warnings are
/// summed up.
pub async fn build(request: &Request, tools: Tools) -> Result<Built, BuildError> {
    let events = tools.events.clone();
    let mut warnings = Warnings::default();
    let built = build_and_warn(request, tools, &mut warnings).await;
    warnings.sum_up(&events);
    built
}

/// A parsed Dockerfile and what a build of it would do, without doing it.
pub async fn plan(request: &Request, tools: &Tools) -> Result<Plan, BuildError> {
    let steps = Steps::new(tools.events.clone());
    let mut warnings = Warnings::default();
    let (base, fetcher) = (base_source(request, tools), Fetcher::new(tools, &request.given));
    let planning = Planning { request, base: &base, fetcher: Some(&fetcher), steps: &steps };
    let planned = planning.load_and_plan(&mut warnings).await;
    warnings.sum_up(&tools.events);
    planned.map(|(_, _, plan)| plan)
}

/// What the steps of a build would be known by, without doing any.
pub async fn keys(request: &Request, tools: &Tools) -> Result<String, BuildError> {
    let steps = Steps::new(tools.events.clone());
    let (base, fetcher) = (base_source(request, tools), Fetcher::new(tools, &request.given));
    let planning = Planning { request, base: &base, fetcher: Some(&fetcher), steps: &steps };
    let (file, contexts, plan) = planning.load_and_plan(&mut Warnings::default()).await?;
    let keys = blocking(move || exec::keys(&plan.graph, &contexts)).await;
    keys.map_err(|error| BuildError::Step {
        name: "keys".to_owned(),
        error: Box::new(error),
        place: Place::new(&file, None),
    })
}

async fn build_and_warn(
    request: &Request,
    tools: Tools,
    warnings: &mut Warnings,
) -> Result<Built, BuildError> {
    let steps = Steps::new(tools.events.clone());
    sweep(&tools.store);
    let (base, fetcher) = (base_source(request, &tools), Fetcher::new(&tools, &request.given));
    let planning = Planning { request, base: &base, fetcher: Some(&fetcher), steps: &steps };
    let (loaded, imported) = tokio::join!(
        planning.load_and_plan(warnings),
        caches::import(&request.cache_from, &tools.client, &steps, &tools.events)
    );
    let (file, contexts, plan) = loaded?;
    // Lives as long as the steps that look into it.
    let workspace = tools.store.workspace()?;
    let sandboxing = tools.sandboxing;
    let hostname = request.wanted.hostname().unwrap_or(HOSTNAME);
    let networks = Networks::of_steps(Arc::clone(&sandboxing), workspace.path().to_owned(), hostname);
    let store = Arc::clone(&tools.store);
    let explaining = request.explain.clone();
    let explaining = blocking(move || explaining.map(|to| Explaining::begin(&store, to)).transpose()).await?;
    let executor = Arc::new(Executor {
        known: look_ups(&plan, contexts, imported, &tools.store, &tools.events),
        layers: layers(&tools.store, &tools.client, &tools.events),
        networks: StepNetworks::new(&plan.graph, networks),
        mounts: StepMounts::new(request.given.clone()),
        client: tools.client.clone(),
        sandboxing,
        explaining,
    });
    if request.rewrite_timestamps && plan.epoch.is_none() {
        executor.events.warn("rewrite-timestamp does nothing: SOURCE_DATE_EPOCH is not set".to_owned());
    }
    let making = Making {
        request,
        file: &file,
        plan: &plan,
        executor: &executor,
        client: &tools.client,
        steps: &steps,
    };
    loop {
        match making.attempt().await {
            Err(error) if making.forget_what_is_lost()? => {
                let message =
                    format!("a cached layer cannot be had, and its step is executed instead: {error}");
                executor.events.warn(message);
            }
            result => return result,
        }
    }
}

/// What there is of a plan's steps.
fn look_ups(
    plan: &Plan,
    contexts: Contexts,
    imported: Vec<Imported>,
    store: &Arc<Store>,
    events: &Events,
) -> LookUps {
    LookUps {
        graph: Arc::new(plan.graph.clone()),
        store: Arc::clone(store),
        contexts,
        imported: Arc::new(imported),
        lost: Arc::default(),
        listed: Mutex::default(),
        looks: Looks::default(),
        events: events.clone(),
        first_step: steps::FIRST_VERTEX,
    }
}

/// Starts removing what killed processes have left. Nobody waits for it; what it does not manage is left to the next.
fn sweep(store: &Store) {
    tokio::task::spawn_blocking(store.sweeping());
}

/// What planning takes.
#[derive(Clone, Copy)]
struct Planning<'a> {
    request: &'a Request,
    base: &'a BaseSource,
    /// None where only what is at hand is to be looked at.
    fetcher: Option<&'a Fetcher>,
    steps: &'a Steps,
}

impl Planning<'_> {
    /// Everything that comes before the first step is executed.
    async fn load_and_plan(
        &self,
        warnings: &mut Warnings,
    ) -> Result<(Dockerfile, Contexts, Plan), BuildError> {
        let Self { request, base, fetcher, steps } = *self;
        let loaded = load::load(request, fetcher, steps).await.inspect_err(|error| {
            if let BuildError::Dockerfile(errors) = error {
                warnings.of_errors(request, errors);
            }
        });
        let (file, found) = loaded?;
        let context = load::open(found, &base.store, steps).await?;
        let mut images = BaseImages::new();
        let plan = self.make_plan(&file, &mut images).await;
        let findings = warnings.check(&file, request, &images, context.ignore())?;
        let plan = plan?;
        if findings.fatal {
            return Err(BuildError::Lint { rules: broken_rules(&findings) });
        }
        let contexts = load::open_named(request, context, &plan.graph, fetcher, &base.store, steps).await?;
        Ok((file, contexts, plan))
    }

    /// Plans, finding base images as they turn out to be needed.
    async fn make_plan(&self, file: &Dockerfile, images: &mut BaseImages) -> Result<Plan, BuildError> {
        let Self { request, base, steps, .. } = *self;
        loop {
            match plan::plan(file, &request.wanted, images) {
                Ok(Planned::Ready(plan)) => return Ok(*plan),
                Ok(Planned::Needs(names)) => {
                    let finding = names
                        .iter()
                        .map(|(wanted, span)| base.find_base(wanted, &request.contexts, *span, file, steps));
                    images.extend(futures_util::future::try_join_all(finding).await?);
                }
                Err(diagnostics) => {
                    return Err(BuildError::Plan { text: Box::new(file.source.clone()), diagnostics });
                }
            }
        }
    }
}

/// Reads the Dockerfile of a build and finds its context. Without tools only what is at hand ([`is_at_hand`]) is read.
pub async fn read(request: &Request, tools: Option<&Tools>) -> Result<(Dockerfile, load::Found), BuildError> {
    // Nobody watches.
    let steps = Steps::new(event::channel().0);
    let fetcher = tools.map(|tools| Fetcher::new(tools, &request.given));
    load::load(request, fetcher.as_ref(), &steps).await
}

fn base_source(request: &Request, tools: &Tools) -> BaseSource {
    BaseSource {
        store: Arc::clone(&tools.store),
        registry: Some(tools.client.clone()),
        platform: request.wanted.platform.clone(),
        always_ask: request.pull,
    }
}

/// A plan that is carried out.
struct Making<'a> {
    request: &'a Request,
    file: &'a Dockerfile,
    plan: &'a Plan,
    executor: &'a Arc<Executor>,
    client: &'a Client,
    steps: &'a Steps,
}

impl Making<'_> {
    async fn attempt(&self) -> Result<Built, BuildError> {
        let Self { request, plan, executor, .. } = self;
        let destination = || Arc::new(Destination::new(self.client, &request.tags, request.form));
        let destination = request.push.then(destination);
        let latest = plan.epoch.filter(|_| request.rewrite_timestamps);
        // What a cache wants packed is packed behind later steps, too.
        let of_caches = request.cache_to.iter().filter(|to| to.target != CacheTarget::Inline);
        let of_caches = of_caches.map(|to| to.packing).next();
        let of_outputs = request.outputs.iter().find_map(export::Output::packing);
        let packing = request.push.then_some(request.packing).or(of_outputs).or(of_caches);
        let mut sealing = seal::Sealing::new(Arc::clone(executor), packing, latest, destination.clone());
        let (solution, step) = self.run(&mut sealing).await?;
        let caches =
            caches::Exporting { plan, solution: &solution, executor, client: self.client, steps: self.steps };
        let built = self.export(&caches, &mut sealing, destination.as_deref(), &step).await;
        let built = match built {
            Ok(built) => {
                executor.contexts.keep_memory();
                let store = Arc::clone(&executor.store);
                blocking(move || store.sync()).await.map(|()| built).map_err(BuildError::from)
            }
            Err(error) => Err(BuildError::Export(error)),
        };
        let (built, image) = step.ended(built)?;
        let (layers, epoch) = (caches.target(), plan.epoch);
        let outputs =
            outputs::Outputs { executor, steps: self.steps, image: &image, layers: &layers, latest, epoch };
        for output in &request.outputs {
            outputs.write(output).await.map_err(BuildError::Export)?;
        }
        for to in &request.cache_to {
            caches.export(to, &mut sealing).await?;
        }
        Ok(built)
    }

    /// Does what the plan says; layers of the result are sealed meanwhile, and so are those that a cache is to have. The export
    /// begins when nothing is left to be executed: what is still hashed then, is hashed for it.
    async fn run(&self, sealing: &mut seal::Sealing) -> Result<(Solution<Key, Output>, Step), BuildError> {
        let mut exporting = None;
        let begin_export = || self.steps.start("exporting to image");
        let Self { request, plan, executor, .. } = self;
        let targets: Vec<_> = plan.target.into_iter().collect();
        let in_image: HashSet<VertexId> = plan.history.iter().filter_map(|item| item.layer).collect();
        let everything = request.cache_to.iter().any(|to| to.mode == CacheMode::Max);
        let solved = solve(&executor.graph, &targets, executor, request.jobs, |vertex, output| {
            let is_of_image = in_image.contains(&vertex);
            // What no cache gets need not be packed.
            let is_of_cache =
                everything && !matches!(executor.graph.get(vertex).op, Op::Http(_) | Op::Git(_));
            if let (true, Some(files)) = (is_of_image || is_of_cache, output.files()) {
                sealing.begin(&files.layers, is_of_image);
            }
            if plan.target == Some(vertex) {
                exporting.get_or_insert_with(begin_export);
            }
        });
        let solution = solved.await.map_err(|failed| BuildError::step(self.file, executor, failed))?;
        Ok((solution, exporting.unwrap_or_else(begin_export)))
    }

    async fn export(
        &self,
        caches: &caches::Exporting<'_>,
        sealing: &mut seal::Sealing,
        destination: Option<&Destination>,
        step: &Step,
    ) -> Result<(Built, export::Image), export::ExportError> {
        let Self { request, plan, executor, .. } = self;
        let sealed = sealing.finish(&caches.target()).await?;
        let is_inline = request.cache_to.iter().any(|to| to.target == CacheTarget::Inline);
        let cache = is_inline.then(|| caches.inline(&sealed)).flatten();
        let image = assemble::assemble(plan, caches.solution, sealed, cache, &request.annotations);
        let id = export::store::keep(&executor.store, &image, &request.tags)?;
        let pushed = match destination {
            Some(destination) => Some(destination.push(&executor.layers, &image, &step.watch()).await?),
            None => None,
        };
        Ok((Built { image: id, pushed }, image))
    }

    /// Whether there are layers that a cache promised and that could not be had, more than before: what they are the result
    /// of is not taken for cached any more.
    fn forget_what_is_lost(&self) -> Result<bool, BuildError> {
        let of_base = |op: &Op| if let Op::Image(image) = op { image.diff_ids.clone() } else { Vec::new() };
        let bases: HashSet<DiffId> = self.plan.graph.iter().flat_map(|(_, it)| of_base(&it.op)).collect();
        let lost = self.executor.layers.failures()?;
        Ok(self.executor.lost.add(lost.into_iter().filter(|layer| !bases.contains(layer))))
    }
}
