//! Ids that the administrator lends to a user: `/etc/subuid` and `/etc/subgid`.

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
}
