//! What a sandbox leaves running where no process namespace ends it. Runs in the child, which adopts every process of the
//! sandbox whose parent is gone (it is their subreaper), so that none gets lost.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Ends every process below this one. The working directory is /proc.
pub(super) fn kill_all() -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(1);
    loop {
        for process in descendants()? {
            // Gone meanwhile, or turned into a program of somebody else's: then there is another round, or nothing to be done.
            let _ = kill_process(process, Signal::KILL);
        }
        if !reap()? {
            return Ok(());
        }
        // One that was just starting another has made a new one since.
        std::thread::sleep(PAUSE);
    }
}

/// Takes leave of the dead. Whether there are others.
fn reap() -> io::Result<bool> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(true),
            Err(rustix::io::Errno::CHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn descendants() -> io::Result<Vec<Pid>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir(".")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((parent, number)) = number.and_then(|number| Some((parent_of(number)?, number))) {
            children.entry(parent).or_default().push(number);
        }
    }
    Ok(below(getpid().as_raw_nonzero().get(), &children).into_iter().filter_map(Pid::from_raw).collect())
}

fn parent_of(number: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("{number}/stat")).ok()?;
    parse_parent(&stat)
}

/// The second field is a name in parentheses that may contain anything; then come the state and the parent.
fn parse_parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn below(root: i32, children: &HashMap<i32, Vec<i32>>) -> Vec<i32> {
    let (mut found, mut seen) = (Vec::new(), HashSet::from([root]));
    let mut ahead = vec![root];
    while let Some(parent) = ahead.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            // Numbers are looked at one after the other, and one may be used again meanwhile.
            if seen.insert(*child) {
                found.push(*child);
                ahead.push(*child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_below_is_found_once() {
        let children = HashMap::from([(1, vec![2, 3]), (3, vec![4]), (4, vec![3, 5]), (9, vec![10])]);
        let mut found = below(1, &children);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4, 5]);
    }

    #[test]
    fn a_parent_is_read_past_any_name() {
        assert_eq!(parse_parent("7 (a) S 5 (b)) R 3 1 1"), Some(3));
        assert_eq!(parse_parent("7 (sh) S 1 7 7 0"), Some(1));
        assert_eq!(parse_parent(""), None);
    }
}
