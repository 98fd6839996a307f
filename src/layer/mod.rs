//! Layers: between a directory of changes and the tar that images are made of.
//!
//! [`seal`] packs a directory into a deterministic tar, hashed and compressed in one pass; [`unpack`] makes a directory
//! from a tar that nobody has to trust. Both know whiteouts: in a directory a deletion is a character device 0/0 (or an
//! empty file with `user.overlay.whiteout`) and a replaced directory carries `user.overlay.opaque`; in a tar they are `.wh.` names.
//!
//! Invariants: the same directory gives the same bytes on every machine, whatever the number of cores. Nothing from a tar
//! is created, followed or changed outside the directory it is unpacked into.

mod chain;
mod compress;
pub(crate) mod content;
pub(crate) mod decompress;
mod error;
mod hard_links;
mod merge;
mod pack;
mod pax;
mod receive;
mod recognize;
mod recompress;
mod seal;
mod stack;
pub(crate) mod tar_reader;
pub(crate) mod tar_writer;
mod tree;
mod unchanged;
mod unpack;
mod writing;
mod xattrs;

pub use chain::Layers;
pub use error::LayerError;
pub use pack::pack;
pub use receive::{check_layer, receive, receive_blob, unpack_blob};
pub use recognize::is_archive;
pub use recompress::recompress;
pub use seal::{Follow, Sealed, seal, seal_followed};
pub use stack::{LayerRef, Stack};
pub use tree::{Shown, walk};
pub use unpack::unpack;
pub use writing::{assemble, root_of};
pub use xattrs::Attributes;

/// What a compressed stream holds, or the stream itself, as its first bytes say.
pub fn decompressed<R: std::io::Read>(from: R) -> std::io::Result<impl std::io::Read> {
    decompress::Decompressed::new(from)
}

/// The prefix that marks a deletion in a tar.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The entry that marks a directory as replacing the one below.
pub(crate) const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// The extended attribute with which an overlay marks the same.
pub(crate) const OPAQUE_XATTR: &str = "user.overlay.opaque";
