//! Sealing: tar, diff id, compression and digest in one streaming pass over several threads.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::compress::{self, BLOCK, Block};
use super::error::LayerError;
use super::pack::pack;
use crate::image::{Codec, Descriptor, DiffId, Hasher};
use crate::store::{Following, Store};
use crate::sys::IoError;

/// Directories are gone into by recursion, as deep as paths can be long. Only what is used takes memory.
const STACK: usize = 16 << 20;

/// A directory of changes as a layer.
#[derive(Debug)]
pub struct Sealed {
    pub diff_id: DiffId,
    /// The bytes of the tar, uncompressed.
    pub size: u64,
    /// The blob in the store, when one was asked for.
    pub blob: Option<Descriptor>,
    /// How many sockets were left out; a tar has no place for them.
    pub sockets: u64,
}

/// Packs `directory`, which applies to the chain `below`; compresses it only if somebody wants the blob. Nothing in the tar is
/// newer than `latest`.
pub fn seal(
    store: &Store,
    directory: &Path,
    below: &[PathBuf],
    codec: Option<Codec>,
    latest: Option<i64>,
) -> Result<Sealed, LayerError> {
    seal_followed(store, directory, below, codec, latest, &|_| {})
}

/// Hears of a blob when its writing begins.
pub type Follow<'a> = &'a dyn Fn(Following);

/// As [`seal`], for somebody who reads the blob while it is written.
pub fn seal_followed(
    store: &Store,
    directory: &Path,
    below: &[PathBuf],
    codec: Option<Codec>,
    latest: Option<i64>,
    follow: Follow<'_>,
) -> Result<Sealed, LayerError> {
    let (hash_sender, to_hash) = sync_channel::<Block>(2);
    thread::scope(|scope| {
        let hashing = scope.spawn(move || hash(to_hash));
        let (blob, sockets) = match codec {
            None => (None, pack_into(directory, below, latest, vec![hash_sender])?),
            Some(codec) => {
                let (blob_sender, to_blob) = sync_channel(2);
                let senders = vec![hash_sender, blob_sender];
                let packing = thread::Builder::new().stack_size(STACK);
                let packing =
                    packing.spawn_scoped(scope, move || pack_into(directory, below, latest, senders));
                let packing = packing.map_err(|source| IoError {
                    operation: "start",
                    path: "packing thread".into(),
                    source,
                })?;
                let blob = write_blob(store, codec, to_blob, follow);
                // When the blob cannot be written the packer stops, too, and the writer's error says why.
                let packed = packing.join().expect("packing does not panic");
                (Some(blob?), packed?)
            }
        };
        let (diff_id, size) = hashing.join().expect("hashing does not panic");
        Ok(Sealed { diff_id, size, blob, sockets })
    })
}

/// What a tar is as a layer, and its size.
pub(super) fn hash(blocks: Receiver<Block>) -> (DiffId, u64) {
    let mut hasher = Hasher::new();
    let mut size = 0;
    for block in blocks {
        hasher.update(&block);
        size += block.len() as u64;
    }
    (DiffId(hasher.finish()), size)
}

fn pack_into(
    directory: &Path,
    below: &[PathBuf],
    latest: Option<i64>,
    to: Vec<SyncSender<Block>>,
) -> Result<u64, LayerError> {
    let mut blocks = Blocks::new(to);
    let sockets = pack(directory, below, latest, &mut blocks)?;
    blocks.send().map_err(|source| IoError { operation: "pack", path: directory.to_owned(), source })?;
    Ok(sockets)
}

pub(super) fn write_blob(
    store: &Store,
    codec: Codec,
    blocks: Receiver<Block>,
    follow: Follow<'_>,
) -> Result<Descriptor, LayerError> {
    let mut writer = store.blobs().writer()?;
    follow(writer.follow()?);
    compress::compress(codec, blocks, &mut writer).map_err(|source| IoError {
        operation: "write",
        path: "layer blob".into(),
        source,
    })?;
    let (digest, size) = writer.complete()?;
    Ok(Descriptor::new(codec.compression.layer_media_type(), digest, size))
}

/// Cuts a stream into blocks of fixed size for several readers.
pub(super) struct Blocks {
    to: Vec<SyncSender<Block>>,
    filling: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(to: Vec<SyncSender<Block>>) -> Self {
        Self { to, filling: Vec::with_capacity(BLOCK) }
    }

    /// Sends what is left; nothing comes after it.
    pub(super) fn send(&mut self) -> io::Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let block = Block::new(std::mem::replace(&mut self.filling, Vec::with_capacity(BLOCK)));
        for reader in &self.to {
            reader.send(Block::clone(&block)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        if self.filling.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
