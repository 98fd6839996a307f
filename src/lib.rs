//! rbuild: a rootless, daemonless image builder.

pub mod event;
pub mod image;
pub mod sandbox;
pub mod store;
pub mod sys;
