//! Rust files as the rules see them: comments and the insides of literals blanked, so that only code is left.

use std::fs;
use std::path::Path;

pub(crate) struct Source {
    /// From the repository's root: `src/image/mod.rs`.
    pub(crate) path: String,
    /// The text with every comment and literal blanked; line numbers are those of the file.
    pub(crate) code: String,
    /// The first line of the unit tests; past the end where there are none.
    pub(crate) tests_from: usize,
}

/// Every Rust file below a directory of the repository, in order of path.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), directory, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let tests_from = if is_test { 1 } else { first_test_line(&code) };
        Self { path: path.to_owned(), code, tests_from }
    }

    /// The top module that a file of `src` belongs to; none for the crate root itself.
    pub(crate) fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// The numbers of the lines that have a word or path, standing alone.
    pub(crate) fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.lines().zip(1..).filter(move |(line, _)| has_word(line, word)).map(|(_, number)| number)
    }

    /// The same without unit tests.
    pub(crate) fn product_lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.lines_with(word).filter(|line| *line < self.tests_from)
    }

    pub(crate) fn fault(&self, line: usize, rule: &str) -> String {
        format!("{}:{line}: {rule}", self.path)
    }
}

fn walk(root: &Path, inner: &str, found: &mut Vec<Source>) {
    // A directory that is not there (benches, say) has no sources.
    let Ok(entries) = fs::read_dir(root.join(inner)) else { return };
    for entry in entries.map(|entry| entry.unwrap()) {
        let path = format!("{inner}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(root, &path, found);
        } else if path.ends_with(".rs") {
            found.push(Source::new(&path, &fs::read_to_string(root.join(&path)).unwrap()));
        }
    }
}

fn first_test_line(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let opens =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(opens).map_or(usize::MAX, |index| index + 1)
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].ends_with(inside) && (word.ends_with('!') || !after.is_some_and(inside))
    })
}

/// Replaces comments and the insides of string and character literals by spaces, keeping every line end.
pub(crate) fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let previous = code.chars().next_back();
        let end = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_end(rest),
            '"' => string_end(rest),
            'r' if !previous.is_some_and(|c| c.is_alphanumeric() && c != 'b' && c != 'c' || c == '_') => {
                raw_string_end(rest)
            }
            '\'' => char_end(rest),
            _ => 0,
        };
        if end == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[end..];
        }
    }
    // Trailing blanks of a line carry nothing, and rules look at line ends.
    code.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn block_comment_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let closing = text.char_indices().skip(1).find(|(_, c)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    closing.map_or(text.len(), |(at, _)| at + 1)
}

/// Zero where no raw string begins.
fn raw_string_end(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let closing = format!("\"{}", "#".repeat(hashes));
    body.find(&closing).map_or(text.len(), |at| 2 + hashes + at + closing.len())
}

/// Zero for a lifetime, which has no closing quote.
fn char_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text[3..].find('\'').map_or(0, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn only_code_is_left() {
    let text = concat!(
        "let a = \"unsafe \\\" unsafe\"; // unsafe\n",
        "/* unsafe /* */ unsafe */ let b = r#\"\"unsafe\"#;\n",
        "fn c<'a>(x: &'a str) -> char { '\\'' } let d = b\"unsafe\"; let e = '\"'; unsafe {}\n",
        "/// unsafe\nlet r = for_r\"x\n\";\n",
    );
    let source = Source::new("src/a/b.rs", text);
    assert_eq!(source.lines_with("unsafe").collect::<Vec<_>>(), [3]);
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert!(source.code.contains("fn c<'a>(x: &'a str) -> char {"));
}

#[test]
fn words_stand_alone() {
    let source =
        Source::new("src/a.rs", "eprintln!(\"x\");\nenv::variable();\nstd::env::var(x);\nenv::var_os(x);\n");
    assert_eq!(source.lines_with("println!").count(), 0);
    assert_eq!(source.lines_with("eprintln!").collect::<Vec<_>>(), [1]);
    assert_eq!(source.lines_with("env::var").collect::<Vec<_>>(), [3]);
}

#[test]
fn unit_tests_are_told_from_the_product() {
    let source = Source::new(
        "src/a.rs",
        "std::fs\n#[cfg(test)]\nmod tests;\nstd::fs\n#[cfg(test)]\nmod tests {\nstd::fs\n",
    );
    assert_eq!(source.product_lines_with("std::fs").collect::<Vec<_>>(), [1, 4]);
    assert_eq!(Source::new("src/a/tests.rs", "std::fs").product_lines_with("std::fs").count(), 0);
    assert_eq!((source.module(), Source::new("src/lib.rs", "").module()), (Some("a"), None));
}
