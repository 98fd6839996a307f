//! Invented archives, against a model of what has to come out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Archive, clean};
use crate::context::{IgnoreFrom, LocalContext};
use crate::exec::copy_tree::Copier;
use crate::exec::mode::ModeChange;
use crate::snapshot::{Draft, flatten};

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(String),
    Link {
        target: String,
        /// Whether it was there before the archive.
        below: bool,
    },
}

#[derive(Debug, Clone)]
enum Made {
    Directory,
    File,
    Symlink(&'static str),
    HardLink(&'static str),
}

/// Where archives are unpacked.
const BASE: &str = "/base";
const NAMES: [&str; 14] = [
    "a", "b", "a/b", "b/a", "a/b/c", "l", "l/a", "l/l/b", "lower", "lower/f", "/a", "./b/../a", "../a",
    "up/x",
];
const TARGETS: [&str; 10] = ["a", "b", "/a", "../..", "..", "/", "l", "lower", "lower/f", "nowhere/b"];

fn entries() -> impl Strategy<Value = Vec<(&'static str, Made)>> {
    let target = || prop::sample::select(&TARGETS[..]);
    let made = prop_oneof![
        Just(Made::Directory),
        Just(Made::File),
        target().prop_map(Made::Symlink),
        target().prop_map(Made::HardLink),
    ];
    prop::collection::vec((prop::sample::select(&NAMES[..]), made), 1..12)
}

/// What lies below, in two layers, and beside the destination what nothing may reach.
fn below(directory: &TempDir) -> [PathBuf; 2] {
    let [upper, lowest] = ["upper", "lowest"].map(|name| directory.path().join(name));
    for (layer, files) in [
        (&upper, &["base/lower/g", "base/b", "outside/kept"][..]),
        (&lowest, &["base/lower/f", "base/lower/g"]),
    ] {
        for file in files {
            fs::create_dir_all(layer.join(file).parent().unwrap()).unwrap();
            fs::write(layer.join(file), format!("{} below", file.trim_start_matches("base/"))).unwrap();
        }
    }
    symlink("../../outside", lowest.join("base/up")).unwrap();
    [upper, lowest]
}

fn tar(entries: &[(&'static str, Made)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (index, (name, made)) in entries.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        header.set_size(0);
        let content = index.to_string();
        let kind = match made {
            Made::Directory => tar::EntryType::Directory,
            Made::File => tar::EntryType::Regular,
            Made::Symlink(target) => {
                header.set_link_name_literal(target).unwrap();
                tar::EntryType::Symlink
            }
            Made::HardLink(target) => {
                header.set_link_name_literal(target).unwrap();
                tar::EntryType::Link
            }
        };
        header.set_entry_type(kind);
        let content = if matches!(made, Made::File) { content.as_bytes() } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// All that a directory shows, by absolute path.
fn shown(directory: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let place = Path::new("/").join(path.strip_prefix(directory).unwrap());
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let node = if kind.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Node::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
            Node::Link { target, below: true }
        } else {
            Node::File(fs::read_to_string(&path).unwrap())
        };
        nodes.insert(place, node);
    }
    nodes
}

/// What is there, and what becomes of it; nothing where the archive is to be refused.
struct Model(BTreeMap<PathBuf, Node>);

impl Model {
    fn unpack(&mut self, entries: &[(&'static str, Made)]) -> Option<()> {
        entries.iter().enumerate().try_for_each(|(index, (name, made))| self.entry(index, name, made))
    }

    fn entry(&mut self, index: usize, name: &str, made: &Made) -> Option<()> {
        let path = clean(Path::new(name)).ok()?;
        if path.as_os_str().is_empty() {
            return Some(());
        }
        let place = self.resolve(&path, matches!(made, Made::Directory))?;
        if place == Path::new(BASE) {
            return Some(());
        }
        for parent in place.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if !matches!(self.0.entry(parent.to_owned()).or_insert(Node::Directory), Node::Directory) {
                return None;
            }
        }
        let node = match made {
            Made::Directory if matches!(self.0.get(&place), Some(Node::Directory)) => return Some(()),
            Made::Directory => Node::Directory,
            Made::File => Node::File(index.to_string()),
            Made::Symlink(target) => Node::Link { target: (*target).to_owned(), below: false },
            Made::HardLink(target) => {
                let target = clean(Path::new(target)).ok().filter(|target| !target.as_os_str().is_empty())?;
                let found = self.resolve(&target, false)?;
                let node = self.0.get(&found)?.clone();
                match &node {
                    _ if found != place && found.starts_with(&place) => return None,
                    Node::Directory | Node::Link { below: true, .. } => return None,
                    _ if found == place => return Some(()),
                    Node::File(_) | Node::Link { .. } => node,
                }
            }
        };
        self.0.retain(|other, _| !other.starts_with(&place));
        self.0.insert(place, node);
        Some(())
    }

    /// A path of the archive, followed as a process would whose root the destination is.
    fn resolve(&self, path: &Path, follow: bool) -> Option<PathBuf> {
        let mut place = PathBuf::from(BASE);
        let mut ahead: Vec<PathBuf> = path.iter().map(PathBuf::from).collect();
        ahead.reverse();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match name.components().next()? {
                Component::ParentDir => {
                    if place != Path::new(BASE) {
                        place.pop();
                    }
                    continue;
                }
                Component::RootDir => {
                    place = PathBuf::from(BASE);
                    continue;
                }
                Component::CurDir | Component::Prefix(_) | Component::Normal(_) => {}
            }
            let next = place.join(name);
            match self.0.get(&next) {
                Some(Node::Link { target, .. }) if follow || !ahead.is_empty() => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    let target: Vec<PathBuf> = Path::new(target).iter().map(PathBuf::from).collect();
                    ahead.extend(target.into_iter().rev());
                }
                _ => place = next,
            }
        }
        Some(place)
    }
}

fn lines(nodes: &BTreeMap<PathBuf, Node>) -> Vec<String> {
    let line = |(path, node): (&PathBuf, &Node)| match node {
        Node::Directory => format!("{}/", path.display()),
        Node::File(content) => format!("{}: {content}", path.display()),
        Node::Link { target, .. } => format!("{} -> {target}", path.display()),
    };
    nodes.iter().map(line).collect()
}

fn check(entries: &[(&'static str, Made)]) {
    let directory = tempfile::tempdir().unwrap();
    let layers = below(&directory);
    let [context, workspace, before, after] =
        ["context", "workspace", "before", "after"].map(|name| directory.path().join(name));
    for path in [&context, &workspace, &before, &after] {
        fs::create_dir(path).unwrap();
    }
    fs::write(context.join("a.tar"), tar(entries)).unwrap();
    let context = LocalContext::open(&context, IgnoreFrom::Files { dockerfile: None }).unwrap();
    let archive = Archive::of(&context.tree().find(Path::new("a.tar")).unwrap().unwrap()).unwrap();
    flatten(&layers, &before).unwrap();
    let untouched = layers.each_ref().map(|layer| lines(&shown(layer)));

    let draft = Draft::create(&workspace).unwrap();
    let root = draft.merged(&layers).unwrap();
    let mut copier = Copier::new(None, ModeChange::Keep);
    let unpacked = archive.unpack(&root, Path::new(BASE), None, &mut copier);

    let mut model = Model(shown(&before));
    let expected = model.unpack(entries);
    assert_eq!(layers.each_ref().map(|layer| lines(&shown(layer))), untouched, "{entries:?}");
    assert_eq!(unpacked.is_ok(), expected.is_some(), "{entries:?}: {unpacked:?}");
    if unpacked.is_ok() {
        let [upper, lowest] = layers;
        flatten(&[draft.upper(), upper, lowest], &after).unwrap();
        assert_eq!(lines(&shown(&after)), lines(&model.0), "{entries:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn invented_archives_come_out_as_they_must(entries in entries()) {
        check(&entries);
    }
}

#[test]
fn what_a_file_hid_for_a_while_does_not_come_back() {
    check(&[("lower", Made::File), ("lower", Made::Directory), ("lower/f", Made::File)]);
    check(&[("lower/f", Made::HardLink("lower/g")), ("lower", Made::File), ("lower", Made::Directory)]);
    check(&[("l", Made::Symlink("lower")), ("l", Made::Directory), ("l", Made::File), ("l/a", Made::File)]);
}
