//! "Did you mean": the nearest of a few known words.

/// The candidate at the smallest edit distance below 3; the first of equals. None for an exact match, too.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            return None;
        }
        let Some(distance) = distance_below(word, candidate, best.map_or(3, |(distance, _)| distance)) else {
            continue;
        };
        best = Some((distance, candidate));
    }
    best.map(|(_, candidate)| candidate)
}

/// ` (did you mean X?)`, or nothing.
pub(super) fn suffix<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// The Levenshtein distance in characters, if it is below `limit`.
fn distance_below(left: &str, right: &str, limit: usize) -> Option<usize> {
    // A foreign word may be as long as a line: compare lengths before anything that costs their product.
    if left.len().abs_diff(right.len()) >= limit * 4 {
        return None;
    }
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    if left.len().abs_diff(right.len()) >= limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().filter(|distance| *distance < limit)
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
        assert_eq!(nearest("SOMETHING", names), None);
    }
}
