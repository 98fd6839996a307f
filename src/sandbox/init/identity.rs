//! The first process inside becomes the user that the program runs as.

use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::process::{Gid, Uid};

use super::{Init, OtherIds, StepError};
use crate::sandbox::users::{Account, find_account};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, ownership};

impl Init<'_> {
    pub(super) fn become_user(&mut self, user: &str) -> Result<(), StepError> {
        let (passwd, group) = (read_small("/etc/passwd")?, read_small("/etc/group")?);
        let account = find_account(user, &passwd, &group)?;
        let home = account.home.as_deref().unwrap_or("/");
        if !self.process.environment.iter().any(|entry| entry.starts_with("HOME=")) {
            self.process.environment.push(format!("HOME={home}"));
        }
        if self.ids == OtherIds::Missing {
            if account.uid != 0 {
                self.notice(&format!("runs as root instead of {user}: this user namespace has a single id"));
            }
            return Ok(());
        }
        if let Some(lasts) = ownership::stand_ins() {
            account.check_is_there(lasts.user, lasts.group)?;
        }
        // Pipes belong to who made them; their new user may open /dev/stdout, too.
        for stream in &self.stdio {
            let is_pipe = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
            if rustix::fs::fstat(stream).is_ok_and(is_pipe) {
                let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
                // One that comes from elsewhere may belong to nobody known here; then it stays as it is.
                let _ = rustix::fs::fchown(stream, Some(uid), Some(gid));
            }
        }
        Ok(change_ids(&account).at("become", user)?)
    }
}

/// All in one thread: the process has no other.
fn change_ids(account: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// A file of the image that is read before becoming anybody; missing is empty. It may be anything, even a fifo.
fn read_small(path: &str) -> Result<String, IoError> {
    const LIMIT: u64 = 4 << 20;
    let root = Root::open(Path::new("/"))?;
    if root.try_stat(Path::new(path))?.is_none() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    root.open_file(Path::new(path))?.take(LIMIT).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
