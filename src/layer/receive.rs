//! Layers of images as they arrive: kept as blobs, decompressed, checked and unpacked at the same time.

use std::io::{self, Read, Write};

use super::decompress::Decompressed;
use super::error::LayerError;
use super::unpack::unpack;
use crate::image::{Descriptor, DiffId, Digest, Hasher};
use crate::store::{BlobWriter, SnapshotId, Store, StoreError};
use crate::sys::IoError;

/// Unpacks a layer while it arrives, and keeps its blob; with the size of its tar. Nothing is left when it was not the
/// layer.
pub fn receive(
    store: &Store,
    layer: &Descriptor,
    diff_id: DiffId,
    from: impl Read,
) -> Result<(SnapshotId, u64), LayerError> {
    let workspace = store.workspace()?;
    let directory = workspace.directory("diff")?;
    let size = arrive(store, layer, from, |arriving| unpack_checked(arriving, layer, diff_id, &directory))?;
    Ok((store.adopt_snapshot(&directory)?, size))
}

/// Keeps a layer as a blob while it arrives, and returns the size of its tar. Nothing is left when it was not the layer.
pub fn receive_blob(
    store: &Store,
    layer: &Descriptor,
    diff_id: DiffId,
    from: impl Read,
) -> Result<u64, LayerError> {
    arrive(store, layer, from, |arriving| check_layer(arriving, layer, diff_id))
}

/// Whether a stream is a layer; returns the size of its tar.
pub fn check_layer(mut from: impl Read, layer: &Descriptor, diff_id: DiffId) -> Result<u64, LayerError> {
    let (size, found) =
        read_tar(&mut from, layer, |tar| io::copy(tar, &mut io::sink()).map_err(LayerError::Tar))?;
    if found == diff_id { Ok(size) } else { Err(LayerError::DiffId { expected: diff_id, found }) }
}

/// Keeps a blob while something reads it.
fn arrive<R: Read, T>(
    store: &Store,
    layer: &Descriptor,
    from: R,
    read: impl FnOnce(&mut Arriving<'_, R>) -> Result<T, LayerError>,
) -> Result<T, LayerError> {
    let mut arriving = Arriving { from, blob: store.blobs().writer()?, failed: None };
    let result = read(&mut arriving);
    // Also after an error: a blob that is not what it should be is the better explanation.
    let rest = io::copy(&mut arriving, &mut io::sink());
    if let Some(source) = arriving.failed {
        return Err(IoError { operation: "write", path: "layer blob".into(), source }.into());
    }
    rest.map_err(LayerError::Tar)?;
    let blob = arriving.blob.finish();
    if blob.digest() != layer.digest {
        return Err(StoreError::Digest { expected: layer.digest, found: blob.digest() }.into());
    }
    let value = result?;
    blob.keep()?;
    Ok(value)
}

/// Unpacks a layer that is in the store already.
pub fn unpack_blob(
    store: &Store,
    layer: &Descriptor,
    diff_id: DiffId,
) -> Result<(SnapshotId, u64), LayerError> {
    let mut reading = Hashing::new(store.blobs().open(&layer.digest)?);
    let workspace = store.workspace()?;
    let directory = workspace.directory("diff")?;
    let unpacked = unpack_checked(&mut reading, layer, diff_id, &directory);
    io::copy(&mut reading, &mut io::sink()).map_err(LayerError::Tar)?;
    check(&layer.digest, reading.hasher)?;
    let size = unpacked?;
    Ok((store.adopt_snapshot(&directory)?, size))
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
) -> Result<u64, LayerError> {
    set_root_mode(directory)?;
    let (size, found) = read_tar(from, layer, |tar| {
        unpack(&mut *tar, directory)?;
        // What follows the end of the archive belongs to the diff id, too.
        io::copy(tar, &mut io::sink()).map_err(LayerError::Tar)?;
        Ok(tar.length)
    })?;
    if found == diff_id { Ok(size) } else { Err(LayerError::DiffId { expected: diff_id, found }) }
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

/// Reads a layer's tar to its end, and says what layer it is.
fn read_tar<R: Read, T>(
    from: R,
    layer: &Descriptor,
    read: impl FnOnce(&mut Hashing<Decompressed<R>>) -> Result<T, LayerError>,
) -> Result<(T, DiffId), LayerError> {
    if layer.compression().is_none() {
        return Err(LayerError::MediaType(layer.media_type.clone()));
    }
    let mut tar = Hashing::new(Decompressed::new(from).map_err(LayerError::Tar)?);
    let result = read(&mut tar)?;
    Ok((result, DiffId(tar.hasher.finish())))
}

struct Hashing<R> {
    from: R,
    hasher: Hasher,
    length: u64,
}

impl<R> Hashing<R> {
    fn new(from: R) -> Self {
        Self { from, hasher: Hasher::new(), length: 0 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.length += length as u64;
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
