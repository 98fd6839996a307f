use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::super::{
    Forgetful, Ignore, KnownDigests, Owner, Parents, Remembered, Selector, StatKey, Tree, fingerprint,
};
use crate::image::Digest;
use crate::sys::rooted::Root;

/// A tree of files (0644), directories (0755, with a trailing slash) and links (`name -> target`).
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(entries: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(dir.path(), 0o755);
        for (name, content) in entries {
            let path = dir.path().join(name);
            if name.ends_with('/') {
                fs::create_dir(&path).unwrap();
                mode(&path, 0o755);
            } else if let Some(target) = content.strip_prefix("-> ") {
                symlink(target, &path).unwrap();
            } else {
                fs::write(&path, content).unwrap();
                mode(&path, 0o644);
            }
        }
        Self { dir }
    }

    fn tree(&self, ignore: &str) -> Tree {
        let root = Root::open(self.dir.path()).unwrap();
        Tree::new(&root, Ignore::parse(ignore.as_bytes(), None).unwrap(), Owner::Zeroed).unwrap()
    }

    fn one(&self, source: &str, exclude: &[&str], parents: Parents) -> String {
        let exclude = Ignore::from_patterns(exclude).unwrap();
        let selector = Selector::parse(source, Some(&exclude), parents).unwrap();
        selector.fingerprint(&self.tree(""), &Forgetful).unwrap().to_string()
    }

    fn plain(&self, source: &str) -> String {
        self.one(source, &[], Parents::Drop)
    }
}

const DATA0: &str = "sha256:cd8e75bca50f2d695f220d0cb0997d8ead387e4f926e8669a92d7f104cc9885b";
const DATA1: &str = "sha256:c2b5e234f5f38fc5864da7def04782f82501a40d46192e4207d5b3f0c3c4732b";
const D0: &str = "sha256:d47454417d2c554067fbefe5f5719edc49f3cfe969c36b62e34a187a4da0cc9a";

fn d0() -> World {
    World::new(&[
        ("bar", "data1"),
        ("d0/", ""),
        ("d0/abc", "data0"),
        ("d0/def", "-> abc"),
        ("d0/ghi", "-> nosuchfile"),
        ("foo", "data0"),
    ])
}

#[test]
fn files_and_directories_have_the_digests_of_buildkit() {
    let world = d0();
    assert_eq!(world.plain("foo"), DATA0);
    assert_eq!(world.plain("/bar"), DATA1);
    assert_eq!(world.plain("d0"), D0);
    assert_eq!(world.plain("./d0/"), D0);
    assert_eq!(world.plain("d0/."), D0);
    // A link as the source is followed.
    assert_eq!(world.plain("d0/def"), DATA0);
}

#[test]
fn a_directory_of_everything_has_the_digest_of_buildkit() {
    let world = World::new(&[
        ("r/", ""),
        ("r/bar", "data1"),
        ("r/d0/", ""),
        ("r/d0/abc", "data0"),
        ("r/d0/def", "-> abc"),
        ("r/d0/ghi", "-> nosuchfile"),
        ("r/foo", "data0"),
    ]);
    let expected = "sha256:427c9cf9ae98c0f81fb57a3076b965c7c149b6b0a85625ad4e884236649a42c6";
    assert_eq!(world.plain("r"), expected);
}

#[test]
fn the_metadata_of_the_context_directory_itself_does_not_count() {
    let world = d0();
    let nothing = Digest::of(b"");
    let expected = Digest::of(format!("\0{nothing}\0bar{DATA1}\0d0{D0}\0foo{DATA0}").as_bytes()).to_string();
    assert_eq!(world.plain("."), expected);
    fs::set_permissions(world.dir.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.plain("/"), expected);
}

#[test]
fn wildcards_make_a_list() {
    let world = World::new(&[
        ("bar", "data1"),
        ("foo", "data0"),
        ("fox", "data2"),
        ("x/", ""),
        ("x/d0/", ""),
        ("x/d0/abc", "data0"),
        ("x/d0/def", "-> abc"),
        ("x/d0/ghi", "-> nosuchfile"),
        ("y1", "-> foo"),
        ("y2", "-> x/d0"),
    ]);
    let list = "sha256:0b6731924f0a32a812bf8a729202e55e54ded331f9e4ff2397f681e43694e086";
    assert_eq!(world.plain("f*"), list);
    let directory = "sha256:6b612ad5c13159112ae26357ef7bd34df29916941ba40ec2ce38dfb70c6c60c3";
    assert_eq!(world.plain("x/d?"), directory);
    // One match of the pattern's own name counts as if it had been named.
    assert_eq!(world.plain("x/d?/abc"), DATA0);
    assert_eq!(world.plain("x/d?/def"), DATA0);
    assert_eq!(world.plain("nothing*"), Digest::of(b"").to_string());
    // Links that a wildcard matches are followed, and keep their names.
    assert_eq!(world.plain("y*"), Digest::of(format!("\0y1{DATA0}\0y2{D0}").as_bytes()).to_string());
}

#[test]
fn parents_and_excludes_make_a_list() {
    let world = World::new(&[
        ("prefix/", ""),
        ("prefix/a/", ""),
        ("prefix/a/b/", ""),
        ("prefix/a/b/c/", ""),
        ("prefix/a/b/c/foo/", ""),
        ("prefix/a/b/c/foo/bar", "abc"),
        ("prefix/a/b/other", "x"),
    ]);
    let expected = "sha256:aa7448215bbf5b837b35ce64467857d8b9747965573d14d4b31b370586370971";
    assert_eq!(world.one("prefix/a/./**/foo", &[], Parents::Keep), expected);
    assert_eq!(world.one("prefix/a", &["**/other"], Parents::Drop), expected);
    assert_eq!(world.one("prefix/a", &["**"], Parents::Drop), Digest::of(b"").to_string());
}

/// What BuildKit wrote into its cache for real contexts: the record of a content digest.
fn record(content: &str) -> String {
    let joined = Digest::of(content.as_bytes());
    Digest::of(format!("{joined}@-1").as_bytes()).to_string()
}

#[test]
fn records_of_a_real_cache_are_found_again() {
    let world = World::new(&[("b", "x\n"), ("src/", ""), ("src/a", "hello\n"), ("EOT", "hi 1\n")]);
    let content = [
        ("b", "sha256:9482d408b62f5c19332e1a7a0773ce76bc50f2c7b0afb4a5a45655b703c85b03"),
        ("src", "sha256:87d462c2286fc8db6e40582691e8ccd8cac307816585a898920d05261b741dab"),
        ("EOT", "sha256:723bf435f52415b1f43beda4fab76c5430440f4e595defead665b93342a1a23a"),
    ];
    for (source, expected) in content {
        assert_eq!(world.plain(source), expected);
    }
    let b = fingerprint(&world.tree(""), &[Selector::literal(Path::new("b"))], &Forgetful).unwrap();
    assert_eq!(
        Digest::of(format!("{b}@-1").as_bytes()).to_string(),
        "sha256:c1966ecfe2047db5c3cc319ead42fe8ce32ea73b19cd0f68c2c9c90c724fa886"
    );
}

#[test]
fn records_of_a_real_cache_with_wildcards_and_excludes_are_found_again() {
    let world = World::new(&[
        ("t/", ""),
        ("t/link", "-> one.txt"),
        ("t/one.txt", "1\n"),
        ("t/two.md", "2\n"),
        ("t/u/", ""),
        ("t/u/three.txt", "3\n"),
    ]);
    fs::set_permissions(world.dir.path().join("t/u"), Permissions::from_mode(0o754)).unwrap();
    assert_eq!(
        record(&world.plain("t/*.txt")),
        "sha256:5e5e8a5155839ba1c6f0a9376e430aadc78eec268cf51f44e2cebad827b2d9cb"
    );
    assert_eq!(
        record(&world.plain("t/u")),
        "sha256:6dd5a170e35f36a0817bbc5d27b3c5cc801d1d5ebaaf257c57559f32b9ca5901"
    );
    assert_eq!(
        record(&world.one("t", &["*.md"], Parents::Drop)),
        "sha256:95b194913c32d5c2e86d499b0b88848589d9eb9384a9f5d7abf89c6295552af7"
    );
}

#[test]
fn ignored_files_do_not_count_and_times_neither() {
    let world = d0();
    let whole = |ignore| fingerprint(&world.tree(ignore), &[], &Forgetful).unwrap();
    let before = whole("noise\nd0/new");
    fs::write(world.dir.path().join("noise"), "x").unwrap();
    fs::write(world.dir.path().join("d0/new"), "x").unwrap();
    let file = fs::File::options().write(true).open(world.dir.path().join("foo")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(whole("noise\nd0/new"), before);
    assert_ne!(whole("noise"), before);
}

#[test]
fn selectors_are_sorted_and_those_covered_by_others_dropped() {
    let world = d0();
    let digest = |paths: &[&str]| {
        let selectors: Vec<_> = paths.iter().map(|path| Selector::literal(Path::new(path))).collect();
        fingerprint(&world.tree(""), &selectors, &Forgetful).unwrap()
    };
    assert_eq!(digest(&["foo", "bar"]), Digest::of(format!("{DATA1}\0{DATA0}").as_bytes()));
    assert_eq!(digest(&["d0/abc", "d0", "d0"]), digest(&["d0"]));
    assert_eq!(digest(&["/", "d0", "foo"]), digest(&[]));
}

#[test]
fn only_files_left_alone_for_a_while_are_remembered() {
    let world = d0();
    let memory = KnownDigests::nothing();
    let whole = || fingerprint(&world.tree(""), &[], &memory).unwrap();
    let before = whole();
    // Just written, so nothing is remembered yet and the change shows, even within one tick of the clock.
    fs::write(world.dir.path().join("foo"), "datax").unwrap();
    assert_ne!(whole(), before);
}

/// Knows one digest for every file.
#[derive(Debug)]
struct Planted(Digest);

impl Remembered for Planted {
    fn get(&self, _: &StatKey) -> Option<Digest> {
        Some(self.0)
    }

    fn put(&self, _: StatKey, _: Digest) {
        panic!("a known file is not read");
    }
}

#[test]
fn a_remembered_file_is_not_opened() {
    let world = d0();
    fs::set_permissions(world.dir.path().join("foo"), Permissions::from_mode(0o000)).unwrap();
    let planted = Planted(Digest::of(b"planted"));
    let selector = Selector::literal(Path::new("foo"));
    assert_eq!(selector.fingerprint(&world.tree(""), &planted).unwrap(), planted.0);
}

#[test]
fn extended_attributes_count_and_those_of_the_host_do_not() {
    let world = d0();
    let file = fs::File::open(world.dir.path().join("foo")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::fsetxattr(&file, "user.b", b"two", flags) {
        Err(rustix::io::Errno::NOTSUP) => return,
        set => set.unwrap(),
    }
    rustix::fs::fsetxattr(&file, "user.a", b"one", flags).unwrap();
    let header = "namemode420uid0gid0size5typeflag0linknameunamegnamedevmajor0devminor0";
    let expected = Digest::of(format!("{header}user.aoneuser.btwodata0").as_bytes());
    assert_eq!(world.plain("foo"), expected.to_string());
}

#[test]
fn many_files_are_hashed_by_threads_with_the_same_result() {
    let world = World::new(&[("many/", "")]);
    let mut expected = String::new();
    for number in 0..500 {
        let path = world.dir.path().join(format!("many/{number:03}"));
        fs::write(&path, "data0").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        expected.push_str(&format!("\0{number:03}{DATA0}"));
    }
    assert_eq!(world.plain("many/*"), Digest::of(expected.as_bytes()).to_string());
    fs::set_permissions(world.dir.path().join("many/250"), Permissions::from_mode(0o600)).unwrap();
    assert_ne!(world.plain("many/*"), Digest::of(expected.as_bytes()).to_string());
}

#[test]
fn a_fifo_is_hashed_without_being_opened() {
    let world = d0();
    let root = Root::open(world.dir.path()).unwrap();
    rustix::fs::mkfifoat(&root, "pipe", rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert_ne!(world.plain("."), d0().plain("."));
}

#[test]
#[ignore = "a measurement: run with --release --nocapture"]
fn fifty_thousand_small_files() {
    let world = World::new(&[]);
    for directory in 0..500 {
        let directory = world.dir.path().join(format!("dir{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..100 {
            fs::write(directory.join(format!("file{file}")), vec![b'x'; 4096]).unwrap();
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let memory = KnownDigests::nothing();
    for attempt in ["first", "remembered"] {
        let began = std::time::Instant::now();
        fingerprint(&world.tree(""), &[], &memory).unwrap();
        println!("{attempt}: {:?}", began.elapsed());
    }
    let tree = world.tree("");
    let began = std::time::Instant::now();
    let entries = tree.walk(&tree.find(Path::new("/")).unwrap().unwrap()).unwrap().count();
    println!("walk of {entries}: {:?}", began.elapsed());
}
