//! Where build inputs come from, and what they contain.
//!
//! Flow: a [`LocalContext`] is a [`Tree`]: a directory seen through an [`Ignore`] file. (A stage or image is a tree too,
//! with its owners kept and nothing ignored.) A [`Selector`] is one source of COPY; what it selects in a tree is a list of
//! [`Source`]s, whose entries a copier creates elsewhere and [`fingerprint`] turns into the content part of a cache key.
//!
//! Invariants: nothing is read from outside a tree's root, whatever links say and however the tree changes meanwhile;
//! what is ignored is absent for every caller; fingerprints are BuildKit's, bit for bit, and depend on names, modes,
//! owners and bytes, never on times.
//!
//! Not here: copying (`exec`), and where what is [remembered](Remembered) lies on disk (`store`; `build` brings them together).

mod dir;
mod file_system;
mod fingerprint;
mod glob;
mod hashing;
mod ignore;
mod known;
mod lexical;
mod pattern;
mod remembered;
mod select;
mod state;
mod suggest;
mod taken;
mod tree;
mod walk;

pub use dir::{ContextError, IgnoreFrom, LocalContext, NO_FILES};
pub use file_system::FileSystem;
pub use fingerprint::{Listed, Look, fingerprint, look};
pub use glob::{Glob, Malformed, has_wildcard};
pub use hashing::Buffers;
pub use ignore::{Ignore, IgnoreError, Inherited, Rule};
pub use known::{KnownDigests, Origin};
pub use pattern::PathPattern;
pub use remembered::{Forgetful, Remembered, StatKey};
pub use select::{HiddenBy, Parents, SelectError, Selector, Source};
pub use state::{State, all_states, state};
pub use taken::{Taken, Taking};
pub use tree::{Entry, Instant, Metadata, Owner, Tree};
pub use walk::Walk;
