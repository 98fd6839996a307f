//! Layers as such: that what is packed comes out again as it was, that foreign tars are understood, and that bad ones are refused.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod change;
mod damaged;

mod foreign;
mod handmade;
mod inside;
mod listing;
mod round_trip;
mod tools;
mod tree;
mod world;
