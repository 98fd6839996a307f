//! The digest of what a step reads from a tree: equal content, equal digest, on every machine.
//!
//! It is BuildKit's, bit for bit. A selection is hashed in one of two ways. A plain path has the digest of the entry it
//! leads to; that of a directory covers its own metadata and, child by child, names and digests. A selection through
//! wildcards, `--exclude` or `--parents` is a flat list of all entries it takes in, each with its path.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::FileType;

use super::hashing::{self, Hashing, Known};
use super::ignore::{Ignore, Inherited};
use super::lexical::{as_path, join, last};
use super::remembered::Remembered;
use super::select::{SelectError, Selector, Source};
use super::state::{State, all_states};
use super::taken::Taken;
use super::tree::{Metadata, Owner, Tree};
use crate::image::{Digest, Hasher};
use crate::sys::IoError;

/// The content digest of an input: of all that the selectors of a step select in it. Without selectors, of the whole.
pub fn fingerprint(
    tree: &Tree,
    selectors: &[Selector],
    remembered: &dyn Remembered,
) -> Result<Digest, SelectError> {
    take(tree, selectors, Known { remembered, taken: None }, None)
}

/// The same, with all that there is to be known of it. What was `taken` of the tree just now is not read once more.
pub fn look(
    tree: &Tree,
    selectors: &[Selector],
    remembered: &dyn Remembered,
    taken: Option<&Taken>,
) -> Result<Look, SelectError> {
    if selectors.is_empty() {
        return look(tree, &[Selector::literal("/".as_ref())], remembered, taken);
    }
    let mut seen = Seen { listed: Vec::new(), states: vec![None; selectors.len()] };
    let digest = take(tree, selectors, Known { remembered, taken }, Some(&mut seen))?;
    let states = seen.states.into_iter().zip(selectors);
    // What others cover was not walked through by itself.
    let states = states.map(|(state, selector)| state.map_or_else(|| selector.state(tree), Ok));
    let states = states.collect::<Result<Vec<_>, SelectError>>()?;
    Ok(Look { digest, state: all_states(states), listed: seen.listed })
}

/// What selectors select, looked at once.
#[derive(Debug)]
pub struct Look {
    /// As [`fingerprint`] has it.
    pub digest: Digest,
    /// As [`state`](super::state) had it, of each entry before it was read.
    pub state: Digest,
    pub listed: Vec<Listed>,
}

/// What is learnt on the way to a digest.
struct Seen {
    listed: Vec<Listed>,
    /// Of the selectors, in their order; none of those that others cover.
    states: Vec<Option<Digest>>,
}

/// An entry that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub path: PathBuf,
    /// As `st_mode` has it.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Of its metadata and bytes; of a directory, of its metadata alone.
    pub digest: Digest,
}

fn take(
    tree: &Tree,
    selectors: &[Selector],
    known: Known<'_>,
    mut seen: Option<&mut Seen>,
) -> Result<Digest, SelectError> {
    let whole = [Selector::literal("/".as_ref())];
    let selectors = if selectors.is_empty() { &whole } else { selectors };
    let mut text = String::new();
    for (index, selector) in without_covered(selectors) {
        if !text.is_empty() {
            text.push('\0');
        }
        let mut state = seen.is_some().then(State::begin);
        let listed = seen.as_deref_mut().map(|seen| &mut seen.listed);
        text.push_str(&selector.take(tree, known, listed, state.as_mut())?.to_string());
        if let Some(seen) = &mut seen {
            seen.states[index] = state.map(State::finish);
        }
    }
    Ok(Digest::of(text.as_bytes()))
}

/// The selectors sorted by path, each with its place in the list, without plain paths that lie below other plain paths.
fn without_covered(selectors: &[Selector]) -> Vec<(usize, &Selector)> {
    let paths: BTreeSet<&[u8]> =
        selectors.iter().filter(|selector| selector.is_plain()).map(|selector| &*selector.path).collect();
    let parents = |path: &[u8]| {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        (!path.is_empty()).then_some(0).into_iter().chain(slashes).collect::<Vec<_>>()
    };
    let mut plain = BTreeSet::new();
    let mut kept: Vec<(usize, &Selector)> = selectors
        .iter()
        .enumerate()
        .filter(|(_, selector)| {
            let path = &*selector.path;
            !selector.is_plain()
                || (plain.insert(path) && !parents(path).into_iter().any(|end| paths.contains(&path[..end])))
        })
        .collect();
    kept.sort_by_key(|(_, selector)| &selector.path);
    kept
}

impl Selector {
    /// The digest of what this selector alone selects.
    pub fn fingerprint(&self, tree: &Tree, remembered: &dyn Remembered) -> Result<Digest, SelectError> {
        self.take(tree, Known { remembered, taken: None }, None, None)
    }

    fn take(
        &self,
        tree: &Tree,
        known: Known<'_>,
        list: Option<&mut Vec<Listed>>,
        mut state: Option<&mut State>,
    ) -> Result<Digest, SelectError> {
        let sources = self.select(tree)?;
        let (listed, digests) = hashing::digests(known, tree, |hashing| {
            let list = |source| Listing::of(self, source, hashing, state.as_deref_mut());
            sources.iter().map(list).collect::<Result<Vec<_>, _>>()
        })?;
        let root =
            |source: &Source<'_>| tree.owner() == Owner::Zeroed && source.entry.path.as_os_str().is_empty();
        if let Some(list) = list {
            sources.iter().zip(&listed).for_each(|(source, listing)| listing.list(source, &digests, list));
        }
        let listed = sources.iter().zip(&listed);
        if self.is_plain() {
            let digest = listed.map(|(source, listing)| listing.contents(&digests, root(source))).next();
            // One that may lead to nothing is then as good as a wildcard that matches nothing.
            return Ok(digest.unwrap_or_else(|| self.digest_of_list(&[])));
        }
        let mut lines: Vec<(Vec<u8>, Digest)> = Vec::new();
        for (source, listing) in listed {
            let path = source.path.as_os_str().as_bytes();
            if source.linked || !source.is_directory() {
                lines.push((path.to_vec(), listing.contents(&digests, root(source))));
                continue;
            }
            // The root's own metadata never counts in a list.
            if listing.own_shown && !path.is_empty() {
                lines.push((path.to_vec(), digests[listing.own]));
            }
            lines.extend(listing.below.iter().map(|child| (join(path, &child.path), digests[child.ticket])));
        }
        Ok(self.digest_of_list(&lines))
    }

    /// Whether it selects just what a path leads to.
    pub(super) fn is_plain(&self) -> bool {
        self.path == self.prefix && self.include.is_none() && self.exclude.is_none()
    }

    fn digest_of_list(&self, lines: &[(Vec<u8>, Digest)]) -> Digest {
        if let [(path, digest)] = lines
            && last(path) == last(&self.path)
        {
            return *digest;
        }
        let mut hasher = Hasher::new();
        for (path, digest) in lines {
            let relative = path.strip_prefix(self.prefix.as_slice()).unwrap_or(path);
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            hasher.update(&key(relative));
            hasher.update(digest.to_string().as_bytes());
        }
        hasher.finish()
    }
}

/// A source with all its entries, whose digests are being taken.
struct Listing {
    own: usize,
    directory: bool,
    /// Whether a directory's own metadata belongs to the list.
    own_shown: bool,
    below: Vec<Child>,
}

struct Child {
    path: Vec<u8>,
    directory: bool,
    ticket: usize,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
}

impl Listing {
    fn of(
        selector: &Selector,
        source: &Source<'_>,
        hashing: &mut Hashing<'_, '_, '_>,
        mut state: Option<&mut State>,
    ) -> Result<Self, IoError> {
        let own = hashing.add(source.entry.clone());
        if let Some(state) = &mut state {
            state.source(source);
        }
        let mut below = Vec::new();
        for entry in source.hashed_entries()?.into_iter().flatten() {
            let entry = entry?;
            if let Some(state) = &mut state {
                state.entry(&entry.path, &entry.metadata);
            }
            let path = entry.path.as_os_str().as_bytes().to_vec();
            let directory = entry.metadata.kind == FileType::Directory;
            let Metadata { mode, uid, gid, size, .. } = entry.metadata;
            let mode = mode | entry.metadata.kind.as_raw_mode();
            below.push(Child { path, directory, ticket: hashing.add(entry), mode, uid, gid, size });
            if hashing.failed() {
                break;
            }
        }
        // A directory the filters pass over is listed all the same when something below it passes.
        let takes_in = |filter: &Ignore| filter.hides(&Inherited::default(), b"");
        let own_shown = !below.is_empty()
            || (selector.include.as_ref().is_none_or(takes_in)
                && !selector.exclude.as_ref().is_some_and(takes_in));
        Ok(Self { own, directory: source.is_directory(), own_shown, below })
    }

    fn list(&self, source: &Source<'_>, digests: &[Digest], list: &mut Vec<Listed>) {
        let path = source.path.as_os_str().as_bytes();
        let Metadata { kind, mode, uid, gid, size, .. } = source.entry.metadata;
        let (mode, digest) = (mode | kind.as_raw_mode(), digests[self.own]);
        list.push(Listed { path: source.path.clone(), mode, uid, gid, size, digest });
        list.extend(self.below.iter().map(|child| Listed {
            path: as_path(&join(path, &child.path)).to_owned(),
            mode: child.mode,
            uid: child.uid,
            gid: child.gid,
            size: child.size,
            digest: digests[child.ticket],
        }));
    }

    /// The digest of the entry: of a directory, over all that lies below.
    fn contents(&self, digests: &[Digest], root_of_local: bool) -> Digest {
        // BuildKit never learns the metadata of the directory a client sends.
        let own = if root_of_local { Digest::of(b"") } else { digests[self.own] };
        if !self.directory {
            return own;
        }
        // Directories that are not finished, from the outermost on.
        let mut open: Vec<(&[u8], Hasher)> = vec![(b"", begin(own))];
        for child in &self.below {
            while !open.last().is_some_and(|(path, _)| is_below(&child.path, path)) {
                close(&mut open);
            }
            if child.directory {
                open.push((&child.path, begin(digests[child.ticket])));
            } else if let Some((_, parent)) = open.last_mut() {
                append(parent, last(&child.path), digests[child.ticket]);
            }
        }
        while open.len() > 1 {
            close(&mut open);
        }
        open.pop().expect("the outermost is never closed").1.finish()
    }
}

/// A directory's digest begins with its own metadata.
fn begin(own: Digest) -> Hasher {
    let mut hasher = Hasher::new();
    append(&mut hasher, b"", own);
    hasher
}

fn append(parent: &mut Hasher, name: &[u8], digest: Digest) {
    parent.update(b"\0");
    parent.update(name);
    parent.update(digest.to_string().as_bytes());
}

/// Finishes the innermost directory, for its parent.
fn close(open: &mut Vec<(&[u8], Hasher)>) {
    if let Some((path, hasher)) = open.pop()
        && let Some((_, parent)) = open.last_mut()
    {
        append(parent, last(path), hasher.finish());
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// A path as a key: components, each after a NUL.
fn key(path: &[u8]) -> Vec<u8> {
    let mut key = vec![0];
    key.extend(path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }));
    key
}

#[cfg(test)]
mod tests;
