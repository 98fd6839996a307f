//! Sizes and durations as people write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. It is read as docker reads one: `10GB` and `10g` are 10 × 1024³. It is shown as docker shows one, in
/// powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write a number and B, KB, MB, GB or TB, such as 10GB");
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let shift = match unit {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = number
            * f64::from(1_u32 << (shift % 30))
            * if shift >= 30 { f64::from(1_u32 << 30) } else { 1.0 };
        if bytes >= 9e18 {
            return Err(format!("{text:?} is more than any disk has"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and within the range"
        )]
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.with_digits(4))
    }
}

impl Bytes {
    /// In a decimal unit with so many digits, at least three, but without zeros behind the point.
    pub(super) fn with_digits(self, digits: usize) -> String {
        #[expect(clippy::cast_precision_loss, reason = "few digits are shown")]
        let mut number = self.0 as f64;
        let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        for larger in units {
            if number < 1000.0 {
                break;
            }
            number /= 1000.0;
            unit = larger;
        }
        let before_point = match number {
            number if number < 10.0 => 1,
            number if number < 100.0 => 2,
            _ => 3,
        };
        let text = format!("{number:.*}", digits - before_point);
        let shown = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{shown}{unit}")
    }
}

/// A duration: `24h`, `1h30m`, `90s`, `7d`, `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no duration: write numbers with s, m, h, d or w, such as 24h or 1h30m");
        let mut seconds = 0_u64;
        let mut rest = text;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
            let unit_end =
                rest[end..].find(|letter: char| letter.is_ascii_digit()).map_or(rest.len(), |at| end + at);
            let unit = match &rest[end..unit_end] {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 24 * 3600,
                "w" => 7 * 24 * 3600,
                // Nothing takes no time in every unit.
                "" if number == 0 => 1,
                _ => return Err(wrong()),
            };
            seconds =
                number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
            rest = &rest[unit_end..];
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// How long ago something was, in docker's words.
pub(super) fn ago(since: Duration) -> String {
    let seconds = since.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second ago".to_owned(),
        1 => "1 second ago".to_owned(),
        2..60 => format!("{seconds} seconds ago"),
        60..120 => "About a minute ago".to_owned(),
        _ if minutes < 46 => format!("{minutes} minutes ago"),
        _ if hours <= 1 => "About an hour ago".to_owned(),
        _ if hours < 48 => format!("{hours} hours ago"),
        _ if hours < 24 * 14 => format!("{} days ago", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks ago", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months ago", hours / 24 / 30),
        _ => format!("{} years ago", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1k", 1024),
            ("1KB", 1024),
            ("1.5MiB", 1536 << 10),
            ("10GB", 10 << 30),
            ("2 tb", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "GB", "-1", "1XB", "1.2.3", "99999999P", "50%"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (12_290, "12.29kB"),
            (100_000, "100kB"),
            (1_234_567, "1.235MB"),
            (2_000_000_000, "2GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits_where_docker_does() {
        let sizes = [0, 999, 1000, 1234, 12_345, 7_830_000, 187_600_000, 1_200_000_000];
        let shown = ["0B", "999B", "1kB", "1.23kB", "12.3kB", "7.83MB", "188MB", "1.2GB"];
        assert_eq!(sizes.map(|size| Bytes(size).with_digits(3)), shown);
    }

    #[test]
    fn durations_add_up() {
        for (text, seconds) in
            [("0", 0), ("90s", 90), ("24h", 86_400), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "h", "10", "1x", "-1h", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
