//! Thin safe wrappers over the kernel, and the only home of `unsafe`.
//!
//! Each file is about one kernel subject. What rustix offers is used as it is; what it lacks stands here.
//!
//! Not here: policy. Nothing in this module knows images, Dockerfiles or the store.
#![allow(
    unsafe_code,
    reason = "system calls that rustix does not wrap; each block states what makes it sound"
)]

mod attribute_at;
pub mod attributes;
mod beside;
pub mod bpf;
mod crew;
pub mod disk;
mod error;
mod here;
pub mod landlock;
pub mod link_owners;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod ownership;
pub mod process;
mod removal;
pub mod rooted;
pub mod seccomp;
pub mod settlement;
pub mod socket;
mod thread;

pub use beside::Beside;
pub use crew::{Crew, Work, with_crew};
pub use error::{At, IoError};
pub use removal::remove_tree;
pub use thread::blocking;
