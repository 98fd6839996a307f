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

mod config;
mod history;
mod lower;
mod scope;
mod stage;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Diagnostic, Dockerfile};
use crate::graph::{Graph, VertexId};
use crate::image::{Config, HistoryEntry, Platform};

/// What the user wants besides the Dockerfile.
#[derive(Debug, Clone)]
pub struct Request {
    pub build_args: BTreeMap<String, String>,
    /// A stage's name or number; the last one if none.
    pub target: Option<String>,
    pub platform: Platform,
    /// Set after everything the Dockerfile says.
    pub labels: Vec<(String, String)>,
}

/// A base image that has been found.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// As progress shows it.
    pub name: String,
    pub config: Config,
}

/// The images found so far, by the name the Dockerfile uses, expanded.
pub type BaseImages = BTreeMap<String, BaseImage>;

/// How far planning got.
#[derive(Debug)]
pub enum Planned {
    /// These images have to be known first.
    Needs(BTreeSet<String>),
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
    /// Things worth a warning.
    pub warnings: Vec<Diagnostic>,
    /// Build arguments that nothing asked for.
    pub unused_build_args: Vec<String>,
}

/// An entry of the history, and the step whose layer it stands for.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    pub entry: HistoryEntry,
    pub layer: Option<VertexId>,
}

/// Plans the build of the target stage. On error nothing is planned.
pub fn plan(file: &Dockerfile, request: &Request, images: &BaseImages) -> Result<Planned, Vec<Diagnostic>> {
    let mut planner = stage::Planner::new(file, request, images).map_err(|error| vec![error])?;
    let target = target::find(file, request.target.as_deref()).map_err(|error| vec![error])?;
    let built = planner.build(target).map_err(|error| vec![error])?;
    if !planner.missing.is_empty() {
        return Ok(Planned::Needs(planner.missing));
    }
    let mut config = built.config.clone();
    for (name, value) in &request.labels {
        config.config.labels.insert(name.clone(), value.clone());
    }
    Ok(Planned::Ready(Box::new(Plan {
        target: built.vertex,
        config,
        history: built.history.clone(),
        unused_build_args: planner.unused_build_args(),
        warnings: planner.warnings,
        graph: planner.graph,
    })))
}
