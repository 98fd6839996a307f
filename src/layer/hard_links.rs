//! Files with several names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};

use crate::sys::rooted::read_entries;
use crate::sys::{At, IoError};

/// The files of one layer that have several names.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    /// Where each was written first.
    first: HashMap<Identity, Vec<u8>>,
    /// How many names each has in the layer; counted when somebody has to know.
    names: Option<HashMap<Identity, u32>>,
}

/// Device and inode.
type Identity = (u64, u64);

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

impl HardLinks {
    /// The name under which a file was written already. If there is none, `name` is it from now on.
    pub(super) fn first_name(&mut self, name: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        match self.first.entry(identity(stat)) {
            Entry::Vacant(vacant) => {
                vacant.insert(name.to_owned());
                None
            }
            Entry::Occupied(first) => Some(first.get().clone()),
        }
    }

    /// Whether a file has another name in the layer whose directory is `root`. The number that the file system has does not
    /// say: names elsewhere in the store count, too.
    pub(super) fn has_other_names(&mut self, root: &Path, stat: &Stat) -> Result<bool, IoError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        if self.names.is_none() {
            let mut names = HashMap::new();
            count(
                &rustix::fs::open(root, DIRECTORY, Mode::empty()).at("open directory", root)?,
                root,
                &mut names,
            )?;
            self.names = Some(names);
        }
        Ok(self.names.as_ref().and_then(|names| names.get(&identity(stat))).is_some_and(|names| *names > 1))
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// As far down as paths can be used: who packs the layer refuses what is deeper.
fn count(directory: &OwnedFd, shown: &Path, names: &mut HashMap<Identity, u32>) -> Result<(), IoError> {
    if shown.as_os_str().len() > 2 * super::pack::LONGEST_PATH {
        return Ok(());
    }
    for entry in read_entries(directory).at("read directory", shown)? {
        if entry.kind == FileType::Directory {
            let inner = openat(directory, &entry.name, DIRECTORY, Mode::empty());
            let path = shown.join(&entry.name);
            count(&inner.at("open directory", &path)?, &path, names)?;
            continue;
        }
        let stat = statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW).at("stat", shown)?;
        if stat.st_nlink > 1 {
            *names.entry(identity(&stat)).or_default() += 1;
        }
    }
    Ok(())
}
