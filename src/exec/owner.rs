//! Owners by name or number, as `--chown` and the owner of a WORKDIR are written.

use std::io::Read;
use std::path::Path;

use super::error::ExecError;
use crate::sandbox::{UserError, find_account};
use crate::snapshot::Merged;
use crate::sys::At;

/// Who an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The owner that `--chown` means in a root file system, and `USER` for what WORKDIR makes: a name's group comes from its
/// passwd file, and a number without group is its own group's number, which it is not in a process.
pub(super) fn owner_named(text: &str, root: &Merged) -> Result<Owner, ExecError> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    // The group is looked at by the same rules as a user's own.
    match user.parse::<u32>() {
        Ok(uid) if group.is_empty() => looked_up(&format!("{uid}:{uid}"), root),
        Ok(_) | Err(_) => looked_up(text, root),
    }
}

fn looked_up(text: &str, root: &Merged) -> Result<Owner, ExecError> {
    if text.is_empty() || text == "root" || text == "0" {
        return Ok(Owner::default());
    }
    let account = find_account(text, &read(root, "/etc/passwd")?, &read(root, "/etc/group")?);
    let account = account.map_err(|error: UserError| ExecError::User(error))?;
    Ok(Owner { uid: account.uid, gid: account.gid })
}

/// A small file of an image; missing is empty. It may be anything, even a fifo.
fn read(root: &Merged, path: &str) -> Result<String, ExecError> {
    const LIMIT: u64 = 4 << 20;
    let Some(file) = root.open_file(Path::new(path))? else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
