//! What verbs print on standard output: tables, sizes, times.

use std::io::Write as _;
use std::time::Duration;

use super::quantity::{Bytes, ago};
use crate::event::harmless;
use crate::image::Timestamp;

/// Writes to standard output; whoever closed that does not want to know.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A word to the person, on standard error; whoever closed that does not want to know.
pub(super) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Columns parted by blanks. What would make a terminal do things is escaped: cells may be foreign.
pub(super) fn table(rows: &[Vec<&str>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let width = |column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("   ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A size in decimal units with three digits, as docker writes it: `7.83MB`.
pub(super) fn size(bytes: u64) -> String {
    Bytes(bytes).with_digits(3)
}

/// How long ago something was, in docker's words.
pub(super) fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return "N/A".to_owned() };
    let seconds = now.seconds.saturating_sub(then.seconds);
    ago(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// `2024-02-29 23:59:59 +0000 UTC`
pub(super) fn point_in_time(then: Option<Timestamp>) -> String {
    let Some(then) = then else { return "N/A".to_owned() };
    let whole = Timestamp::from_seconds(then.seconds).to_string();
    format!("{} +0000 UTC", whole.trim_end_matches('Z').replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let at = |seconds| Some(Timestamp::from_seconds(seconds));
        let now = Timestamp::from_seconds(1_000_000_000);
        let ago = |seconds: i64| since(at(now.seconds - seconds), now);
        assert_eq!(ago(0), "Less than a second ago");
        assert_eq!(ago(-5), "Less than a second ago");
        assert_eq!([30, 90, 300].map(ago), ["30 seconds ago", "About a minute ago", "5 minutes ago"]);
        assert_eq!([3600, 7200, 86_400 * 3].map(ago), ["About an hour ago", "2 hours ago", "3 days ago"]);
        assert_eq!([86_400 * 15, 86_400 * 90].map(ago), ["2 weeks ago", "3 months ago"]);
        assert_eq!(ago(86_400 * 1000), "2 years ago");
        assert_eq!(since(None, now), "N/A");
        assert_eq!(point_in_time(at(0)), "1970-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn columns_line_up_and_escape_what_a_terminal_would_do() {
        assert_eq!(table(&[vec!["A", "B"], vec!["long", "\x1b[1m"]]), "A      B\nlong   \\u{1b}[1m\n");
    }
}
