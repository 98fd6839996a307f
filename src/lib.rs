//! rbuild: a rootless, daemonless image builder.

pub mod build;
pub mod cache;
pub mod cli;
pub mod container;
pub mod context;
pub mod dockerfile;
pub mod event;
pub mod exec;
pub mod export;
pub mod graph;
pub mod image;
pub mod layer;
pub mod plan;
pub mod registry;
pub mod sandbox;
pub mod snapshot;
pub mod solve;
pub mod store;
pub mod sys;
pub mod ui;
