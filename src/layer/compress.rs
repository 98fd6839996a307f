//! Compression on all cores, with the same result on any number of them: blocks of fixed size, each a gzip member of
//! its own, in order.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use libdeflater::{CompressionLvl, Compressor};

/// A larger block compresses a little better; a smaller one spreads short layers over more cores.
pub(super) const BLOCK: usize = 1 << 20;

/// The level that gzip itself takes by default: smaller than zlib's at the same number, and twice as fast.
const LEVEL: i32 = 6;

/// Compresses blocks from a channel into a writer.
pub(super) fn gzip(blocks: Receiver<std::sync::Arc<[u8]>>, to: &mut impl Write) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // Bounds the memory: at most this many blocks are on their way, compressed or not.
    let (done_sender, done) = sync_channel::<(u64, Vec<u8>)>(workers);
    let numbered = Mutex::new(blocks.into_iter().zip(0_u64..));
    thread::scope(|scope| {
        for _ in 0..workers {
            let done = done_sender.clone();
            scope.spawn(|| compress_blocks(&numbered, done));
        }
        drop(done_sender);
        write_in_order(done, to)
    })
}

fn compress_blocks(
    numbered: &Mutex<impl Iterator<Item = (std::sync::Arc<[u8]>, u64)>>,
    done: SyncSender<(u64, Vec<u8>)>,
) {
    let level = CompressionLvl::new(LEVEL).expect("the level is one of libdeflate's");
    let mut compressor = Compressor::new(level);
    loop {
        let next = numbered.lock().expect("no holder of the lock panics").next();
        let Some((block, number)) = next else { return };
        let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
        let length = compressor.gzip_compress(&block, &mut member).expect("the buffer has the bound's size");
        member.truncate(length);
        if done.send((number, member)).is_err() {
            // The writer failed and says so itself.
            return;
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
