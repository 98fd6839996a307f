//! rbuild: a rootless, daemonless image builder.

pub mod context;
pub mod dockerfile;
pub mod event;
pub mod image;
pub mod layer;
pub mod registry;
pub mod sandbox;
pub mod snapshot;
pub mod store;
pub mod sys;
