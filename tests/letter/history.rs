//! What the history of an image should be, read off the Dockerfile in the plainest way: where a text is more than what stands
//! there (variables, flags, quotes), only its keyword is known here, and cases that are about it say it themselves.

use super::case::Case;

/// What the target stage is made of, from its root on.
#[derive(Default, Debug)]
pub(crate) struct Chain {
    /// Whether it begins with the base image, and not with nothing.
    pub(crate) is_on_base: bool,
    /// Whether an image below has instructions for whoever builds on it.
    pub(crate) has_triggers: bool,
    /// Instructions as they are written, continued lines joined, contents of heredocs left out.
    instructions: Vec<String>,
}

/// An entry that should be there.
#[derive(Debug)]
pub(crate) struct Entry {
    /// All of the text, or how it begins.
    text: String,
    is_whole: bool,
    is_empty: bool,
}

impl Chain {
    pub(crate) fn of(case: &Case) -> Self {
        let mut chain = Self::default();
        chain.follow(&case.dockerfile, case.target(), case);
        chain
    }

    fn follow(&mut self, dockerfile: &str, target: Option<&str>, case: &Case) {
        let stages = stages(dockerfile);
        let called = |name: &str, below: usize| {
            stages[..below].iter().rposition(|stage| stage.name.eq_ignore_ascii_case(name))
        };
        let number = |name: &str| name.parse().ok().filter(|number| *number < stages.len());
        let find = |name: &str| called(name, stages.len()).or_else(|| number(name));
        let Some(mut at) = target.map_or(stages.len().checked_sub(1), find) else { return };
        let mut instructions = Vec::new();
        let base = loop {
            let stage = &stages[at];
            instructions.splice(0..0, stage.instructions.iter().cloned());
            match called(&stage.base, at) {
                Some(below) => at = below,
                None => break &stage.base,
            }
        };
        self.is_on_base |= base == "base";
        if let Some((_, below)) = case.images.iter().find(|(name, _)| name == base) {
            self.follow(below, None, case);
        }
        self.has_triggers |= instructions.iter().any(|it| it.starts_with("ONBUILD"));
        self.instructions.extend(instructions);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let has_arguments =
            self.instructions.iter().any(|it| it.starts_with("ARG") || it.starts_with("SHELL"));
        self.instructions.iter().map(|instruction| Entry::of(instruction, has_arguments)).collect()
    }
}

impl Entry {
    fn of(instruction: &str, has_arguments: bool) -> Self {
        let (keyword, rest) = instruction.split_once(char::is_whitespace).unwrap();
        let keyword = keyword.to_ascii_uppercase();
        let words = rest.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_plain =
            !rest.contains(['$', '"', '\'', '\\', '[']) && !rest.contains("<<") && !rest.contains("--");
        let (text, is_whole) = match &keyword[..] {
            "RUN" if !has_arguments && !rest.starts_with(['[', '-', '<']) && !rest.contains("<<") => {
                (format!("RUN /bin/sh -c {} # buildkit", rest.trim()), true)
            }
            "COPY" | "ADD" if is_plain => (format!("{keyword} {words} # buildkit"), true),
            "ENV" | "LABEL" if is_plain && words.split(' ').all(|word| word.contains('=')) => {
                (format!("{keyword} {words}"), true)
            }
            "USER" | "STOPSIGNAL" | "MAINTAINER" if is_plain => (format!("{keyword} {words}"), true),
            "WORKDIR" if is_plain && words.starts_with('/') && !words.contains("/.") => {
                (format!("WORKDIR {words}"), true)
            }
            _ => (format!("{keyword} "), false),
        };
        let makes_layer =
            matches!(&keyword[..], "RUN" | "COPY" | "ADD") || keyword == "WORKDIR" && words != "/";
        Self { text, is_whole, is_empty: !makes_layer }
    }

    /// Whether a line such as `+ COPY a /b # buildkit` tells of it.
    pub(crate) fn is_told_by(&self, line: &str) -> bool {
        let expected = self.describe();
        if self.is_whole { line == expected } else { line.starts_with(&expected) }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{} {}", if self.is_empty { '-' } else { '+' }, self.text)
    }
}

#[derive(Debug)]
struct Stage {
    base: String,
    name: String,
    instructions: Vec<String>,
}

fn stages(dockerfile: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions(dockerfile) {
        let words: Vec<_> = instruction.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        if words[0].eq_ignore_ascii_case("FROM") {
            let name = words.get(3).copied().unwrap_or_default();
            stages.push(Stage { base: words[1].to_owned(), name: name.to_owned(), instructions: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push(instruction);
        }
    }
    stages
}

fn instructions(dockerfile: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = dockerfile.lines();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mut whole = line.trim_start().to_owned();
        while let Some(begun) = whole.trim_end().strip_suffix('\\').filter(|begun| !begun.ends_with('\\')) {
            whole.truncate(begun.len());
            let is_text = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
            let more = lines.by_ref().find(is_text);
            whole.push_str(more.unwrap_or_default());
        }
        let takes_heredocs = ["RUN ", "COPY ", "ADD ", "ONBUILD "].iter().any(|it| whole.starts_with(it));
        for word in whole.split_whitespace().filter(|_| takes_heredocs) {
            let Some((before, name)) = word.split_once("<<") else { continue };
            if !before.chars().all(|it| it.is_ascii_digit()) {
                continue;
            }
            let name = name.trim_start_matches('-').trim_matches(['"', '\'']);
            let _ = lines.by_ref().find(|line| line.trim_start_matches('\t') == name);
        }
        found.push(whole);
    }
    found
}
