//! Ids that the administrator lends to a user, and id maps, as files and programs write them.

use std::fmt;

use crate::sys::namespace::read_setting;

/// A run of ids outside, mapped to consecutive ids inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRange {
    pub start: u32,
    pub count: u32,
}

/// The ranges of a user, in the order of the file: `name-or-uid:start:count` a line.
pub fn parse_ranges(text: &str, user: &str, uid: u32) -> Vec<IdRange> {
    let uid = uid.to_string();
    text.lines().filter_map(|line| parse_line(line, user, &uid)).collect()
}

fn parse_line(line: &str, user: &str, uid: &str) -> Option<IdRange> {
    let mut fields = line.trim().split(':');
    let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
    let range = IdRange { start: start.parse().ok()?, count: count.parse().ok()? };
    let ours = owner == user || owner == uid;
    // A range that wraps around or is empty would make the kernel refuse the whole map.
    (ours && range.count > 0 && range.start.checked_add(range.count).is_some()).then_some(range)
}

/// The answer of `getsubids`: `0: ann 100000 65536` a line.
pub(super) fn parse_getsubids(text: &str) -> Vec<IdRange> {
    let parse_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let range = IdRange { start: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        (range.count > 0 && range.start.checked_add(range.count).is_some()).then_some(range)
    };
    text.lines().filter_map(parse_line).collect()
}

/// The first id above all that the files lend to anybody.
pub(super) fn first_free(files: &[String]) -> u32 {
    let ends = files.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let mut fields = line.trim().split(':').skip(1).map(|field| field.parse::<u32>().ok());
        fields.next()??.checked_add(fields.next()??)
    });
    // Where useradd starts, out of the way of ordinary users.
    ends.fold(100_000, u32::max)
}

/// Whether `/etc/nsswitch.conf` has lent ids come from elsewhere than the files.
pub(super) fn names_subid_source(nsswitch: &str) -> bool {
    let sources = nsswitch.lines().filter_map(|line| line.trim().strip_prefix("subid:"));
    sources.flat_map(str::split_whitespace).any(|source| source != "files")
}

/// One line of a namespace's map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IdMap {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

impl fmt::Display for IdMap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// `/proc/PID/uid_map` and `/proc/PID/gid_map`.
pub(super) fn parse_map(text: &str) -> Vec<IdMap> {
    let parse_line = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        Some(IdMap { inside: fields.next()??, outside: fields.next()??, count: fields.next()?? })
    };
    text.lines().filter_map(parse_line).collect()
}

/// How many users this process's own namespace has.
pub(super) fn owned_ids() -> u64 {
    let map = parse_map(&read_setting("/proc/self/uid_map").unwrap_or_default());
    map.iter().map(|line| u64::from(line.count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_count_by_name_or_by_id() {
        let text = "# comment\nann:100000:65536\nbob:200000:65536\n1000:300000:10\nann:bad:1\nann:1:0\nann:4294967295:2\n";
        let expected = [IdRange { start: 100_000, count: 65_536 }, IdRange { start: 300_000, count: 10 }];
        assert_eq!(parse_ranges(text, "ann", 1000), expected);
        assert_eq!(parse_ranges(text, "eve", 1), []);
    }

    #[test]
    fn free_ids_are_above_all_that_are_lent() {
        let files = ["ann:100000:65536\nbob:231072:10\n".to_owned(), "ann:5:5\n# comment\n".to_owned()];
        assert_eq!(first_free(&files), 231_082);
        assert_eq!(first_free(&[]), 100_000);
    }

    #[test]
    fn answers_of_getsubids_are_ranges() {
        let text = "0: ann 100000 65536\n1: ann 300000 10\n2: ann bad 1\n";
        let expected = [IdRange { start: 100_000, count: 65_536 }, IdRange { start: 300_000, count: 10 }];
        assert_eq!(parse_getsubids(text), expected);
        assert_eq!(parse_getsubids("Error fetching ranges\n"), []);
    }

    #[test]
    fn getsubids_is_asked_where_it_knows_more_than_the_files() {
        assert!(names_subid_source("passwd: files\nsubid: sss\n"));
        assert!(names_subid_source("subid:\tfiles sss"));
        assert!(!names_subid_source("subid: files\n"));
        assert!(!names_subid_source("#subid: sss\npasswd: sss\n"));
    }

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let text = "         0       1002          1\n         1     100000      65536\n";
        assert_eq!(
            parse_map(text),
            [
                IdMap { inside: 0, outside: 1002, count: 1 },
                IdMap { inside: 1, outside: 100_000, count: 65_536 }
            ]
        );
    }
}
