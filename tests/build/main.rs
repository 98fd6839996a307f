//! End to end: the real program on the real kernel, as whoever runs the tests.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod add_archive;
mod add_url;
mod annotation;
mod bad_input;
mod cache;
mod cache_mounts;
mod check;
mod closed;
mod compression;
mod concurrency;
mod confined;
mod confinement;

mod copy;
mod copy_flags;
mod copy_metadata;
mod copy_rules;
mod debian;
mod device;
mod dump;
mod epoch;
mod failure;
mod hello;
mod heredoc;
mod hits;
mod hostile;
mod hostile_image;
mod kill;
mod layers;
mod limits;
mod link;
mod mount_keys;
mod mounts;
mod network;
mod outputs;
mod overlays;
mod ownership;
mod platform;
mod registry;
mod remembered;
mod result;
mod run;
mod rungs;
mod secrets;
mod shared_store;
mod sharing;
mod skeleton;
mod ssh;
mod stages;
mod stale;
mod unchanged;
mod users;
mod warnings;
