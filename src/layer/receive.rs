//! Layers of images as they arrive: kept as blobs, decompressed, checked and unpacked at the same time.

use std::io::{self, Read, Write};

use super::decompress::Decompressed;
use super::error::LayerError;
use super::unpack::unpack;
use crate::image::{Descriptor, DiffId, Digest, Hasher};
use crate::store::{BlobWriter, SnapshotId, Store, StoreError};
use crate::sys::IoError;

/// Unpacks a layer while it arrives, and keeps its blob. Nothing is left when it was not the layer.
pub fn receive(
    store: &Store,
    layer: &Descriptor,
    diff_id: DiffId,
    from: impl Read,
) -> Result<SnapshotId, LayerError> {
    let mut arriving = Arriving { from, blob: store.blobs().writer()?, failed: None };
    let workspace = store.workspace()?;
    let directory = workspace.directory("diff")?;
    let unpacked = unpack_checked(&mut arriving, layer, diff_id, &directory);
    // Also after an error: a blob that is not what it should be is the better explanation.
    let rest = io::copy(&mut arriving, &mut io::sink());
    if let Some(source) = arriving.failed {
        return Err(IoError { operation: "write", path: "layer blob".into(), source }.into());
    }
    rest.map_err(LayerError::Tar)?;
    arriving.blob.complete_as(&layer.digest)?;
    unpacked?;
    Ok(store.adopt_snapshot(&directory)?)
}

/// Unpacks a layer that is in the store already.
pub fn unpack_blob(store: &Store, layer: &Descriptor, diff_id: DiffId) -> Result<SnapshotId, LayerError> {
    let mut reading = Hashing { from: store.blobs().open(&layer.digest)?, hasher: Hasher::new() };
    let workspace = store.workspace()?;
    let directory = workspace.directory("diff")?;
    let unpacked = unpack_checked(&mut reading, layer, diff_id, &directory);
    io::copy(&mut reading, &mut io::sink()).map_err(LayerError::Tar)?;
    check(&layer.digest, reading.hasher)?;
    unpacked?;
    Ok(store.adopt_snapshot(&directory)?)
}

fn check(expected: &Digest, hasher: Hasher) -> Result<(), LayerError> {
    match hasher.finish() {
        found if found == *expected => Ok(()),
        found => Err(StoreError::Digest { expected: *expected, found }.into()),
    }
}

fn unpack_checked(
    from: &mut impl Read,
    layer: &Descriptor,
    diff_id: DiffId,
    directory: &std::path::Path,
) -> Result<(), LayerError> {
    set_root_mode(directory)?;
    if layer.compression().is_none() {
        return Err(LayerError::MediaType(layer.media_type.clone()));
    }
    let found = unpack_hashed(Decompressed::new(from).map_err(LayerError::Tar)?, directory)?;
    if found == diff_id { Ok(()) } else { Err(LayerError::DiffId { expected: diff_id, found }) }
}

/// What a layer that does not mention its root directory gets.
fn set_root_mode(directory: &std::path::Path) -> Result<(), IoError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).map_err(|source| IoError {
        operation: "change mode of",
        path: directory.to_owned(),
        source,
    })
}

fn unpack_hashed(tar: impl Read, directory: &std::path::Path) -> Result<DiffId, LayerError> {
    let mut hashing = Hashing { from: tar, hasher: Hasher::new() };
    unpack(&mut hashing, directory)?;
    // What follows the end of the archive belongs to the diff id, too.
    io::copy(&mut hashing, &mut io::sink()).map_err(LayerError::Tar)?;
    Ok(DiffId(hashing.hasher.finish()))
}

struct Hashing<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// A stream that is kept as it is read.
struct Arriving<'a, R> {
    from: R,
    blob: BlobWriter<'a>,
    /// Why the copy could not be written: the store's fault, not the stream's.
    failed: Option<io::Error>,
}

impl<R: Read> Read for Arriving<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if let Err(error) = self.blob.write_all(&buffer[..length]) {
            let kind = error.kind();
            self.failed.get_or_insert(error);
            return Err(kind.into());
        }
        Ok(length)
    }
}
