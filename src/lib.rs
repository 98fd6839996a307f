//! rbuild: a rootless, daemonless image builder.

pub mod dockerfile;
pub mod event;
pub mod image;
pub mod sys;
