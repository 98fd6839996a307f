//! Patterns of `#`, `%` and `/`: `*` is any run of characters and `?` any character, newlines excepted.
//!
//! Matching keeps the set of all places in the pattern that the text so far leads to, so no pattern takes more than length of
//! text times length of pattern.

#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Run,
    One,
    Letter(char),
}

/// See the limit of the walk; replacing can multiply a text.
const MAX_TEXT: usize = 64 << 20;

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            tokens.push(match letter {
                // Runs next to each other are one.
                '*' if tokens.last() == Some(&Token::Run) => continue,
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => match letters.next() {
                    Some(protected @ ('*' | '?' | '\\' | '/' | '}')) => Token::Letter(protected),
                    Some(other) => return Err(format!("invalid escape '\\{other}'")),
                    None => return Err("invalid escape '\\' at the end".to_owned()),
                },
                other => Token::Letter(other),
            });
        }
        Ok(Self(tokens))
    }

    /// The text without the shortest or longest beginning that matches.
    pub(super) fn trim_start(&self, text: &str, longest: bool) -> String {
        match matched(&self.0, text.chars(), longest) {
            Some(count) => text.chars().skip(count).collect(),
            None => text.to_owned(),
        }
    }

    /// The text without the shortest or longest end that matches.
    pub(super) fn trim_end(&self, text: &str, longest: bool) -> String {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        match matched(&reversed, text.chars().rev(), longest) {
            Some(count) => {
                let end =
                    text.char_indices().rev().nth(count.wrapping_sub(1)).map_or(text.len(), |(at, _)| at);
                text[..end].to_owned()
            }
            None => text.to_owned(),
        }
    }

    /// The text with the leftmost longest match replaced, or all of them from left to right. None if it grows too large.
    pub(super) fn replace(&self, text: &str, replacement: &str, all: bool) -> Option<String> {
        let letters: Vec<char> = text.chars().collect();
        let begins = self.beginnings(&letters);
        let mut result = String::with_capacity(text.len());
        let mut at = 0;
        let mut last_end = None;
        while at <= letters.len() {
            let length =
                if begins[at] { matched(&self.0, letters[at..].iter().copied(), true) } else { None };
            // An empty match right behind a match is none.
            let length = length.filter(|length| *length > 0 || last_end != Some(at));
            if let Some(length) = length {
                result.push_str(replacement);
                at += length;
                last_end = Some(at);
                if result.len() > MAX_TEXT {
                    return None;
                }
                if !all {
                    result.extend(&letters[at..]);
                    return Some(result);
                }
                if length > 0 {
                    continue;
                }
            }
            result.extend(letters.get(at));
            at += 1;
        }
        Some(result)
    }

    /// For each place of the text, whether a match begins there: the pattern matched backwards from every end at once.
    fn beginnings(&self, letters: &[char]) -> Vec<bool> {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let mut places = Places::new(&reversed);
        let mut begins = vec![false; letters.len() + 1];
        begins[letters.len()] = places.complete();
        for (at, letter) in letters.iter().enumerate().rev() {
            places.step(*letter);
            places.restart();
            begins[at] = places.complete();
        }
        begins
    }
}

/// How many letters from the first on match the whole pattern.
fn matched(tokens: &[Token], letters: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
    let mut places = Places::new(tokens);
    let mut best = places.complete().then_some(0);
    if best.is_some() && !longest {
        return best;
    }
    for (count, letter) in letters.enumerate() {
        places.step(letter);
        if places.complete() {
            best = Some(count + 1);
            if !longest {
                return best;
            }
        } else if places.none() {
            return best;
        }
    }
    best
}

/// The places in a pattern that some way of matching has reached.
struct Places<'a> {
    tokens: &'a [Token],
    reached: Vec<bool>,
}

impl<'a> Places<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let mut places = Self { tokens, reached: vec![false; tokens.len() + 1] };
        places.restart();
        places
    }

    fn complete(&self) -> bool {
        self.reached[self.tokens.len()]
    }

    fn none(&self) -> bool {
        !self.reached.contains(&true)
    }

    /// Adds the beginning of the pattern.
    fn restart(&mut self) {
        self.reached[0] = true;
        self.skip_empty_runs();
    }

    fn step(&mut self, letter: char) {
        // From the back, so that no place is moved twice.
        for place in (0..self.tokens.len()).rev() {
            let here = self.reached[place];
            let matches = match self.tokens[place] {
                Token::Run => false,
                Token::One => letter != '\n',
                Token::Letter(wanted) => letter == wanted,
            };
            let stays = self.tokens[place] == Token::Run && letter != '\n';
            if place + 1 == self.tokens.len() {
                self.reached[place + 1] = false;
            }
            self.reached[place + 1] |= here && matches;
            self.reached[place] = here && stays;
        }
        if self.tokens.is_empty() {
            self.reached[0] = false;
        }
        self.skip_empty_runs();
    }

    fn skip_empty_runs(&mut self) {
        for (place, token) in self.tokens.iter().enumerate() {
            if *token == Token::Run && self.reached[place] {
                self.reached[place + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn ends_are_trimmed_by_the_shortest_or_longest_match() {
        for (value, text, shortest, longest) in [
            ("a.b.c", "*.", "b.c", "c"),
            ("abc", "", "abc", "abc"),
            ("abc", "*", "abc", ""),
            ("abc", "x", "abc", "abc"),
            ("äöü", "?", "öü", "öü"),
            ("a*b*c", "*\\*", "b*c", "c"),
            ("a\nb.c", "*.", "a\nb.c", "a\nb.c"),
        ] {
            assert_eq!(pattern(text).trim_start(value, false), shortest, "{value} # {text}");
            assert_eq!(pattern(text).trim_start(value, true), longest, "{value} ## {text}");
        }
        for (value, text, shortest, longest) in [
            ("a.b.c", ".*", "a.b", "a"),
            ("abc", "*", "abc", ""),
            ("äöü", "?", "äö", "äö"),
            ("abc", "", "abc", "abc"),
        ] {
            assert_eq!(pattern(text).trim_end(value, false), shortest, "{value} % {text}");
            assert_eq!(pattern(text).trim_end(value, true), longest, "{value} %% {text}");
        }
    }

    #[test]
    fn matches_are_replaced_from_left_to_right() {
        for (value, text, first, all) in [
            ("a-b-c", "-", "a_b-c", "a_b_c"),
            ("abc", "*", "_", "_"),
            ("abc", "", "_abc", "_a_b_c_"),
            ("xaybaz", "a?b", "x_az", "x_az"),
            ("a1b a2b", "a*b", "_", "_"),
            ("a1\na2", "a*", "_\na2", "_\n_"),
            ("ab", "b*", "a_", "a_"),
        ] {
            assert_eq!(pattern(text).replace(value, "_", false).unwrap(), first, "{value} / {text}");
            assert_eq!(pattern(text).replace(value, "_", true).unwrap(), all, "{value} // {text}");
        }
    }

    #[test]
    fn only_special_letters_are_escaped() {
        assert_eq!(Pattern::parse("a\\b").unwrap_err(), "invalid escape '\\b'");
        assert!(Pattern::parse("\\").is_err());
    }
}
