//! Walking a directory of a tree through its filters.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::ignore::{Ignore, Inherited};
use super::lexical::{as_path, join, join_into};
use super::tree::{Entry, Tree};
use crate::sys::rooted::{self, read_wanted_entries};
use crate::sys::{At, IoError};

/// The entries below a directory that pass the filters, sorted by name as bytes, parents first. A directory that does
/// not pass appears all the same if something below it does, just before it.
#[derive(Debug)]
pub struct Walk<'a> {
    filters: [Filter<'a>; 3],
    tree: &'a Tree,
    frames: Vec<Frame>,
    ready: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
enum Filter<'a> {
    /// The tree's own, which sees paths from the root of the tree; the others see them from the start of the walk.
    Ignore(&'a Ignore),
    Include(Option<&'a Ignore>),
    Exclude(Option<&'a Ignore>),
}

#[derive(Debug)]
struct Frame {
    /// None when the walk went so deep below that it gave the descriptor back.
    fd: Option<Arc<OwnedFd>>,
    names: std::vec::IntoIter<rooted::Entry>,
    paths: Paths,
    /// What the directory hands down, for each filter.
    inherited: [Inherited; 3],
    /// The directory's own entry, as long as nothing below it has passed.
    pending: Option<Entry>,
}

#[derive(Debug, Clone)]
struct Paths {
    from_start: Vec<u8>,
    from_root: Vec<u8>,
}

/// A walk deeper than this gives descriptors back: a hostile tree must not use them all up.
const OPEN_DIRECTORIES: usize = 128;

impl<'a> Walk<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        start: &Entry,
        include: Option<&'a Ignore>,
        exclude: Option<&'a Ignore>,
    ) -> Result<Self, IoError> {
        let filters = [Filter::Ignore(tree.ignore()), Filter::Include(include), Filter::Exclude(exclude)];
        let paths = Paths { from_start: Vec::new(), from_root: start.place.inside.clone() };
        let mut inherited = filters.map(|filter| filter.enter(&Inherited::default(), &paths));
        inherited[0] = tree.ignore().enter_along(&paths.from_root);
        let mut walk = Self { filters, tree, frames: Vec::new(), ready: VecDeque::new() };
        walk.open(start, paths, inherited)?;
        Ok(walk)
    }

    /// Takes the walk one name further.
    fn step(&mut self) -> Result<(), IoError> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let Some(listed) = frame.names.next() else {
            self.frames.pop();
            return Ok(());
        };
        let paths = frame.paths.below(listed.name.as_encoded_bytes());
        let passes = passes(&self.filters, &frame.inherited, &paths);
        let fd = match &frame.fd {
            Some(fd) => fd,
            None => frame.fd.insert(Arc::new(self.tree.reopen(&frame.paths.from_root)?)),
        };
        let Some(mut entry) = self.tree.entry(fd, paths.from_root.clone())? else { return Ok(()) };
        entry.path = as_path(&paths.from_start).to_owned();
        if entry.metadata.kind != FileType::Directory {
            if passes {
                self.flush();
                self.ready.push_back(entry);
            }
            return Ok(());
        }
        let mut index = 0;
        let inherited = self.filters.map(|filter| {
            let handed_down = filter.enter(&frame.inherited[index], &paths);
            index += 1;
            handed_down
        });
        if self.filters.iter().zip(&inherited).any(|(filter, down)| filter.prunes(down, &paths)) {
            return Ok(());
        }
        match self.open(&entry, paths, inherited) {
            Ok(()) => {}
            // A hidden directory may well be one that is not for us to read.
            Err(error) if !passes && error.errno() == Some(Errno::ACCESS) => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.pending = Some(entry);
        }
        if passes {
            self.flush();
        }
        Ok(())
    }

    fn open(&mut self, entry: &Entry, paths: Paths, inherited: [Inherited; 3]) -> Result<(), IoError> {
        let file = entry.open_directory()?;
        let mut below = paths.clone();
        // What neither passes nor has anything below it is not worth a look.
        let names = read_wanted_entries(&file, |name, kind| {
            kind == FileType::Directory || {
                below.become_below(&paths, name);
                passes(&self.filters, &inherited, &below)
            }
        });
        let names = names.at("read directory", entry.place.shown())?.into_iter();
        let fd = Some(Arc::new(OwnedFd::from(file)));
        self.frames.push(Frame { fd, names, paths, inherited, pending: None });
        if let Some(index) = self.frames.len().checked_sub(OPEN_DIRECTORIES + 1) {
            self.frames[index].fd = None;
        }
        Ok(())
    }

    /// Something has passed: now its parents belong to the walk.
    fn flush(&mut self) {
        self.ready.extend(self.frames.iter_mut().filter_map(|frame| frame.pending.take()));
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, IoError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            if self.frames.is_empty() {
                return None;
            }
            if let Err(error) = self.step() {
                self.frames.clear();
                return Some(Err(error));
            }
        }
    }
}

fn passes(filters: &[Filter<'_>; 3], inherited: &[Inherited; 3], paths: &Paths) -> bool {
    filters.iter().zip(inherited).all(|(filter, up)| filter.passes(up, paths))
}

impl Filter<'_> {
    fn passes(&self, inherited: &Inherited, paths: &Paths) -> bool {
        match self {
            Filter::Ignore(rules) => !rules.hides(inherited, &paths.from_root),
            Filter::Include(Some(rules)) => rules.hides(inherited, &paths.from_start),
            Filter::Exclude(Some(rules)) => !rules.hides(inherited, &paths.from_start),
            Filter::Include(None) | Filter::Exclude(None) => true,
        }
    }

    fn enter(&self, inherited: &Inherited, paths: &Paths) -> Inherited {
        match self {
            Filter::Ignore(rules) => rules.enter(inherited, &paths.from_root),
            Filter::Include(Some(rules)) | Filter::Exclude(Some(rules)) => {
                rules.enter(inherited, &paths.from_start)
            }
            Filter::Include(None) | Filter::Exclude(None) => Inherited::default(),
        }
    }

    /// Whether nothing below the directory can pass.
    fn prunes(&self, handed_down: &Inherited, paths: &Paths) -> bool {
        match self {
            Filter::Ignore(rules) => rules.prunes(handed_down, &paths.from_root),
            Filter::Include(Some(rules)) => !rules.reaches(handed_down, &paths.from_start),
            Filter::Exclude(Some(rules)) => rules.prunes(handed_down, &paths.from_start),
            Filter::Include(None) | Filter::Exclude(None) => false,
        }
    }
}

impl Paths {
    fn below(&self, name: &[u8]) -> Self {
        Self { from_start: join(&self.from_start, name), from_root: join(&self.from_root, name) }
    }

    /// Becomes what a name of a directory is; nothing is allocated for each.
    fn become_below(&mut self, directory: &Self, name: &[u8]) {
        join_into(&mut self.from_start, &directory.from_start, name);
        join_into(&mut self.from_root, &directory.from_root, name);
    }
}
