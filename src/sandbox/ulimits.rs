//! Limits of single processes: whether this user may have them, and setting them. The question is asked before any
//! thread; the setting runs in the first process inside.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cgroup::LimitError;
use super::limits::{Ulimit, UlimitKind, is_within};
use super::obstacles::Remedy;
use super::steps::Step;

/// Refuses what is above this process's own hard limits, unless it may raise them: tried, and taken back.
pub(super) fn check(ulimits: &[Ulimit]) -> Result<(), LimitError> {
    for ulimit in ulimits {
        let old = getrlimit(resource(ulimit.kind));
        if let Err(error) = allow(ulimit) {
            let bound = old.maximum.map_or_else(|| "no limit".to_owned(), |bound| bound.to_string());
            return Err(LimitError {
                option: format!("--ulimit {ulimit}"),
                why: format!(
                    "it is above the hard limit of this process, {bound}, which cannot be raised ({error})"
                ),
                remedy: Some(Remedy {
                    what: format!(
                        "stay within {bound}; root may raise it, or an administrator for this user: in \
                         /etc/security/limits.conf, or by Limit{}= of the systemd unit",
                        ulimit.kind.name().to_uppercase()
                    ),
                    command: None,
                }),
            });
        }
        // Lowering it again is allowed to everybody.
        let _ = setrlimit(resource(ulimit.kind), old);
    }
    Ok(())
}

/// Raises this process's hard limit where it is too low, which may take a capability; what it can use now stays as it is.
pub(super) fn allow(ulimit: &Ulimit) -> io::Result<()> {
    let resource = resource(ulimit.kind);
    let old = getrlimit(resource);
    if is_within(ulimit.hard, old.maximum) {
        return Ok(());
    }
    Ok(setrlimit(resource, Rlimit { maximum: ulimit.hard, ..old })?)
}

/// Sets it, where it is allowed already.
pub(super) fn set(ulimit: &Ulimit) -> io::Result<()> {
    Ok(setrlimit(resource(ulimit.kind), Rlimit { current: ulimit.soft, maximum: ulimit.hard })?)
}

/// Takes back what rbuild has raised for its own sake, unless the user has set it.
pub(super) fn restore_open_files(callers: Option<u64>, steps: &[Step]) -> io::Result<()> {
    let is_set =
        |step: &Step| matches!(step, Step::SetUlimit { ulimit } if ulimit.kind == UlimitKind::Nofile);
    if steps.iter().any(is_set) {
        return Ok(());
    }
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: callers, ..limit })?)
}

fn resource(kind: UlimitKind) -> Resource {
    match kind {
        UlimitKind::Core => Resource::Core,
        UlimitKind::Cpu => Resource::Cpu,
        UlimitKind::Data => Resource::Data,
        UlimitKind::Fsize => Resource::Fsize,
        UlimitKind::Locks => Resource::Locks,
        UlimitKind::Memlock => Resource::Memlock,
        UlimitKind::Msgqueue => Resource::Msgqueue,
        UlimitKind::Nice => Resource::Nice,
        UlimitKind::Nofile => Resource::Nofile,
        UlimitKind::Nproc => Resource::Nproc,
        UlimitKind::Rss => Resource::Rss,
        UlimitKind::Rtprio => Resource::Rtprio,
        UlimitKind::Rttime => Resource::Rttime,
        UlimitKind::Sigpending => Resource::Sigpending,
        UlimitKind::Stack => Resource::Stack,
    }
}
