//! rbuild: a rootless, daemonless image builder.

pub mod event;
pub mod image;
pub mod registry;
pub mod sys;
