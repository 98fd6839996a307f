//! A case as its text tells it.

use std::collections::BTreeMap;

#[derive(Clone, Default, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Where it begins in its file.
    pub(crate) line: usize,
    pub(crate) context: Vec<String>,
    /// The lines of each archive of the context.
    pub(crate) archives: BTreeMap<String, Vec<String>>,
    pub(crate) flags: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Names and Dockerfiles of what is built before.
    pub(crate) images: Vec<(String, String)>,
    pub(crate) dockerfile: String,
    is_in_image: bool,
    pub(crate) expected: Expected,
    pub(crate) unlike: Option<String>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Expected {
    pub(crate) files: Vec<String>,
    pub(crate) times: Vec<(String, u64)>,
    /// Key and value.
    pub(crate) config: Vec<(String, String)>,
    pub(crate) history: Vec<String>,
    pub(crate) error: Option<i32>,
    pub(crate) says: Vec<String>,
    pub(crate) omits: Vec<String>,
}

/// Reads a file of cases. What it cannot understand is a mistake of who wrote it, and ends the test.
pub(crate) fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut common = Case::default();
    let mut in_case = false;
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("--- ") {
            (common, in_case) = (Case::default(), false);
        } else if let Some(name) = line.strip_prefix("=== ") {
            let known = cases.iter().find(|case| case.name == name);
            assert!(known.is_none(), "line {number}: a second case {name:?}");
            cases.push(Case { name: name.to_owned(), line: number, ..common.clone() });
            in_case = true;
        } else {
            let case = if in_case { cases.last_mut().unwrap() } else { &mut common };
            case.take(line).unwrap_or_else(|| panic!("line {number}: {line:?} is not understood"));
        }
    }
    cases
}

impl Case {
    fn take(&mut self, line: &str) -> Option<()> {
        let Some(told) = line.strip_prefix('@') else {
            // A blank line between two cases is no part of a Dockerfile; within one it rarely matters, and `@blank` makes one.
            if !line.is_empty() {
                self.dockerfile.push_str(&format!("{line}\n"));
            }
            return Some(());
        };
        let (word, rest) = told.split_once(' ').unwrap_or((told, ""));
        let pair = |rest: &str| rest.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        match word {
            "blank" => self.dockerfile.push('\n'),
            "in" => self.context.push(rest.replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\")),
            "tar" => {
                let (name, entry) = pair(rest)?;
                self.archives.entry(name).or_default().push(entry.replace("\\n", "\n"));
            }
            "flags" => self.flags.extend(rest.split(' ').map(|word| word.replace("%20", " "))),
            "env" => {
                let (name, value) = rest.split_once('=')?;
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            "image" => {
                self.then();
                self.images.push((rest.to_owned(), std::mem::take(&mut self.dockerfile)));
                self.is_in_image = true;
            }
            "then" => self.then(),
            "out" => self.expected.files.push(rest.to_owned()),
            "time" => {
                let (path, seconds) = pair(rest)?;
                self.expected.times.push((path, seconds.parse().ok()?));
            }
            "config" => self.expected.config.push(pair(rest)?),
            "history" => self.expected.history.push(rest.to_owned()),
            "error" => self.expected.error = Some(rest.parse().ok()?),
            "says" => self.expected.says.push(rest.to_owned()),
            "omits" => self.expected.omits.push(rest.to_owned()),
            "unlike" => self.unlike = Some(rest.to_owned()),
            _ => return None,
        }
        Some(())
    }

    /// The lines since `@image` are that image's, and those before it this case's.
    fn then(&mut self) {
        if let Some(last) = self.images.last_mut().filter(|_| self.is_in_image) {
            std::mem::swap(&mut last.1, &mut self.dockerfile);
            self.is_in_image = false;
        }
    }

    /// Whether the Dockerfile is a file of the context, by its usual name or that of a flag.
    pub(crate) fn names_its_file(&self) -> bool {
        self.dockerfile.is_empty() || self.flags.iter().any(|flag| flag == "-f")
    }

    /// The stage that is asked for, if the flags name one.
    pub(crate) fn target(&self) -> Option<&str> {
        let place = self.flags.iter().position(|flag| flag == "--target")?;
        self.flags.get(place + 1).map(String::as_str)
    }
}
