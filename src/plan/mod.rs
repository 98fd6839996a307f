//! From typed instructions to a graph of operations and the config of the image that comes out.
//!
//! Flow: the target stage is found, and from there every stage it needs; instructions that only say something about the
//! image fold into its config, those that make files become vertices. Base images are asked for by name: as long as some
//! are unknown the answer is [`Planned::Needs`], and whoever plans finds them and asks again.
//!
//! Invariants: pure, no disk and no network; what the target does not reach is not planned. Every complaint names the
//! words it is about.
//!
//! Not here: parsing (`dockerfile`), doing (`solve`, `exec`).
#![warn(clippy::wildcard_enum_match_arm)]

mod base;
mod config;
mod contexts;
mod copy;
mod dump;
mod epoch;
mod history;
mod lint;
mod lower;
mod mode;
mod mount;
mod origin;
mod outline;
mod path;
mod refusal;
mod scope;
mod settings;
mod stage;
mod target;
mod url;

pub use epoch::{EPOCH_ARG, parse_epoch};
pub use lint::{Findings, Hidden, config as lint_config, lint};
pub use outline::{Outline, OutlineArg, OutlineMount, Target, outline, targets};
pub use settings::HostnameError;
pub use url::{name_in_url, without_password};

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::dockerfile::{Diagnostic, Dockerfile, ParseErrors, Span, nearest};
use crate::graph::{Graph, NetworkMode, Ulimit, VertexId};
use crate::image::{Config, Digest, HistoryEntry, Platform};
use stage::Planner;

/// What the user wants besides the Dockerfile.
#[derive(Debug, Clone)]
pub struct Request {
    pub build_args: BTreeMap<String, String>,
    /// A stage's name or number; the last one if none.
    pub target: Option<String>,
    pub platform: Platform,
    /// Whether the user has named that platform. If so, the image says that it is of it, whatever its base is of.
    pub is_platform_given: bool,
    /// Where it is built.
    pub build_platform: Platform,
    /// Set after everything the Dockerfile says.
    pub labels: Vec<(String, String)>,
    /// What steps may ask for that others must not.
    pub entitlements: BTreeSet<Entitlement>,
    /// Names that stand for something else than the image, or than the stage, of that name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Of RUN instructions that name none.
    pub network: NetworkMode,
    /// Names that `/etc/hosts` of every step knows.
    pub extra_hosts: Vec<String>,
    /// Limits of the processes of every step.
    pub ulimits: Vec<Ulimit>,
    /// What is done anew, whatever earlier builds have left.
    pub anew: Anew,
}

/// Which RUN, COPY and ADD are done anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Anew {
    #[default]
    Nothing,
    Everything,
    /// Those of stages with these names, in whatever case.
    Stages(Vec<String>),
}

/// Something that is allowed on the command line only, whatever a Dockerfile says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`
    NetworkHost,
    /// `RUN --security=insecure`
    SecurityInsecure,
    /// `RUN --device`, whatever the device.
    AnyDevice,
    /// `RUN --device` of this name.
    Device(String),
}

impl Entitlement {
    /// Those that need no further word.
    pub const PLAIN: [Self; 3] = [Self::NetworkHost, Self::SecurityInsecure, Self::AnyDevice];

    /// As BuildKit calls it.
    pub fn name(&self) -> String {
        match self {
            Self::NetworkHost => "network.host".to_owned(),
            Self::SecurityInsecure => "security.insecure".to_owned(),
            Self::AnyDevice => "device".to_owned(),
            Self::Device(name) => format!("device={name}"),
        }
    }
}

impl FromStr for Entitlement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(device) = text.strip_prefix("device=").filter(|device| !device.is_empty()) {
            return Ok(Self::Device(device.to_owned()));
        }
        Self::PLAIN.into_iter().find(|known| known.name() == text).ok_or_else(|| {
            let kind = text.split_once('=').map_or(text, |(kind, _)| kind);
            let list = "network.host, security.insecure, device and device=NAME";
            match kind {
                "ssh" | "fs" | "fs.read" | "fs.write" => {
                    format!("the entitlement {kind} is not supported: only {list} are")
                }
                _ => {
                    let near = nearest(text, ["network.host", "security.insecure", "device"]);
                    let near = near.map(|near| format!(" (did you mean {near}?)"));
                    format!("there is no such entitlement{}: {list} are", near.unwrap_or_default())
                }
            }
        })
    }
}

/// What a named context is, as far as planning goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedContext {
    /// An image, which is asked for by the name that [`context_key`] makes of the context's.
    Image,
    /// Files outside the graph: a [`crate::graph::ContextOp`] of the context's name.
    Files,
    /// No files at all.
    Nothing,
}

/// What the build context is called among the contexts; no named one has this name.
pub const MAIN_CONTEXT: &str = "context";

/// A base image that has been found.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// As progress shows it.
    pub name: String,
    /// Of what the name leads to in a registry, where that is known.
    pub digest: Option<Digest>,
    pub config: Config,
}

/// An image that a Dockerfile asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedImage {
    /// As the Dockerfile writes it, expanded.
    pub name: String,
    pub platform: Platform,
}

/// The images found so far.
pub type BaseImages = BTreeMap<WantedImage, BaseImage>;

/// What an image that is a named context is called among the images: as no image can be, and no Dockerfile can write it.
pub fn context_key(name: &str) -> String {
    format!("context {name}")
}

/// How far planning got.
#[derive(Debug)]
pub enum Planned {
    /// These images have to be known first; each with the place that names it.
    Needs(BTreeMap<WantedImage, Span>),
    Ready(Box<Plan>),
}

/// What to do, and what the image will be.
#[derive(Debug)]
pub struct Plan {
    pub graph: Graph,
    /// The root file system of the image; none for an image without files.
    pub target: Option<VertexId>,
    /// Diff ids, history and the time of creation are filled in when the layers are known.
    pub config: Config,
    /// What the target stage adds to the history of its base, in order.
    pub history: Vec<HistoryItem>,
    /// The time that the image is to be of, in seconds since 1970, whenever it is built.
    pub epoch: Option<i64>,
    /// What is built, in the order of the file.
    pub stages: Vec<PlannedStage>,
}

/// A stage that the target needs, or the target itself.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    pub index: usize,
    /// As progress shows it.
    pub name: String,
    pub vertex: Option<VertexId>,
    pub is_target: bool,
}

/// An entry of the history, and the step whose layer it stands for.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    pub entry: HistoryEntry,
    pub layer: Option<VertexId>,
}

/// Adds to the errors of a file that cannot be parsed what is wrong between the instructions that can.
pub fn look_further(mut errors: ParseErrors, request: &Request) -> ParseErrors {
    let Some(file) = errors.rest.take() else { return errors };
    let images = BaseImages::new();
    let mut planner = Planner::new(&file, request, &images, None);
    match target::find(&file, request.target.as_deref()) {
        Ok(target) => drop(planner.build(target)),
        Err(error) => planner.errors.push(error),
    }
    errors.errors.append(&mut planner.errors);
    stage::sort(&mut errors.errors);
    errors
}

/// Plans the build of the target stage. Everything is told that is wrong, whatever else is; only if nothing is, what is
/// not executed yet.
pub fn plan(file: &Dockerfile, request: &Request, images: &BaseImages) -> Result<Planned, Vec<Diagnostic>> {
    let mut planner = Planner::new(file, request, images, None);
    let target = match target::find(file, request.target.as_deref()) {
        Ok(target) => target,
        Err(error) => {
            planner.errors.push(error);
            return Err(planner.into_errors());
        }
    };
    let built = planner.build(target);
    if !planner.errors.is_empty() {
        return Err(planner.into_errors());
    }
    if !planner.later.is_empty() {
        stage::sort(&mut planner.later);
        return Err(planner.later);
    }
    if !planner.missing.is_empty() {
        return Ok(Planned::Needs(planner.missing));
    }
    let mut config = built.config;
    if request.is_platform_given {
        config.make_for(&request.platform);
    }
    config.normalize_platform();
    config.config.labels.extend(request.labels.iter().cloned());
    let stages = planner.built.iter().map(|(index, built)| PlannedStage {
        index: *index,
        name: planner.stage_label(*index),
        vertex: built.vertex,
        is_target: *index == target,
    });
    let stages = stages.collect();
    Ok(Planned::Ready(Box::new(Plan {
        target: built.vertex,
        config,
        history: built.history,
        epoch: planner.epoch,
        stages,
        graph: planner.graph,
    })))
}
