//! What the pages say, as far as a test can hold them to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A page of the repository; none while it is not written.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// The exit codes that a page lists, as rows `| 3 | ... |` under a heading cell with "exit code", or as one list
/// `Exit codes: 0 ok · 1 ...`.
pub(crate) fn exit_codes(page: &str) -> BTreeSet<u16> {
    let mut codes = BTreeSet::new();
    let mut in_table = false;
    for line in page.lines() {
        let first = line.trim().strip_prefix('|').and_then(|row| row.split('|').next()).map(str::trim);
        in_table = first.is_some_and(|cell| in_table || cell.eq_ignore_ascii_case("exit code"));
        codes.extend(first.filter(|_| in_table).and_then(|cell| cell.trim_matches('`').parse::<u16>().ok()));
    }
    if let Some((_, list)) = page.split_once("Exit codes: ") {
        let list = list.split("\n\n").next().unwrap_or_default();
        codes.extend(list.split('·').filter_map(|item| item.split_whitespace().next()?.parse::<u16>().ok()));
    }
    codes
}

#[test]
fn exit_codes_are_read_from_tables_and_lists() {
    let table = "| Exit code | Meaning |\n|---|---|\n| 0 | ok |\n| `70` | bug |\n\n| 9 | another table |\n";
    let list = "- Exit codes: 0 ok · 70 a bug,\n  wrapped\n\nOther 5 · 6 text";
    assert_eq!(exit_codes(table), BTreeSet::from([0, 70]));
    assert_eq!(exit_codes(list), exit_codes(table));
}
