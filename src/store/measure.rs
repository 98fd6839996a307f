//! How much of the disk trees take.

use std::collections::HashMap;
use std::ffi::OsString;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::sys::rooted::read_entries;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// As many directories wait for whoever is free; what is found beyond that is gone into at once. It is also how many are
/// open beside those that are looked into.
const WAITING: usize = 16;
/// More threads than that would wait for each other.
const MOST_THREADS: usize = 8;

/// What a tree takes on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Size {
    /// What only this tree has, a file with several names once.
    pub own: u64,
    /// Files that have names elsewhere, too, and their bytes.
    pub shared: Vec<(Identity, u64)>,
}

impl Size {
    /// With what other trees have, too.
    pub(super) fn total(&self) -> u64 {
        self.own + self.shared.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// What each tree takes on disk. None where one cannot be read: its files belong to ids that this process has not, or it
/// has just been taken away.
///
/// Who prunes a store waits for this, and it is nothing but calls into the kernel: all processors take part.
pub(super) fn tree_sizes(trees: &[(PathBuf, Links)]) -> Vec<Option<Size>> {
    let trees: Vec<Tree> = trees.iter().map(|(path, links)| Tree::new(path, *links)).collect();
    let tasks =
        (0..trees.len()).map(|tree| Task { tree, parent: None, name: trees[tree].path.clone().into() });
    let work = Work {
        trees: &trees,
        queue: Mutex::new(Queue { tasks: tasks.collect(), busy: 0 }),
        news: Condvar::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread can be had, this one does it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || work.take_part());
        }
        work.take_part();
    });
    trees.iter().map(Tree::size).collect()
}

/// The bytes that one file takes on disk; none if it is not there.
pub(super) fn file_size(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::symlink_metadata(path).ok()?.blocks() * 512)
}

/// What files with several names count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Once, and by themselves where not all names are in the tree.
    Once,
    /// Another tree has them, too, and counts them.
    Skipped,
}

/// A directory that nobody looks into yet.
struct Task {
    tree: usize,
    /// None for the top of a tree, whose name is a path.
    parent: Option<Arc<OwnedFd>>,
    name: OsString,
}

struct Queue {
    tasks: Vec<Task>,
    /// How many threads may still find more.
    busy: usize,
}

struct Work<'a> {
    trees: &'a [Tree],
    queue: Mutex<Queue>,
    /// That there is something to do, or nothing any more.
    news: Condvar,
}

impl Work<'_> {
    /// Does what there is to do until nothing is left.
    fn take_part(&self) {
        while let Some(task) = self.next() {
            let tree = &self.trees[task.tree];
            if self.look_into(&task, tree).is_err() {
                tree.failed.store(true, Ordering::Relaxed);
            }
            let mut queue = self.queue();
            queue.busy -= 1;
            if queue.busy == 0 && queue.tasks.is_empty() {
                self.news.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if let Some(task) = queue.tasks.pop() {
                queue.busy += 1;
                return Some(task);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn look_into(&self, task: &Task, tree: &Tree) -> rustix::io::Result<()> {
        let directory = match &task.parent {
            Some(parent) => openat(parent, &task.name, DIRECTORY, Mode::empty())?,
            None => {
                let top = openat(CWD, &task.name, DIRECTORY, Mode::empty())?;
                tree.add(&fstat(&top)?);
                top
            }
        };
        let below = tree.directory(&directory)?;
        if below.is_empty() {
            return Ok(());
        }
        let mut queue = self.queue();
        if queue.tasks.len() >= WAITING {
            drop(queue);
            return below
                .into_iter()
                .try_for_each(|name| tree.walk(openat(&directory, name, DIRECTORY, Mode::empty())?));
        }
        let parent = Arc::new(directory);
        let task_of = |name| Task { tree: task.tree, parent: Some(Arc::clone(&parent)), name };
        queue.tasks.extend(below.into_iter().map(task_of));
        self.news.notify_all();
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Linked {
    bytes: u64,
    /// Those that the tree has not shown.
    other_names: u64,
}

struct Tree {
    path: PathBuf,
    links: Links,
    bytes: AtomicU64,
    /// Files with several names.
    linked: Mutex<HashMap<Identity, Linked>>,
    failed: AtomicBool,
}

impl Tree {
    fn new(path: &Path, links: Links) -> Self {
        let (bytes, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { path: path.to_owned(), links, bytes, linked: Mutex::default(), failed }
    }

    fn size(&self) -> Option<Size> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let mut size = Size { own: self.bytes.load(Ordering::Relaxed), shared: Vec::new() };
        for (identity, linked) in self.linked().iter() {
            match linked.other_names {
                0 => size.own += linked.bytes,
                _ => size.shared.push((*identity, linked.bytes)),
            }
        }
        Some(size)
    }

    fn linked(&self) -> MutexGuard<'_, HashMap<Identity, Linked>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds all that is below a directory.
    ///
    /// Trees can be deeper than there are descriptors and longer than paths can be: one directory is open at a time, and
    /// the way back is `..`, which leads where it should because snapshots do not change.
    fn walk(&self, top: OwnedFd) -> rustix::io::Result<()> {
        let mut current = top;
        // What is still to be gone into, level by level.
        let mut pending = vec![self.directory(&current)?];
        while let Some(level) = pending.last_mut() {
            match level.pop() {
                Some(name) => {
                    current = openat(&current, name, DIRECTORY, Mode::empty())?;
                    pending.push(self.directory(&current)?);
                }
                None => {
                    pending.pop();
                    if !pending.is_empty() {
                        current = openat(&current, "..", DIRECTORY, Mode::empty())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds what is in a directory; returns the directories in it.
    fn directory(&self, directory: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
        let (mut below, mut bytes) = (Vec::new(), 0);
        for entry in read_entries(directory)? {
            let stat = match statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                answer => answer?,
            };
            if entry.kind != FileType::Directory && stat.st_nlink > 1 {
                self.add_name(&stat);
                continue;
            }
            bytes += blocks(&stat);
            if entry.kind == FileType::Directory {
                below.push(entry.name);
            }
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(below)
    }

    /// Adds one of several names of a file.
    fn add_name(&self, stat: &Stat) {
        if self.links == Links::Once {
            let mut linked = self.linked();
            let new = Linked { bytes: blocks(stat), other_names: stat.st_nlink };
            let file = linked.entry((stat.st_dev, stat.st_ino)).or_insert(new);
            file.other_names = file.other_names.saturating_sub(1);
        }
    }

    fn add(&self, stat: &Stat) {
        self.bytes.fetch_add(blocks(stat), Ordering::Relaxed);
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_size(path: &Path, links: Links) -> Option<u64> {
        let size = tree_sizes(&[(path.to_owned(), links)]).pop().unwrap()?;
        assert!(size.shared.is_empty());
        Some(size.own)
    }

    #[test]
    fn files_that_other_trees_have_too_are_told_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let trees = ["a", "b"].map(|name| dir.path().join(name));
        trees.iter().for_each(|tree| std::fs::create_dir(tree).unwrap());
        let alone = tree_size(&trees[0], Links::Once).unwrap();
        std::fs::write(trees[0].join("shared"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(trees[0].join("shared"), trees[0].join("again")).unwrap();
        std::fs::hard_link(trees[0].join("shared"), trees[1].join("shared")).unwrap();
        let sizes = tree_sizes(&trees.clone().map(|tree| (tree, Links::Once)));
        let sizes: Vec<Size> = sizes.into_iter().map(Option::unwrap).collect();
        assert_eq!(sizes[0], sizes[1]);
        let [(_, bytes)] = sizes[0].shared[..] else { panic!("{sizes:?}") };
        assert!(sizes[0].own == alone && (100_000..200_000).contains(&bytes), "{sizes:?}");
        std::fs::remove_file(trees[1].join("shared")).unwrap();
        assert_eq!(tree_size(&trees[0], Links::Once).unwrap(), alone + bytes);
    }

    #[test]
    fn files_with_several_names_count_once_and_depth_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one"), vec![1; 100_000]).unwrap();
        let alone = tree_size(dir.path(), Links::Once).unwrap();
        assert!((100_000..200_000).contains(&alone), "{alone}");
        std::fs::hard_link(dir.path().join("one"), dir.path().join("two")).unwrap();
        assert_eq!(tree_size(dir.path(), Links::Once).unwrap(), alone);
        assert!(tree_size(dir.path(), Links::Skipped).unwrap() < 100_000);
        let mut deep = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "d", Mode::from_raw_mode(0o700)).unwrap();
            deep = openat(&deep, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(openat(&deep, "end", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap());
        assert!(tree_size(dir.path(), Links::Once).unwrap() >= alone);
        crate::sys::remove_tree(&dir.path().join("d")).unwrap();
        assert_eq!(tree_size(dir.path(), Links::Once).unwrap(), alone);
        assert_eq!(tree_size(&dir.path().join("missing"), Links::Once), None);
    }

    #[test]
    fn many_trees_of_any_breadth_are_measured_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let trees: Vec<(PathBuf, Links)> =
            (0..40).map(|number| (dir.path().join(number.to_string()), Links::Once)).collect();
        for (number, (tree, _)) in trees.iter().enumerate() {
            if number == 7 {
                continue;
            }
            for inner in 0..number {
                let place = tree.join(inner.to_string()).join("deeper");
                std::fs::create_dir_all(&place).unwrap();
                std::fs::write(place.join("file"), [1; 4096]).unwrap();
            }
            std::fs::create_dir_all(tree).unwrap();
        }
        let sizes: Vec<Option<u64>> =
            tree_sizes(&trees).into_iter().map(|size| size.map(|size| size.own)).collect();
        let alone = sizes[0].unwrap();
        let each = sizes[1].unwrap() - alone;
        assert!(each >= 4096);
        for (number, size) in sizes.iter().enumerate() {
            let expected = alone + each * number as u64;
            assert_eq!(*size, (number != 7).then_some(expected), "{number}");
        }
        assert!(tree_sizes(&[]).is_empty());
    }
}
