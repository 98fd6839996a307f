//! Layers that are broken, lie or mean harm: each is refused with a word about why, and the store is as before.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rbuild::image::{Descriptor, DiffId, Digest, media_type};
use rbuild::layer::{LayerError, receive};
use rbuild::store::Store;

use crate::handmade::Tar;
use crate::inside::is_inside;
use crate::world::World;

/// A store that layers are received into.
struct Receiver {
    world: World,
    store: Store,
}

impl Receiver {
    fn new() -> Self {
        let world = World::new();
        let store = Store::ensure(&world.path("store")).unwrap();
        Self { world, store }
    }

    /// Everything that there is in the store but locks and pins of this process.
    fn content(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for directory in ["blobs", "snapshots", "records", "tmp"] {
            find(&self.world.path("store").join(directory), &mut found);
        }
        found
    }

    /// Receives what claims to be a layer.
    fn receive(
        &self,
        kind: &str,
        blob: &[u8],
        digest: Digest,
        diff_id: Digest,
    ) -> Result<PathBuf, LayerError> {
        let descriptor = Descriptor::new(kind, digest, blob.len() as u64);
        let (snapshot, _) = receive(&self.store, &descriptor, DiffId(diff_id), blob)?;
        Ok(self.store.snapshot_path(&snapshot))
    }

    /// Receives a tar that is what its digests say.
    fn take(&self, tar: &[u8]) -> Result<PathBuf, LayerError> {
        let digest = Digest::of(tar);
        self.receive(media_type::OCI_LAYER, tar, digest, digest)
    }

    #[track_caller]
    fn refuses(&self, what: &str, answer: impl FnOnce(&Self) -> Result<PathBuf, LayerError>, said: &str) {
        let before = self.content();
        match answer(self) {
            Ok(_) => panic!("{what} was taken"),
            Err(error) => assert!(error.to_string().contains(said), "{what}: {error}"),
        }
        let left: Vec<_> = self.content().difference(&before).cloned().collect();
        assert!(left.is_empty(), "{what} left {left:?}");
    }
}

/// Files, and snapshots without what is in them.
fn find(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() && !directory.ends_with("snapshots") {
            find(&entry.path(), found);
        } else if entry.file_name() != "lock" {
            found.insert(entry.path());
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn what_is_cut_or_spoilt_is_refused() {
    if !is_inside("damaged::what_is_cut_or_spoilt_is_refused") {
        return;
    }
    let receiver = Receiver::new();
    let tar = Tar::default().directory("d/").file("d/a", &noise(5000)).file("d/b", b"b").finish();
    let diff_id = Digest::of(&tar);
    let checked_zstd = {
        let mut encoder = zstd::bulk::Compressor::new(3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.compress(&tar).unwrap()
    };
    let forms = [
        (media_type::OCI_LAYER, tar.clone()),
        (media_type::OCI_LAYER_GZIP, gzip(&tar)),
        (media_type::OCI_LAYER_ZSTD, checked_zstd),
    ];
    for (kind, blob) in &forms {
        let digest = Digest::of(blob);
        for at in [0, 1, 100, 600, blob.len() / 2, blob.len() - 1] {
            let cut = &blob[..at];
            // By a connection that broke, and by somebody who made it so.
            let what = format!("{kind} cut at {at}");
            receiver.refuses(&what, |it| it.receive(kind, cut, digest, diff_id), "sha256:");
            receiver.refuses(&what, |it| it.receive(kind, cut, Digest::of(cut), diff_id), "");
            let mut spoilt = blob.clone();
            spoilt[at] ^= 0x10;
            let what = format!("{kind} with another byte at {at}");
            receiver.refuses(&what, |it| it.receive(kind, &spoilt, digest, diff_id), "sha256:");
            receiver.refuses(&what, |it| it.receive(kind, &spoilt, Digest::of(&spoilt), diff_id), "");
        }
        let longer = [&blob[..], b"more"].concat();
        receiver.refuses("what goes on", |it| it.receive(kind, &longer, digest, diff_id), "sha256:");
        let lie = Digest::of(b"another");
        receiver.refuses("another layer", |it| it.receive(kind, blob, digest, lie), &lie.to_string());
        receiver.refuses("another blob", |it| it.receive(kind, blob, lie, diff_id), &lie.to_string());
    }
    receiver.refuses("no layer", |it| it.receive("text/plain", &tar, diff_id, diff_id), "text/plain");
    for (kind, blob) in &forms {
        let there = receiver.receive(kind, blob, Digest::of(blob), diff_id).unwrap();
        assert_eq!(fs::read(there.join("d/b")).unwrap(), b"b", "the right one is taken after all of that");
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    if !is_inside("damaged::headers_that_cannot_be_are_refused") {
        return;
    }
    let receiver = Receiver::new();
    let wrong = |change: fn(&mut tar::Header)| Tar::default().entry_with("f", b'0', "", b"", change).finish();
    let mut sum = Tar::default().file("f", b"").finish();
    sum[150] ^= 1;
    let records =
        |key: &'static str, value: &'static str| Tar::default().pax(&[(key, value)]).file("f", b"").finish();
    let long = "n".repeat(5000);
    let sparse = |map: &'static str, size: &'static str| {
        let records = [("GNU.sparse.map", map), ("GNU.sparse.size", size), ("GNU.sparse.name", "s")];
        Tar::default().pax(&records).file("f", b"12345").finish()
    };
    let mut metadata = Tar::default().entry("x", b'x', "", &vec![b' '; 2 << 20]);
    metadata = metadata.file("f", b"");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a wrong sum", sum, "checksum"),
        ("a mode that is no number", wrong(|header| header.as_old_mut().mode = *b"rwxr-xr-"), "damaged"),
        ("an owner of 63 bits", wrong(|header| header.as_old_mut().uid = [0xbf; 8]), "32 bits"),
        ("a size larger than what follows", wrong(|header| header.set_size(1 << 40)), "ends in the middle"),
        ("a size of 64 bits", wrong(|header| header.as_old_mut().size = [0xff; 12]), "damaged"),
        ("a record that is no number", records("mtime", "yesterday"), "mtime"),
        ("a negative size", records("size", "-1"), "size"),
        (
            "a name longer than names are",
            Tar::default().pax(&[("path", &long)]).file("f", b"").finish(),
            "4096",
        ),
        (
            "a link longer than paths are",
            Tar::default().pax(&[("linkpath", &long)]).symlink("l", "x").finish(),
            "4096",
        ),
        (
            "a part of a name longer than 255",
            Tar::default().pax(&[("path", &long[..300])]).file("f", b"").finish(),
            "too long",
        ),
        ("no name", Tar::default().file("", b"").finish(), "path"),
        ("records of 2 MiB", metadata.finish(), "limit"),
        ("a sparse file of 8 EiB", sparse("0,5", "9223372036854775000"), "s"),
        ("a sparse file with a part beyond its end", sparse("9223372036854775000,5", "10"), "s"),
        ("an odd sparse map", sparse("0,5,7", "10"), "map"),
        ("records without a file", Tar::default().pax(&[("path", "x")]).finish(), "damaged"),
    ];
    for (what, tar, said) in &cases {
        receiver.refuses(what, |it| it.take(tar), said);
    }
}

#[test]
fn what_leads_out_is_refused() {
    if !is_inside("damaged::what_leads_out_is_refused") {
        return;
    }
    let receiver = Receiver::new();
    let outside = receiver.world.directory("outside");
    fs::write(outside.join("victim"), "whole").unwrap();
    let target = outside.to_str().unwrap();
    let victim = outside.join("victim");
    let inside = |name: &str| format!("{}/{name}", target.trim_start_matches('/'));
    let refused: Vec<(&str, Tar, &str)> = vec![
        ("dots", Tar::default().file("../outside/new", b""), "../outside/new"),
        ("dots at the end", Tar::default().directory("d/").directory("d/.."), "d/.."),
        ("a link to dots", Tar::default().link("l", "../../outside/victim"), "../../outside/victim"),
        ("a link to a path outside", Tar::default().link("l", victim.to_str().unwrap()), "not in the layer"),
        (
            "a link through a link",
            Tar::default().symlink("d", target).link("l", "d/victim"),
            "not in the layer",
        ),
        ("a link to itself", Tar::default().link("l", "l").link("m", "l"), "not in the layer"),
        ("a file through a link", Tar::default().symlink("d", target).file("d/new", b""), "d"),
        ("a file through a link to itself", Tar::default().symlink("d", "d").file("d/new", b""), "d"),
        ("a file in a file", Tar::default().file("f", b"").file("f/new", b""), "f"),
        ("a whiteout outside", Tar::default().file("../outside/.wh.victim", b""), ".wh.victim"),
    ];
    for (what, tar, said) in refused {
        receiver.refuses(what, |it| it.take(&tar.finish()), said);
    }
    // These only look as if.
    let taken: Vec<(&str, Tar, PathBuf)> = vec![
        ("absolute", Tar::default().file(&format!("{target}/new"), b""), inside("new").into()),
        (
            "a link that is replaced",
            Tar::default().symlink("l", victim.to_str().unwrap()).file("l", b"new"),
            "l".into(),
        ),
        (
            "a directory for a link",
            Tar::default().symlink("d", target).directory("d/").file("d/new", b""),
            "d/new".into(),
        ),
    ];
    for (what, tar, there) in taken {
        let layer = receiver.take(&tar.finish()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(fs::symlink_metadata(layer.join(there)).unwrap().is_file(), "{what}");
    }
    // Where it would be nothing is deleted.
    receiver.take(&Tar::default().symlink("d", target).file("d/.wh.victim", b"").finish()).unwrap();
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["victim"]);
    assert_eq!(
        (fs::read_to_string(&victim).unwrap(), fs::metadata(&victim).unwrap().len()),
        ("whole".to_owned(), 5)
    );
}

#[test]
fn a_bomb_takes_no_memory_and_leaves_no_file() {
    if !is_inside("damaged::a_bomb_takes_no_memory_and_leaves_no_file") {
        return;
    }
    let receiver = Receiver::new();
    // 1 GiB of holes is nothing; and a name for each byte that a path can have is as deep as it gets.
    let records = [("GNU.sparse.map", "0,5"), ("GNU.sparse.size", "1073741824"), ("GNU.sparse.name", "s")];
    let layer = receiver.take(&Tar::default().pax(&records).file("f", b"12345").finish()).unwrap();
    let stat = rustix::fs::stat(layer.join("s")).unwrap();
    assert_eq!(stat.st_size, 1 << 30);
    assert!(stat.st_blocks < 1000, "the holes were filled");
    let deep = "d/".repeat(2040);
    let layer = receiver.take(&Tar::default().pax(&[("path", &format!("{deep}f"))]).file("f", b"").finish());
    assert!(layer.unwrap().join("d/d/d/d").is_dir());
    // 16 MiB of zeros in 16 KiB, and then it is no tar after all.
    let mut zeros =
        Tar::default().entry_with("z", b'0', "", b"", |header| header.set_size(16 << 20)).unfinished();
    zeros.resize(zeros.len() + (16 << 20), 0);
    zeros.extend([b'x'; 512]);
    let (blob, diff_id) = (gzip(&zeros), Digest::of(&zeros));
    let digest = Digest::of(&blob);
    receiver.refuses(
        "a bomb",
        |it| it.receive(media_type::OCI_LAYER_GZIP, &blob, digest, diff_id),
        "damaged",
    );
}
