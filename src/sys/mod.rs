//! Thin safe wrappers over the kernel, and the only home of `unsafe`.
//!
//! Each file is about one kernel subject. What rustix offers is used as it is; what it lacks stands here.
//!
//! Not here: policy. Nothing in this module knows images, Dockerfiles or the store.

mod error;
pub mod rooted;

pub use error::{At, IoError};
