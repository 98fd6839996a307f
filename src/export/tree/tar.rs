//! One tar of all files, owners as in the image. The same files give the same bytes.

use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, major, minor};

use super::{LeftOut, Tree};
use crate::export::ExportError;
use crate::layer::Shown;
use crate::layer::tar_writer::{Entry, Kind, TarWriter};
use crate::sys::At;

/// Writes the tar to a stream, which errors call by its name.
pub fn write(tree: &Tree, to: impl Write, name: &Path) -> Result<LeftOut, ExportError> {
    let mut tar = TarWriter::new(to);
    let mut left_out = LeftOut::default();
    tree.each(|shown| {
        if shown.kind() == FileType::Socket {
            left_out.sockets += 1;
            return Ok(());
        }
        write_entry(tree, shown, &mut tar, name)
    })?;
    tar.finish().and_then(|mut to| to.flush()).at("write", name)?;
    Ok(left_out)
}

fn write_entry<W: Write>(
    tree: &Tree,
    shown: &Shown<'_>,
    tar: &mut TarWriter<W>,
    name: &Path,
) -> Result<(), ExportError> {
    let mut path = shown.path.as_os_str().as_bytes().to_owned();
    let number = shown.stat.st_rdev;
    let target;
    let kind = match (&shown.first, shown.kind()) {
        (Some(first), _) => Kind::HardLink { target: first.as_os_str().as_bytes() },
        (None, FileType::RegularFile) => Kind::File { size: shown.size() },
        (None, FileType::Directory) => {
            path.push(b'/');
            Kind::Directory
        }
        (None, FileType::Symlink) => {
            target = shown.link_target()?;
            Kind::Symlink { target: target.as_os_str().as_bytes() }
        }
        (None, FileType::Fifo) => Kind::Fifo,
        (None, FileType::CharacterDevice) => {
            Kind::CharacterDevice { major: major(number), minor: minor(number) }
        }
        (None, FileType::BlockDevice) => Kind::BlockDevice { major: major(number), minor: minor(number) },
        (None, FileType::Socket | FileType::Unknown) => return Ok(()),
    };
    let xattrs = if shown.first.is_none() { shown.attributes()? } else { Vec::new() };
    let entry = Entry {
        path: &path,
        kind,
        mode: shown.mode(),
        uid: shown.stat.st_uid,
        gid: shown.stat.st_gid,
        mtime: tree.time_of(shown).0,
        xattrs: &xattrs,
    };
    tar.entry(&entry).at("write", name)?;
    if let Kind::File { size } = kind {
        tar.content(&mut shown.open()?, size).at("write", name)?;
    }
    Ok(())
}
