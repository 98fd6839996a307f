//! Copies of regular files, made by several threads at the same time.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, copy_file_range, futimens, openat};

use super::copy_tree::times;
use super::error::ExecError;
use super::sharing::{self, Sharing, Wanted};
use super::source_tree::SourceTree;
use crate::context::{Buffers, Entry, Taken, Taking, Tree};
use crate::snapshot::Opened;
use crate::sys::{At, Work, attributes, ownership};

/// What copies of files have in common.
#[derive(Default)]
pub(super) struct FileCopier {
    /// What an earlier copy has made already.
    pub(super) sharing: Option<Sharing>,
    /// The tree whose files somebody may change while they are copied.
    outside: Option<Arc<Tree>>,
    /// Whether somebody has.
    has_changed: AtomicBool,
    /// What was hashed on the way.
    pub(super) taken: Taken,
}

/// A file to be made at a place where nothing is.
pub(super) struct FileCopy {
    pub source: Entry,
    pub parent: Arc<Opened>,
    pub target: PathBuf,
    pub wanted: Wanted,
    /// What it is of; none if that is gone again soon.
    pub tree: Option<Arc<SourceTree>>,
}

/// What a thread keeps from file to file.
#[derive(Default)]
pub(super) struct Desk {
    sharing: sharing::Desk,
    buffer: Vec<u8>,
    /// Made when the first file is hashed.
    hashing: Option<Buffers>,
}

/// Larger files are copied inside the kernel, and share their blocks where the file system can do that: nobody reads them.
const SMALL: u64 = 64 << 10;
/// From here on it pays to look for the layer that has a file.
const LARGE: u64 = 1 << 20;

impl Work for FileCopier {
    type Job = FileCopy;
    type Desk = Desk;
    type Error = ExecError;

    fn bytes(&self, file: &FileCopy) -> u64 {
        file.source.metadata.size
    }

    fn work(&self, file: FileCopy, desk: &mut Desk) -> Result<(), ExecError> {
        let FileCopy { source, parent, target, wanted, .. } = &file;
        if let Some(sharing) = &self.sharing
            && sharing.take(source, *wanted, parent.fd(), target, &mut desk.sharing)
        {
            return Ok(());
        }
        let from = source.open()?;
        let to = File::from(create(&file)?);
        let taking = self.copy_bytes(&file, &from, &to, desk)?;
        let Wanted { owner, mode } = *wanted;
        let is_made = ownership::is_made_so(&to, owner.uid, owner.gid, mode).at("stat", target)?;
        if !is_made {
            ownership::chown(&to, owner.uid, owner.gid).at("change owner of", target)?;
        }
        // After the owner, a change of which clears capabilities, and before the mode, which may forbid it.
        attributes::copy(&from, &to);
        if !is_made {
            ownership::chmod(&to, mode).at("change mode of", target)?;
        }
        futimens(&to, &times(&source.metadata)).at("set times of", target)?;
        self.note(&file, &from, taking);
        Ok(())
    }
}

impl FileCopier {
    pub(super) fn new(sharing: Option<Sharing>, outside: Option<Arc<Tree>>) -> Self {
        Self { sharing, outside, ..Self::default() }
    }

    /// Whether changes of a tree's files are noticed.
    pub(super) fn watches(&self, tree: &Tree) -> bool {
        self.outside.as_ref().is_some_and(|outside| std::ptr::eq(&**outside, tree))
    }

    /// Whether all files of that tree that were copied were what they were when they were found, until they had been read.
    pub(super) fn all_were_still(&self) -> bool {
        !self.has_changed.load(Ordering::Relaxed)
    }

    /// Copies what a file has that is said to be so large; hashes it, too, if it is to be hashed and comes by here. What it gets
    /// meanwhile does not count.
    fn copy_bytes(
        &self,
        file: &FileCopy,
        from: &File,
        to: &File,
        desk: &mut Desk,
    ) -> Result<Option<Taking>, ExecError> {
        let size = file.source.metadata.size;
        let tree = file.tree.as_deref();
        if size > SMALL {
            let in_layer = tree.filter(|_| size >= LARGE).and_then(|tree| tree.open_in_layer(&file.source));
            copy_inside_kernel(in_layer.as_ref().unwrap_or(from), to, size).at("copy to", &file.target)?;
            return Ok(None);
        }
        let is_hashed = tree.is_some_and(|tree| tree.is_hashed);
        let buffers = &mut desk.hashing;
        let begin = || Taking::begin(&file.source, from, buffers.get_or_insert_default());
        let mut taking = is_hashed.then(begin).transpose()?;
        copy_by_hand(from, to, size, &mut desk.buffer, taking.as_mut()).at("copy to", &file.target)?;
        Ok(taking)
    }

    fn note(&self, file: &FileCopy, from: &File, taking: Option<Taking>) {
        if let Some(tree) = self.outside.as_ref().filter(|tree| tree.has(&file.source)) {
            if !tree.is_still(&file.source, from) {
                self.has_changed.store(true, Ordering::Relaxed);
                return;
            }
            if let Some(sharing) = &self.sharing {
                sharing.copied(&file.source, &file.target);
            }
        }
        if let (Some(taking), Some(from)) = (taking, &file.tree) {
            taking.end(&self.taken, &from.tree, &file.source);
        }
    }
}

/// Makes the file, with the permissions that it is to have where nothing speaks against it.
fn create(file: &FileCopy) -> Result<OwnedFd, ExecError> {
    let name = file.target.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Where permissions hold, they would keep attributes from being set.
    let mode = if ownership::is_plain() { 0o600 } else { file.wanted.mode & 0o777 };
    Ok(openat(file.parent.fd(), name, flags, Mode::from_raw_mode(mode)).at("create", &file.target)?)
}

fn copy_by_hand(
    mut from: &File,
    mut to: &File,
    size: u64,
    buffer: &mut Vec<u8>,
    mut taking: Option<&mut Taking>,
) -> io::Result<()> {
    buffer.resize(usize::try_from(SMALL).unwrap_or(0), 0);
    let mut left = size;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                if let Some(taking) = &mut taking {
                    taking.update(&buffer[..length]);
                }
                left = left.saturating_sub(length as u64);
                // Some files say that they are empty and are not.
                if left == 0 && size > 0 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn copy_inside_kernel(mut from: &File, mut to: &File, size: u64) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        match copy_file_range(from, None, to, None, most) {
            // It became shorter, or the kernel cannot do it here; the other way goes on at the same place.
            Ok(0) | Err(_) => return io::copy(&mut from, &mut to).map(drop),
            Ok(length) => left = left.saturating_sub(length as u64),
        }
    }
    Ok(())
}
