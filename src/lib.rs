//! rbuild: a rootless, daemonless image builder.

pub mod context;
pub mod event;
pub mod image;
pub mod sys;
