//! Extended attributes that belong to a layer.

use std::io;
use std::os::fd::AsFd;

use crate::sys::{attributes, ownership};

/// Names and values.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// Those of an open file or directory, sorted: capabilities, users' own, and access lists. What belongs to the overlay and to
/// the host's security modules stays behind.
pub(super) fn read_xattrs(fd: impl AsFd) -> io::Result<Attributes> {
    let mut list = Vec::with_capacity(64 << 10);
    match rustix::fs::flistxattr(&fd, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut xattrs = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| belongs_to_layer(name)) {
        let mut value = Vec::with_capacity(64 << 10);
        match rustix::fs::fgetxattr(&fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {
                let real = real_name(name);
                let is_capability = real == ownership::REAL_CAPABILITY.as_bytes();
                let value =
                    if is_capability { attributes::without_namespace(&value).into_owned() } else { value };
                xattrs.push((real.to_owned(), value));
            }
            // Gone since it was listed.
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// What a record says stands in the header.
const OWN: &[u8] = ownership::PREFIX.as_bytes();
const CAPABILITY: &[u8] = ownership::CAPABILITY.as_bytes();

/// What an attribute is called in a layer.
fn real_name(name: &[u8]) -> &[u8] {
    if name == CAPABILITY { ownership::REAL_CAPABILITY.as_bytes() } else { name }
}

fn belongs_to_layer(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        CAPABILITY => true,
        name => name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.starts_with(OWN),
    }
}
