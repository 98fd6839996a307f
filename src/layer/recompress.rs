//! A layer in another compression: the same tar, another blob.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::decompress::Decompressed;
use super::error::LayerError;
use super::seal::{Blocks, Follow, hash, write_blob};
use crate::image::{Codec, Descriptor, DiffId};
use crate::store::Store;

/// Compresses the tar of a blob of the store anew. What the blob was said to be is checked on the way.
pub fn recompress(
    store: &Store,
    blob: &Descriptor,
    diff_id: DiffId,
    codec: Codec,
    follow: Follow<'_>,
) -> Result<Descriptor, LayerError> {
    let mut tar = Decompressed::new(store.blobs().open(&blob.digest)?).map_err(LayerError::Tar)?;
    let (hash_sender, to_hash) = sync_channel(2);
    let (blob_sender, to_blob) = sync_channel(2);
    thread::scope(|scope| {
        let hashing = scope.spawn(move || hash(to_hash));
        let reading = scope.spawn(move || -> io::Result<()> {
            let mut blocks = Blocks::new(vec![hash_sender, blob_sender]);
            io::copy(&mut tar, &mut blocks)?;
            blocks.send()
        });
        // When the blob cannot be written the reader stops, too, and the writer's error says why.
        let written = write_blob(store, codec, to_blob, follow);
        let read = reading.join().expect("decompressing does not panic");
        let written = written?;
        read.map_err(LayerError::Tar)?;
        match hashing.join().expect("hashing does not panic") {
            (found, _) if found == diff_id => Ok(written),
            (found, _) => Err(LayerError::DiffId { expected: diff_id, found }),
        }
    })
}
