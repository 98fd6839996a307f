//! Compression on all cores, with the same result on any number of them: blocks of fixed size, each a gzip member or a zstd
//! frame of its own, in order.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use libdeflater::{CompressionLvl, Compressor as Deflater};

use crate::image::{Codec, Compression};

/// A larger block compresses a little better; a smaller one spreads short layers over more cores.
pub(super) const BLOCK: usize = 1 << 20;
/// One for all who read it.
pub(super) type Block = Arc<Vec<u8>>;

/// The level that gzip itself takes by default: smaller than zlib's at the same number, and twice as fast.
const GZIP_LEVEL: u8 = 6;
/// What zstd itself takes by default.
const ZSTD_LEVEL: u8 = 3;

/// Compresses blocks from a channel into a writer.
pub(super) fn compress(codec: Codec, blocks: Receiver<Block>, to: &mut impl Write) -> io::Result<()> {
    match codec.compression {
        Compression::None => blocks.into_iter().try_for_each(|block| to.write_all(&block)),
        Compression::Gzip => {
            let level = codec.level.unwrap_or(GZIP_LEVEL);
            in_parallel(blocks, to, || gzip(level))
        }
        Compression::Zstd => {
            let level = codec.level.unwrap_or(ZSTD_LEVEL);
            in_parallel(blocks, to, || zstd(level))
        }
    }
}

/// Makes one block of output of one block of input.
trait Encode: FnMut(&[u8]) -> io::Result<Vec<u8>> {}
impl<F: FnMut(&[u8]) -> io::Result<Vec<u8>>> Encode for F {}

fn gzip(level: u8) -> io::Result<impl Encode> {
    let level = CompressionLvl::new(i32::from(level)).map_err(|_| io::Error::other("no such gzip level"))?;
    let mut deflater = Deflater::new(level);
    Ok(move |block: &[u8]| {
        let mut member = vec![0; deflater.gzip_compress_bound(block.len())];
        let length = deflater.gzip_compress(block, &mut member).map_err(io::Error::other)?;
        member.truncate(length);
        Ok(member)
    })
}

fn zstd(level: u8) -> io::Result<impl Encode> {
    let mut encoder = zstd::bulk::Compressor::new(i32::from(level))?;
    // As the program does it: a damaged blob is noticed also by those who do not know its digest.
    encoder.include_checksum(true)?;
    Ok(move |block: &[u8]| encoder.compress(block))
}

fn in_parallel<E: Encode>(
    blocks: Receiver<Block>,
    to: &mut impl Write,
    encoder: impl Fn() -> io::Result<E> + Sync,
) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // Bounds the memory: at most this many blocks are on their way, compressed or not.
    let (done_sender, done) = sync_channel::<(u64, Vec<u8>)>(workers);
    let numbered = Mutex::new(blocks.into_iter().zip(0_u64..));
    thread::scope(|scope| {
        let working: Vec<_> = (0..workers)
            .map(|_| {
                let done = done_sender.clone();
                let (numbered, encoder) = (&numbered, &encoder);
                scope.spawn(move || encode_blocks(numbered, encoder()?, &done))
            })
            .collect();
        drop(done_sender);
        let written = write_in_order(done, to);
        let worked = working.into_iter().map(|worker| worker.join().expect("compressing does not panic"));
        worked.fold(written, Result::and)
    })
}

fn encode_blocks(
    numbered: &Mutex<impl Iterator<Item = (Block, u64)>>,
    mut encode: impl Encode,
    done: &SyncSender<(u64, Vec<u8>)>,
) -> io::Result<()> {
    loop {
        let next = numbered.lock().expect("no holder of the lock panics").next();
        let Some((block, number)) = next else { return Ok(()) };
        if done.send((number, encode(&block)?)).is_err() {
            // The writer failed and says so itself.
            return Ok(());
        }
    }
}

fn write_in_order(done: Receiver<(u64, Vec<u8>)>, to: &mut impl Write) -> io::Result<()> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, member) in done {
        early.insert(number, member);
        while let Some(member) = early.remove(&next) {
            to.write_all(&member)?;
            next += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::layer::decompress::Decompressed;

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        let text: Vec<u8> =
            (0..BLOCK * 2 + 77).map(|index| u8::try_from(index / 100 % 251).unwrap()).collect();
        for (compression, level) in [
            (Compression::None, None),
            (Compression::Gzip, None),
            (Compression::Gzip, Some(0)),
            (Compression::Gzip, Some(9)),
            (Compression::Zstd, None),
            (Compression::Zstd, Some(19)),
        ] {
            let packed = pack(&text, Codec { compression, level });
            assert_eq!(packed, pack(&text, Codec { compression, level }), "the same bytes each time");
            let mut unpacked = Vec::new();
            Decompressed::new(&packed[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == text, "{compression:?} {level:?}");
        }
    }

    fn pack(text: &[u8], codec: Codec) -> Vec<u8> {
        let (sender, receiver) = sync_channel(2);
        let mut packed = Vec::new();
        thread::scope(|scope| {
            scope.spawn(move || {
                text.chunks(BLOCK).for_each(|block| sender.send(Block::new(block.to_vec())).unwrap());
            });
            compress(codec, receiver, &mut packed).unwrap();
        });
        packed
    }
}
