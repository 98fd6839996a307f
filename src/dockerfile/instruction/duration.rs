//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

/// Nanoseconds, or why not.
pub fn nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = number(rest).ok_or_else(invalid)?;
        let letters =
            after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        total += number.scaled(*scale);
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = next;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A decimal number; digits beyond what nanoseconds can show are cut off.
struct Number {
    whole: i128,
    fraction: i128,
    fraction_scale: i128,
}

impl Number {
    fn scaled(&self, unit: i128) -> i128 {
        // Both stay far below the range of the type: whole numbers are capped, fractions have at most 18 digits.
        self.whole * unit + self.fraction * unit / self.fraction_scale
    }
}

fn number(text: &str) -> Option<(Number, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Too many digits are too many nanoseconds in any unit: the cap is refused as out of range by the caller.
    let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(i128::from(i64::MAX)) };
    let whole = whole.min(i128::from(i64::MAX));
    let shown = &fraction[..fraction.len().min(18)];
    let scale = shown.bytes().fold(1, |scale, _| scale * 10);
    let number = Number { whole, fraction: shown.parse().unwrap_or(0), fraction_scale: scale };
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("300ms", 300_000_000),
            ("-2s", -2_000_000_000),
            ("10us", 10_000),
            ("1µs", 1_000),
            ("0.0000000001s", 0),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
        for text in ["", "5", "s", "1x", ".s", "1h30", "99999999999999999999h", "1e3s", "3000000h"] {
            assert!(nanoseconds(text).is_err(), "{text}");
        }
    }
}
