//! Work that is done behind a command that has ended: the same program, started once more inside the namespace, in a
//! session of its own. It removes what lies in the trash, and keeps the store within its limit. If it is killed, the
//! next build goes on with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::quantity::Bytes;
use crate::store::{Limits, PruneRequest, Store, StoreError, choose};

/// The hidden first argument.
pub const ARGUMENT: &str = "__behind";

/// Starts the work. What cannot be started is left to the next sweep.
pub(super) fn start(root: &Path, max_used: Option<Bytes>) {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rbuild").arg(ARGUMENT).arg(root).args(max_used.map(|limit| limit.0.to_string()));
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.spawn();
}

/// Does the work; nobody hears what goes wrong, and the next sweep tries again.
pub fn main(arguments: &[OsString]) -> i32 {
    // Neither the keys of a terminal nor the end of its session are for this process.
    let _ = rustix::process::setsid();
    let [root, limit @ ..] = arguments else { return 2 };
    let limit = limit.first().and_then(|limit| limit.to_str()?.parse().ok());
    i32::from(work(Path::new(root), limit).is_err())
}

fn work(root: &Path, max_used: Option<u64>) -> Result<(), StoreError> {
    let store = Store::ensure(root)?;
    if max_used.is_some()
        && let Some(collection) = store.try_collect()?
    {
        let inventory = collection.inventory()?;
        let limits = Limits { max_used, ..Limits::default() };
        let request = PruneRequest { all: true, limits, ..PruneRequest::default() };
        let choice = choose(&inventory, &request, SystemTime::now(), store.free_space()?);
        collection.remove(&inventory, &choice)?;
    }
    store.sweeping()()
}
