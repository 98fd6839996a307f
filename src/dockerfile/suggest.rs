//! "Did you mean": the nearest of a few known words.

/// The nearest candidate less than three edits away; the first of equals. None for an exact match, and for words so short
/// that so many edits make any word of any other.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            return None;
        }
        let limit = best.map_or(3, |(distance, _)| distance);
        if let Some(distance) = distance_below(word, candidate, limit) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// ` (did you mean X?)`, or nothing.
pub(super) fn suffix<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// How many letters must be put in, left out, changed, or swapped with the next, if fewer than `limit` and than half of
/// the letters.
fn distance_below(left: &str, right: &str, limit: usize) -> Option<usize> {
    // A foreign word may be as long as a line: compare lengths before anything that costs their product.
    if left.len().abs_diff(right.len()) >= limit * 4 {
        return None;
    }
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, to) in right.iter().enumerate() {
            let changed = row[column] + usize::from(from != to);
            let mut best = changed.min(row[column + 1] + 1).min(next[column] + 1);
            if index > 0 && column > 0 && *from == right[column - 1] && left[index - 1] == *to {
                best = best.min(before[column - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    let half = left.len().max(right.len()) / 2;
    row.last().copied().filter(|distance| *distance < limit && *distance <= half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let names = ["ENTRYPOINT", "ENV", "RUN"];
        assert_eq!(nearest("FNTRYPOINT", names), Some("ENTRYPOINT"));
        assert_eq!(nearest("RUM", names), Some("RUN"));
        assert_eq!(nearest("RUN", names), None);
        assert_eq!(nearest("RNU", names), Some("RUN"));
        assert_eq!(nearest("EOF", names), None);
        assert_eq!(nearest("SOMETHING", names), None);
    }
}
