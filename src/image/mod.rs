//! Images as plain values: what an image is, with no idea of where it lives.
//!
//! Flow: a [`Reference`] names an image, a [`Manifest`] lists its blobs, a [`Config`] says how to run it, and
//! [`validate`] checks that the three agree. Three digests are kept apart by type: a [`Digest`] is of bytes as they
//! are stored or sent (usually compressed), a [`DiffId`] is of a layer's uncompressed tar, an [`ImageId`] is of a config.
//!
//! Invariants: everything here is pure; serialised forms are stable (sorted maps, fixed field order), because their
//! bytes are hashed. Documents that came from elsewhere are forwarded as their original bytes, never re-serialised.
//!
//! Not here: storing (`store`), moving (`registry`), making layers (`layer`).

mod config;
mod digest;
mod history;
mod layer_source;
mod manifest;
mod platform;
mod reference;
mod time;
mod validate;

pub use config::{Config, DEFAULT_PATH, Healthcheck, Keys, RootFs, RunConfig};
pub use digest::{DiffId, Digest, DigestError, Hasher, ImageId};
pub use history::{HISTORY_COMMENT, HistoryEntry};
pub use layer_source::LayerSource;
pub use manifest::{
    Annotations, Codec, Compression, Descriptor, Document, Form, Index, MAX_DOCUMENT, Manifest,
    ManifestError, Packing, annotation, media_type,
};
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_REGISTRY, Reference, ReferenceError};
pub use time::Timestamp;
pub use validate::{Flaw, chain_id, validate};
