//! Extended attributes.

use std::borrow::Cow;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use super::ownership;

/// The kernel's bound for one attribute, and for the list of their names.
const LARGEST: usize = 64 << 10;

/// Copies attributes from one file to another. Best effort: a file system or namespace may not take them.
pub fn copy(from: impl AsFd, to: impl AsFd) {
    let mut names = Vec::with_capacity(LARGEST);
    if !flistxattr(&from, spare_capacity(&mut names)).is_ok_and(|length| length > 0) {
        return;
    }
    for name in names.split(|byte| *byte == 0).filter(|name| is_copied(name)) {
        let mut value = Vec::with_capacity(LARGEST);
        if fgetxattr(&from, name, spare_capacity(&mut value)).is_ok() {
            let _ = set(&to, name, &value);
        }
    }
}

/// Whether a file has the attributes that copying those of another one would give it. Labels are the host's and do not count;
/// capabilities may look different from what they were copied from, so a file with any is said not to have the same.
pub fn are_as_copied(from: impl AsFd, to: impl AsFd) -> bool {
    match (list(from), list(to)) {
        (Some(from), Some(to)) => from == to,
        (None, _) | (_, None) => false,
    }
}

/// The attributes that count when files are compared; none if they cannot be.
fn list(fd: impl AsFd) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = Vec::with_capacity(LARGEST);
    match flistxattr(&fd, spare_capacity(&mut names)) {
        Ok(_) | Err(Errno::NOTSUP) => {}
        Err(_) => return None,
    }
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_copied(name)) {
        let is_capability =
            [ownership::CAPABILITY, ownership::REAL_CAPABILITY].iter().any(|known| name == known.as_bytes());
        if is_capability {
            return None;
        }
        if name.starts_with(b"security.") {
            continue;
        }
        let mut value = Vec::with_capacity(LARGEST);
        fgetxattr(&fd, name, spare_capacity(&mut value)).ok()?;
        found.push((name.to_vec(), value));
    }
    found.sort_unstable();
    Some(found)
}

/// Sets an attribute, if the file system and the namespace take it. Capabilities that this process may not give are
/// remembered.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    let answer = match fsetxattr(&fd, name, value, XattrFlags::empty()) {
        Err(Errno::PERM) if name == ownership::REAL_CAPABILITY.as_bytes() => {
            fsetxattr(fd, ownership::CAPABILITY, without_namespace(value).as_ref(), XattrFlags::empty())
        }
        answer => answer,
    };
    match answer {
        Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => Ok(()),
        answer => answer,
    }
}

/// Capabilities that a program was given inside a namespace name its root at their end, seen from outside (version 3); in
/// layers, and seen from inside, they do not (version 2).
pub fn without_namespace(value: &[u8]) -> Cow<'_, [u8]> {
    match value {
        [a, b, c, 3, rest @ ..] if rest.len() == 20 => Cow::Owned([&[*a, *b, *c, 2], &rest[..16]].concat()),
        _ => Cow::Borrowed(value),
    }
}

/// What belongs to an overlay or to the store's own records stays where it is.
fn is_copied(name: &[u8]) -> bool {
    let own = name.starts_with(ownership::PREFIX.as_bytes()) && name != ownership::CAPABILITY.as_bytes();
    !name.is_empty() && !name.starts_with(b"user.overlay.") && !own
}
