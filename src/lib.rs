//! rbuild: a rootless, daemonless image builder.
//!
//! `src/ARCHITECTURE.md` is the map. One word stands for one thing, in code, help, messages and tests:
//!
//! - **digest**: SHA-256 of bytes as they are stored or sent, usually compressed. Names a *blob*.
//! - **diff id**: the digest of a layer's tar, uncompressed. Names what a layer is, however it was compressed.
//! - **image id**: the digest of an image's config. Names the image.
//! - **layer**: what one step changed, or one entry of an image's list: a directory of changes, or the tar of it.
//! - **snapshot**: a directory of the store that holds one layer's changes and no longer changes itself.
//! - **chain**: the layers of a root file system, lowest first.
//! - **step**: what progress shows under one number: a vertex, or work around the graph such as exporting. In `sandbox`, one
//!   thing that is done to set a process apart.
//! - **stage**: one FROM of a Dockerfile and the instructions below it.
//! - **vertex**: an operation in the graph, with its inputs. Only work on files has one; ENV and its like do not.
//! - **key**: identifies what a vertex yields, before it is executed: its operation, what that reads, and its inputs' keys.
//! - **record**: a small JSON file of the store that answers one question, such as which snapshot a key has led to.
//! - **rung**: one way of isolating processes, out of those that hosts offer; the best comes first.

pub mod build;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod container;
pub mod context;
pub mod dockerfile;
pub mod event;
pub mod exec;
pub mod export;
pub mod graph;
pub mod image;
pub mod import;
pub mod layer;
pub mod plan;
pub mod registry;
pub mod sandbox;
pub mod snapshot;
pub mod solve;
pub mod store;
pub mod sys;
pub mod ui;
