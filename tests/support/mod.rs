//! What the tests that run the real program share: a small world per test, a registry, base images, explained skips.
//!
//! Flow: [`TestEnv::new`] makes the world, [`TestEnv::rbuild`] runs the program in it, [`Output`] asserts,
//! [`Registry::start`] is somewhere to push to, [`Image::fetch`] reads back what arrived, without rbuild's own registry code.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "every test crate uses its own part of this module"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail, and says so on stderr")]

mod base;
pub(crate) mod certificates;
mod disk;
mod env;
mod file_server;
pub(crate) mod git;
mod handmade;
mod host;
pub(crate) mod http;
mod image;
mod output;
mod processes;
mod registry;
pub(crate) mod skip;
mod tree;
mod vectors;

pub(crate) use base::BaseImage;
pub(crate) use disk::Disk;
pub(crate) use env::{Rbuild, TestEnv, binary, copy_tree, source_directory};
pub(crate) use file_server::{FileServer, Served};
pub(crate) use git::{COMMITTED, GitDaemon, GitServer, Repository, git_world};
pub(crate) use handmade::{Layer, layout_by_hand, push_by_hand, push_index};
pub(crate) use host::{has_subuid_range, is_installed, is_root, user_name};
pub(crate) use image::{Entry, Image, Kind, entries};
pub(crate) use output::{Finished, Output};
pub(crate) use processes::{is_gone, mark, processes, started};
pub(crate) use registry::{Demands, PASSWORD, Registry, USER};
pub(crate) use skip::{require_busybox, require_tool, skip};
pub(crate) use tree::{assert_tree, lay, tar, tree};
pub(crate) use vectors::Vector;
