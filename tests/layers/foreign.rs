//! Layers as other programs have written them over the years.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rbuild::image::{Descriptor, DiffId, Digest, media_type};
use rbuild::layer::{check_layer, pack, unpack};

use crate::handmade::Tar;
use crate::inside::is_inside;
use crate::world::World;

/// A layer that was unpacked.
struct Unpacked {
    world: World,
    root: PathBuf,
}

impl Unpacked {
    #[track_caller]
    fn of(tar: &[u8]) -> Self {
        let world = World::new();
        let root = world.directory("layer");
        unpack(tar, &root).unwrap();
        Self { world, root }
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root.join(path)).unwrap()
    }

    /// What it is as a layer: the names in its tar above `below`.
    fn names_above(&self, below: &[&str]) -> Vec<String> {
        let lower = self.world.directory("lower");
        for name in below {
            let place = lower.join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, "below").unwrap();
        }
        let mut tar = Vec::new();
        pack(&self.root, &[lower], None, &mut tar).unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().unwrap();
        entries.map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap()).collect()
    }

    fn names(&self) -> Vec<String> {
        self.names_above(&[])
    }
}

#[test]
fn names_may_begin_and_end_as_they_like() {
    if !is_inside("foreign::names_may_begin_and_end_as_they_like") {
        return;
    }
    // GNU tar and umoci begin with `./`, kaniko with `/`; some leave directories out, or the slash behind them.
    let tar = Tar::default()
        .directory("./")
        .directory("./a/")
        .file("./a/one", b"1")
        .directory("/b")
        .file("/b//two", b"2")
        .file("c/left/out/three", b"3")
        .directory("d/.")
        .file("d/./four/", b"4");
    let layer = Unpacked::of(&tar.finish());
    let expected =
        ["a/", "a/one", "b/", "b/two", "c/", "c/left/", "c/left/out/", "c/left/out/three", "d/", "d/four"];
    assert_eq!(layer.names(), expected);
    assert_eq!(layer.text("d/four"), "4");
}

#[test]
fn the_last_entry_of_a_name_counts() {
    if !is_inside("foreign::the_last_entry_of_a_name_counts") {
        return;
    }
    let at = |time| move |header: &mut tar::Header| header.set_mtime(time);
    let tar = Tar::default()
        .directory("d/")
        .file("d/kept", b"kept")
        .entry_with("d/", b'5', "", b"", |header| {
            header.set_mode(0o700);
            header.set_mtime(7);
        })
        .file("f", b"first")
        .entry_with("f", b'0', "", b"last", at(8))
        .file("file-then-directory", b"")
        .directory("file-then-directory/")
        .file("file-then-directory/x", b"x")
        .directory("directory-then-file/")
        .file("directory-then-file/x", b"x")
        .file("directory-then-file", b"file")
        .symlink("link-then-directory", "d")
        .directory("link-then-directory/")
        .file("link-then-directory/x", b"x");
    let layer = Unpacked::of(&tar.finish());
    let expected = [
        "d/",
        "d/kept",
        "directory-then-file",
        "f",
        "file-then-directory/",
        "file-then-directory/x",
        "link-then-directory/",
        "link-then-directory/x",
    ];
    assert_eq!(layer.names(), expected);
    assert_eq!((layer.stat("d").mode() & 0o7777, layer.stat("d").mtime()), (0o700, 7));
    assert_eq!((layer.text("f"), layer.stat("f").mtime()), ("last".to_owned(), 8));
}

#[test]
fn hard_links_may_come_before_what_they_name() {
    if !is_inside("foreign::hard_links_may_come_before_what_they_name") {
        return;
    }
    let tar = Tar::default()
        .link("a/first", "./z/target")
        .link("b", "/z/target")
        .link("replaced", "z/target")
        .file("z/target", b"shared")
        .link("z/after", "z/target")
        .file("replaced", b"own");
    let layer = Unpacked::of(&tar.finish());
    let inode = |path: &str| layer.stat(path).ino();
    for name in ["a/first", "b", "z/after"] {
        assert_eq!(inode(name), inode("z/target"), "{name}");
    }
    assert_eq!(layer.text("replaced"), "own");
}

#[test]
fn whiteouts_may_stand_anywhere() {
    if !is_inside("foreign::whiteouts_may_stand_anywhere") {
        return;
    }
    let below = ["d/old", "d/both", "e/old", "gone", "back"];
    let tar = Tar::default()
        .directory("d/")
        .file("d/before", b"")
        .file("d/both", b"new")
        .file("d/.wh..wh..opq", b"")
        .file("d/after", b"")
        .file("e/.wh..wh..opq", b"")
        .file("e/new", b"")
        .file("/.wh.gone", b"")
        // As kaniko and BuildKit do for what was replaced.
        .file(".wh.back", b"")
        .directory("back/")
        .file("back/x", b"");
    let layer = Unpacked::of(&tar.finish());
    let expected = [
        ".wh.gone",
        "back/",
        "back/x",
        "d/",
        "d/.wh.old",
        "d/after",
        "d/before",
        "d/both",
        "e/",
        "e/.wh.old",
        "e/new",
    ];
    let mut names = layer.names_above(&below);
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn what_aufs_kept_for_itself_is_left_out() {
    if !is_inside("foreign::what_aufs_kept_for_itself_is_left_out") {
        return;
    }
    let tar = Tar::default()
        .directory(".wh..wh.aufs")
        .directory(".wh..wh.orph/")
        .directory(".wh..wh.plnk/")
        .file(".wh..wh.plnk/123.456", b"shared")
        .link("one", ".wh..wh.plnk/123.456")
        .link("d/two", ".wh..wh.plnk/123.456")
        .file("d/.wh..wh.odd/x", b"");
    let layer = Unpacked::of(&tar.finish());
    assert_eq!(layer.names(), ["d/", "d/two", "one"]);
    assert_eq!(layer.stat("one").ino(), layer.stat("d/two").ino());
    assert_eq!(layer.text("one"), "shared");
}

#[test]
fn numbers_come_in_many_forms() {
    if !is_inside("foreign::numbers_come_in_many_forms") {
        return;
    }
    let binary = |number: i128, width: usize| {
        let mut field = number.to_be_bytes()[16 - width..].to_vec();
        field[0] |= 0x80;
        field
    };
    let tar = Tar::default()
        .entry_with("binary", b'0', "", b"12345", |header| {
            let header = header.as_old_mut();
            header.mtime.copy_from_slice(&binary(-1, 12));
            header.size.copy_from_slice(&binary(5, 12));
            header.uid.copy_from_slice(&binary(1234, 8));
        })
        .entry_with("far", b'0', "", b"", |header| {
            header.as_old_mut().mtime.copy_from_slice(&binary(10_000_000_000, 12));
        })
        // Blanks before and after, and no zero at the end.
        .entry_with("blanks", b'0', "", b"", |header| {
            header.as_old_mut().mode.copy_from_slice(b"   600 \0");
            header.as_old_mut().mtime.copy_from_slice(b"     0000017");
        })
        .pax(&[("mtime", "-1.5"), ("atime", "1.5"), ("ctime", "2"), ("uname", "r"), ("comment", "none")])
        .file("records", b"")
        .pax(&[("mtime", "5"), ("mtime", "6.25")])
        .file("twice", b"")
        .global(&[("comment", "0123456789012345678901234567890123456789"), ("mtime", "1")])
        .file("after-global", b"");
    let layer = Unpacked::of(&tar.finish());
    let time = |path: &str| (layer.stat(path).mtime(), layer.stat(path).mtime_nsec());
    assert_eq!(time("binary"), (-1, 0));
    assert_eq!(layer.text("binary"), "12345");
    assert_eq!(time("far"), (10_000_000_000, 0));
    assert_eq!((time("blanks"), layer.stat("blanks").mode() & 0o7777), ((15, 0), 0o600));
    assert_eq!(time("records"), (-2, 500_000_000));
    assert_eq!(time("twice"), (6, 250_000_000));
    assert_eq!(time("after-global"), (1_000_000_000, 0));
}

#[test]
fn attributes_come_in_two_forms() {
    if !is_inside("foreign::attributes_come_in_two_forms") {
        return;
    }
    let records = [
        ("SCHILY.xattr.user.plain", "1\n2"),
        ("LIBARCHIVE.xattr.user.plain", "MQoy"),
        ("LIBARCHIVE.xattr.user.b%3Dc", "AP8"),
    ];
    let tar = Tar::default()
        .pax(&records)
        .file("f", b"")
        .pax(&[("SCHILY.xattr.user.overlay.opaque", "y")])
        .directory("d");
    let layer = Unpacked::of(&tar.finish());
    let value = |path: &str, name: &str| {
        let mut value = Vec::with_capacity(100);
        let found =
            rustix::fs::getxattr(layer.root.join(path), name, rustix::buffer::spare_capacity(&mut value));
        found.is_ok().then_some(value)
    };
    assert_eq!(value("f", "user.plain").unwrap(), b"1\n2");
    assert_eq!(value("f", "user.b=c").unwrap(), b"\0\xff");
    assert_eq!(value("d", "user.overlay.opaque"), None, "a tar does not speak for an overlay");
}

#[test]
fn compressed_streams_come_in_pieces() {
    let tar = Tar::default().file("f", &[b'x'; 3000]).file("g", b"y").finish();
    let (one, two) = tar.split_at(1700);
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    // Passed over by decoders: estargz and zstd:chunked put their tables of contents into such frames.
    let skipped = [&b"\x53\x2a\x4d\x18"[..], &4_u32.to_le_bytes(), b"skip"].concat();
    let (gz, zst) = (media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD);
    let streams = [
        ("members", gz, [gzip(one), gzip(two)].concat()),
        ("empty members", gz, [gzip(b""), gzip(one), gzip(b""), gzip(two), gzip(b"")].concat()),
        ("frames", zst, [zstd(one), zstd(two)].concat()),
        ("skipped frames", zst, [&skipped[..], &zstd(one), &skipped, &zstd(two), &skipped].concat()),
        ("zstd that is called gzip", gz, zstd(&tar)),
        ("gzip that is called plain", media_type::OCI_LAYER, gzip(&tar)),
        ("plain that is called gzip", media_type::DOCKER_LAYER_GZIP, tar.clone()),
    ];
    for (what, kind, blob) in streams {
        let descriptor = Descriptor::new(kind, Digest::of(&blob), blob.len() as u64);
        let size = check_layer(&blob[..], &descriptor, DiffId(Digest::of(&tar)));
        assert_eq!(size.unwrap_or_else(|error| panic!("{what}: {error}")), tar.len() as u64, "{what}");
    }
}
