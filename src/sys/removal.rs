//! Removing trees, however deep: by moving what is below up, not by going down.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom, chmodat, fchmod, fstat, openat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;

use super::error::{At, IoError};
use super::ownership;
use super::rooted::read_entries;

/// Removes a file or a whole tree; one that is not there is removed already. Links are removed, not followed.
pub fn remove_tree(path: &Path) -> Result<(), IoError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // What it says for a directory.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {}
        answer => return answer.at("remove", path),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let top = match open() {
        Err(Errno::ACCESS) => rustix::fs::chmod(path, Mode::RWXU).and_then(|()| open()),
        answer => answer,
    };
    let top = top.at("open", path)?;
    make_writable(&top).at("change mode of", path)?;
    let mut moved = 0;
    loop {
        // From the beginning again, for what was moved here.
        rustix::fs::seek(&top, SeekFrom::Start(0)).at("read directory", path)?;
        let entries = read_entries(&top).at("read directory", path)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if entry.kind == FileType::Directory {
                empty_into(&top, &entry.name, &mut moved).at("remove", path.join(&entry.name))?;
            } else {
                unlink(&top, &entry.name, AtFlags::empty()).at("remove", path.join(&entry.name))?;
            }
        }
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer.at("remove", path),
    }
}

/// Removes a directory after moving the directories in it to the top.
fn empty_into(top: &OwnedFd, name: &OsString, moved: &mut u64) -> rustix::io::Result<()> {
    // Most are leaves with nothing in them by now, or nothing but files.
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(top, name, flags, Mode::empty());
    let directory = match open() {
        Err(Errno::ACCESS) => chmodat(top, name, Mode::RWXU, AtFlags::empty()).and_then(|()| open())?,
        answer => answer?,
    };
    make_writable(&directory)?;
    for entry in read_entries(&directory)? {
        if entry.kind == FileType::Directory && unlinkat(&directory, &entry.name, AtFlags::REMOVEDIR).is_err()
        {
            move_up(&directory, &entry.name, top, moved)?;
        } else if entry.kind != FileType::Directory {
            unlink(&directory, &entry.name, AtFlags::empty())?;
        }
    }
    unlink(top, name, AtFlags::REMOVEDIR)
}

fn move_up(from: &OwnedFd, name: &OsString, top: &OwnedFd, moved: &mut u64) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        match renameat_with(from, name, top, format!(".removed-{moved}"), RenameFlags::NOREPLACE) {
            // Something in the tree has that very name.
            Err(Errno::EXIST) => {}
            // Another process removes the same tree.
            Err(Errno::NOENT) => return Ok(()),
            answer => return answer,
        }
    }
}

/// Permissions hold up everybody but root, also the owner of what is being removed.
fn make_writable(directory: &OwnedFd) -> rustix::io::Result<()> {
    if !ownership::is_plain() {
        return Ok(());
    }
    let stat = fstat(directory)?;
    let is_own = stat.st_uid == rustix::process::geteuid().as_raw();
    if is_own && stat.st_mode & 0o700 != 0o700 { fchmod(directory, Mode::RWXU) } else { Ok(()) }
}

fn unlink(directory: &OwnedFd, name: &OsString, flags: AtFlags) -> rustix::io::Result<()> {
    match unlinkat(directory, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_any_depth_are_removed_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::create_dir_all(tree.join(".removed-1/x")).unwrap();
        std::fs::write(tree.join("a/b/file"), "x").unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../..", tree.join("a/out")).unwrap();
        let mut deep = rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&deep, "d", Mode::from_raw_mode(0o700)).unwrap();
            deep = openat(&deep, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && dir.path().join("kept").exists());
        remove_tree(&tree).unwrap();
        remove_tree(&dir.path().join("kept")).unwrap();
    }
}
