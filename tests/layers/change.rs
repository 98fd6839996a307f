//! What a step might do to a tree.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{FileType, Mode};

use crate::tree::{self, Content, Kind, Plan};

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Add(Plan),
    Remove(usize),
    /// Something else takes its place.
    Replace(usize, Plan),
    /// Owner, mode, attributes and time.
    Decorate(usize, Plan),
    /// Its mode is set to what it is.
    Touch(usize),
    Write(usize, Content),
    /// The same bytes and time again, in a new file.
    Rewrite(usize),
    /// To another name; no directory, of which overlays refuse it.
    Rename(usize, Plan),
}

pub(crate) fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let plan = || tree::plans(2).prop_filter_map("no plan", |mut plans| plans.pop());
    let which = any::<usize>;
    let change = prop_oneof![
        3 => plan().prop_map(Change::Add),
        2 => which().prop_map(Change::Remove),
        2 => (which(), plan()).prop_map(|(which, plan)| Change::Replace(which, plan)),
        1 => (which(), plan()).prop_map(|(which, plan)| Change::Decorate(which, plan)),
        2 => which().prop_map(Change::Touch),
        2 => (which(), tree::content()).prop_map(|(which, content)| Change::Write(which, content)),
        1 => which().prop_map(Change::Rewrite),
        1 => (which(), plan()).prop_map(|(which, plan)| Change::Rename(which, plan)),
    ];
    vec(change, 0..most)
}

/// Everything in a tree, directories first where asked for; the root is the first of them.
fn places(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut all) = (vec![root.to_owned()], Vec::new());
    let mut next = 0;
    while next < directories.len() {
        let mut inner: Vec<_> =
            fs::read_dir(&directories[next]).unwrap().map(|entry| entry.unwrap().path()).collect();
        inner.sort();
        for place in inner {
            if kind(&place) == FileType::Directory {
                directories.push(place.clone());
            }
            all.push(place);
        }
        next += 1;
    }
    (directories, all)
}

fn kind(place: &Path) -> FileType {
    FileType::from_raw_mode(rustix::fs::lstat(place).unwrap().st_mode)
}

pub(crate) fn apply(root: &Path, changes: &[Change]) {
    for change in changes {
        let (directories, all) = places(root);
        let pick = |which: usize| all.get(which % all.len().max(1)).cloned();
        let at =
            |plan: &Plan| directories[plan.directory % directories.len()].join(OsStr::from_bytes(&plan.name));
        match change {
            Change::Add(plan) => add(&at(plan), plan, &all),
            Change::Remove(which) => pick(*which).iter().for_each(|place| remove(place)),
            Change::Replace(which, plan) => {
                if let Some(place) = pick(*which) {
                    remove(&place);
                    let others: Vec<PathBuf> =
                        all.iter().filter(|other| !other.starts_with(&place)).cloned().collect();
                    add(&place, plan, &others);
                }
            }
            Change::Decorate(which, plan) => {
                if let Some(place) = pick(*which) {
                    tree::decorate(&place, &plan.about);
                    tree::set_time(&place, plan.about.time);
                }
            }
            Change::Touch(which) => {
                if let Some(place) = pick(*which).filter(|place| kind(place) != FileType::Symlink) {
                    let mode = rustix::fs::lstat(&place).unwrap().st_mode;
                    rustix::fs::chmod(&place, Mode::from_raw_mode(mode & 0o7777)).unwrap();
                }
            }
            Change::Write(which, content) => {
                if let Some(place) = pick(*which).filter(is_plain_file) {
                    keeping_mode(&place, |file| content.write(file));
                }
            }
            Change::Rewrite(which) => {
                if let Some(place) = pick(*which).filter(is_plain_file) {
                    rewrite(&place);
                }
            }
            Change::Rename(which, plan) => {
                let to = at(plan);
                if let Some(place) = pick(*which).filter(|place| kind(place) != FileType::Directory)
                    && to.symlink_metadata().is_err()
                {
                    fs::rename(place, to).unwrap();
                }
            }
        }
    }
}

/// An empty file may stand for a device.
fn is_plain_file(place: &PathBuf) -> bool {
    let stat = rustix::fs::lstat(place).unwrap();
    kind(place) == FileType::RegularFile && stat.st_size > 0
}

fn add(place: &Path, plan: &Plan, others: &[PathBuf]) {
    let others: Vec<PathBuf> =
        others.iter().filter(|other| kind(other) != FileType::Directory).cloned().collect();
    if place.as_os_str().len() < 3000 && tree::create(place, &plan.kind, &others) {
        tree::decorate(place, &plan.about);
        if !matches!(plan.kind, Kind::Link(_)) {
            tree::set_time(place, plan.about.time);
        }
    }
}

fn remove(place: &Path) {
    match kind(place) {
        FileType::Directory => fs::remove_dir_all(place).unwrap(),
        _ => fs::remove_file(place).unwrap(),
    }
}

fn rewrite(place: &Path) {
    let (bytes, stat) = (fs::read(place).unwrap(), rustix::fs::lstat(place).unwrap());
    keeping_mode(place, |file| {
        file.set_len(0).unwrap();
        file.write_all(&bytes).unwrap();
    });
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap();
    tree::set_time(place, (stat.st_mtime, nanoseconds));
}

/// Whose writing takes the setgid bit away, an overlay and the file system below it do not always agree about.
fn keeping_mode(place: &Path, write: impl FnOnce(&mut File)) {
    let mut file = OpenOptions::new().write(true).open(place).unwrap();
    let mode = rustix::fs::fstat(&file).unwrap().st_mode;
    write(&mut file);
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).unwrap();
}
