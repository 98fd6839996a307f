//! Whose processes a sandbox sees: its own, or where no fresh /proc can be mounted, those that rbuild sees too.
//!
//! A container around rbuild often covers parts of its /proc, and then the kernel lets nobody below it mount a whole one.
//! What is left is the container's /proc as it stands, and that shows processes by the numbers of the namespace that it was
//! made for; so the sandbox has to stay in it. This is found out by trying, in the first sandbox that fails, and remembered.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::AtFlags;
use serde::{Deserialize, Serialize};

use super::init::HARMLESS;
use crate::sys::mount::{self, Recursive};
use crate::sys::namespace::Namespaces;
use crate::sys::process::{self, Fork};
use crate::sys::{At, IoError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Processes {
    /// A namespace of its own, which ends with its first process.
    Own,
    /// Those around it. What is left of a sandbox has to be looked for.
    Shared,
}

/// What is known of this host; all sandboxes of a command share it.
#[derive(Debug, Clone, Default)]
pub struct KnownProcesses {
    are_shared: Arc<AtomicBool>,
}

/// What is said when it is found out.
pub(super) const SHARED_NOTICE: &str = "a container around this one covers parts of /proc, so that no fresh one can be \
     mounted: steps share the processes of that container, may see and end others of the same user, and what a step leaves \
     running is searched for and killed";

impl KnownProcesses {
    /// What the next sandbox should try.
    pub(super) fn expected(&self) -> Processes {
        if self.are_shared.load(Ordering::Relaxed) { Processes::Shared } else { Processes::Own }
    }

    /// Remembers that a namespace of its own is of no use. Whether that was news.
    pub(super) fn found_shared(&self) -> bool {
        !self.are_shared.swap(true, Ordering::Relaxed)
    }
}

/// What the first process says as soon as it knows.
const GOES_ON: u8 = b'.';
const COVERED: u8 = b'!';

impl Processes {
    /// Forks the first process.
    pub(super) fn fork(self) -> io::Result<Fork> {
        match self {
            Self::Own => process::fork_into(Namespaces::NEWPID),
            Self::Shared => process::fork(),
        }
    }

    /// In the first process: makes the /proc that it will have, and tells the child. It ends here if there can be none, and
    /// another one is started that shares the processes of the child.
    pub(super) fn make_proc(self, mut child: impl Write) -> Result<OwnedFd, IoError> {
        let made = match self {
            Self::Own => fresh_proc().map_err(|error| error.source),
            Self::Shared => outer_proc(),
        };
        match made {
            Err(error) if self == Self::Own && error.kind() == io::ErrorKind::PermissionDenied => {
                let told = child.write_all(&[COVERED]);
                process::exit_now(i32::from(told.is_err()));
            }
            made => {
                child.write_all(&[GOES_ON]).at("write", "sandbox socket")?;
                made.at("mount", "/proc")
            }
        }
    }

    /// In the child: whether the first process goes on, which is also for those to say who are gone.
    pub(super) fn goes_on(mut init: impl Read) -> bool {
        let mut word = [GOES_ON];
        let _ = init.read(&mut word);
        word == [GOES_ON]
    }
}

/// Shows the process namespace that this process is in, which has to be new.
pub(super) fn fresh_proc() -> Result<OwnedFd, mount::MountError> {
    mount::virtual_fs("proc", &[], HARMLESS)
}

/// The /proc that is there, with what covers parts of it: that cannot be taken away.
pub(super) fn outer_proc() -> io::Result<OwnedFd> {
    let tree = mount::clone_tree(Path::new("/proc"), Recursive::Yes)?;
    mount::set_attributes(&tree, HARMLESS, AtFlags::EMPTY_PATH | mount::RECURSIVE)?;
    Ok(tree)
}
