//! One pattern as a sequence of steps, and the matcher that runs it.
//!
//! Serves both dialects: Go's `filepath.Match` for one path component, and the ignore files' patterns for whole paths.
//! Names are bytes; `?` and classes take one character, or one byte where the bytes are no UTF-8.

/// A pattern for one path component, as Go's `filepath.Match` reads it: `*`, `?`, `[a-z]`, `[^a]` and `\` as escape.
/// Names that begin with a dot are matched like any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    steps: Vec<Step>,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a `[` has no matching `]`")]
    Unclosed,
    #[error("a class is empty or has a `-` or `]` where a character should be")]
    Class,
    #[error("it ends in a backslash that escapes nothing")]
    Escape,
}

impl Glob {
    pub fn parse(component: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { steps: parse(component, Deep::Plain)? })
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        run(&self.steps, name)
    }
}

/// Whether the text has a `*`, `?` or `[` that no backslash escapes.
pub fn has_wildcard(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Text(Vec<u8>),
    /// `?`: a character that is not `/`.
    One,
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
    /// `*`: anything without `/`.
    Star,
    /// `**/` or an inner `**`: nothing, or anything that ends in `/`.
    Directories,
    /// A trailing `**`.
    Anything,
}

/// Whether `**` is more than two stars.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deep {
    Plain,
    Crossing,
}

pub(super) fn parse(mut text: &[u8], deep: Deep) -> Result<Vec<Step>, Malformed> {
    let mut steps = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match byte {
            b'*' if deep == Deep::Crossing && text.first() == Some(&b'*') => {
                text = &text[1..];
                text = text.strip_prefix(b"/").unwrap_or(text);
                steps.push(if text.is_empty() { Step::Anything } else { Step::Directories });
            }
            b'*' if steps.last() == Some(&Step::Star) => {}
            b'*' => steps.push(Step::Star),
            b'?' => steps.push(Step::One),
            b'[' => {
                let (class, rest) = class(text)?;
                steps.push(class);
                text = rest;
            }
            b'\\' => {
                let (&escaped, rest) = text.split_first().ok_or(Malformed::Escape)?;
                push_text(&mut steps, escaped);
                text = rest;
            }
            byte => push_text(&mut steps, byte),
        }
    }
    Ok(steps)
}

fn push_text(steps: &mut Vec<Step>, byte: u8) {
    match steps.last_mut() {
        Some(Step::Text(text)) => text.push(byte),
        _ => steps.push(Step::Text(vec![byte])),
    }
}

/// The class whose `[` has been read, and what follows its `]`.
fn class(mut text: &[u8]) -> Result<(Step, &[u8]), Malformed> {
    let negated = text.first() == Some(&b'^');
    if negated {
        text = &text[1..];
    }
    let mut ranges = Vec::new();
    loop {
        match text.first() {
            None => return Err(Malformed::Unclosed),
            Some(b']') if !ranges.is_empty() => return Ok((Step::Class { negated, ranges }, &text[1..])),
            Some(_) => {}
        }
        let (low, rest) = class_character(text)?;
        text = rest;
        let mut high = low;
        if let Some(rest) = text.strip_prefix(b"-") {
            (high, text) = class_character(rest)?;
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let text = match text.first() {
        None => return Err(Malformed::Unclosed),
        Some(b'-' | b']') => return Err(Malformed::Class),
        Some(b'\\') => &text[1..],
        Some(_) => text,
    };
    if text.is_empty() {
        return Err(Malformed::Escape);
    }
    let (character, length) = character(text);
    Ok((character, &text[length..]))
}

/// The first character and its length; a byte that begins no character stands for U+FFFD.
fn character(bytes: &[u8]) -> (u32, usize) {
    if bytes[0].is_ascii() {
        return (u32::from(bytes[0]), 1);
    }
    let window = &bytes[..bytes.len().min(4)];
    let first = window.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    first.map_or((0xfffd, 1), |character| (u32::from(character), character.len_utf8()))
}

/// Runs the steps over the path, keeping the set of all positions a prefix of the steps can end at. The work is bounded
/// by steps times path length, whatever the pattern.
pub(super) fn run(steps: &[Step], path: &[u8]) -> bool {
    let positions = path.len() + 1;
    if positions <= USUAL {
        let [mut from, mut to] = [[false; USUAL]; 2];
        return run_in(&mut from[..positions], &mut to[..positions], steps, path);
    }
    run_in(&mut vec![false; positions], &mut vec![false; positions], steps, path)
}

/// Paths are hardly ever longer.
const USUAL: usize = 256;

fn run_in<'a>(mut from: &'a mut [bool], mut to: &'a mut [bool], steps: &[Step], path: &[u8]) -> bool {
    from[0] = true;
    for step in steps {
        to.fill(false);
        if !advance(step, path, from, to) {
            return false;
        }
        std::mem::swap(&mut from, &mut to);
    }
    from[path.len()]
}

/// Carries the reachable positions over one step; false when none is left.
fn advance(step: &Step, path: &[u8], from: &[bool], to: &mut [bool]) -> bool {
    let mut alive = false;
    let mut open = false;
    for position in 0..=path.len() {
        let here = from[position];
        let byte = path.get(position);
        let reached = match step {
            Step::Text(text) => (here && path[position..].starts_with(text)).then(|| position + text.len()),
            Step::One => match byte {
                Some(&byte) if here && byte != b'/' => Some(position + character(&path[position..]).1),
                _ => None,
            },
            Step::Class { negated, ranges } => match byte {
                Some(_) if here => {
                    let (character, length) = character(&path[position..]);
                    let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&character));
                    (inside != *negated).then_some(position + length)
                }
                _ => None,
            },
            Step::Star => {
                open |= here;
                let reached = open.then_some(position);
                open &= byte != Some(&b'/');
                reached
            }
            Step::Directories => {
                let reached = (here || (open && path[position - 1] == b'/')).then_some(position);
                open |= here;
                reached
            }
            Step::Anything => {
                open |= here;
                open.then_some(position)
            }
        };
        if let Some(reached) = reached {
            to[reached] = true;
            alive = true;
        }
    }
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, name: &str) -> Result<bool, Malformed> {
        Glob::parse(pattern.as_bytes()).map(|glob| glob.matches(name.as_bytes()))
    }

    #[test]
    fn components_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", ".hidden", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a[^a][^a][^a]b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("[!a]", "!", true),
            ("[!a]", "b", false),
            ("[*]", "*", true),
            ("[*]", "x", false),
            ("]", "]", true),
            ("%C3%A4", "ä", false),
            ("*x", "xxx", true),
        ] {
            assert_eq!(glob(pattern, name), Ok(expected), "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused_whatever_the_name() {
        for (pattern, expected) in [
            ("[", Malformed::Unclosed),
            ("a[", Malformed::Unclosed),
            ("[a", Malformed::Unclosed),
            ("[^", Malformed::Unclosed),
            ("[^bc", Malformed::Unclosed),
            ("[a-", Malformed::Unclosed),
            ("[]a]", Malformed::Class),
            ("[-]", Malformed::Class),
            ("[x-]", Malformed::Class),
            ("[-x]", Malformed::Class),
            ("[a-b-c]", Malformed::Class),
            ("[]", Malformed::Class),
            ("\\", Malformed::Escape),
            ("x*[\\", Malformed::Escape),
        ] {
            assert_eq!(glob(pattern, "zzz"), Err(expected), "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_stay_cheap() {
        let pattern = "*a".repeat(200) + "b";
        assert_eq!(glob(&pattern, &"a".repeat(2000)), Ok(false));
    }
}
