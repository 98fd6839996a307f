//! What a build made, as lines to compare.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::{Entry, Kind};

/// Contents longer than this are told by their digest.
const SHOWN: usize = 400;

#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// By path: `d755 path`, `f644 path: content`, `l path -> target`, `path == other`, `c620 path 1:3`, `p600 path`; with the
    /// owner behind the mode where it is not root, then extended attributes: `f644 1:2 {user.a=b} path: content\n`.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) times: BTreeMap<String, u64>,
    /// Key and value, in order of keys.
    pub(crate) config: Vec<(String, String)>,
    /// `+ TEXT` with a layer, `- TEXT` without.
    pub(crate) history: Vec<String>,
}

impl Outcome {
    /// What `FROM scratch` begins with.
    pub(crate) fn scratch() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = [("Env", path), ("WorkingDir", "/"), ("os", "linux")];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { config, ..Self::default() }
    }

    pub(crate) fn new(files: &BTreeMap<String, Entry>, config: &Value) -> Self {
        let times = files.iter().map(|(path, entry)| (path.clone(), entry.modified)).collect();
        let files = files.iter().map(|(path, entry)| (shown(path), line(path, entry))).collect();
        Self { files, times, config: config_lines(config), history: history_lines(config) }
    }
}

/// The path that a line is about.
pub(crate) fn path_of(line: &str) -> &str {
    let is_kind = |word: &str| {
        word == "l"
            || word.starts_with(['d', 'f', 'p', 'c', 'b']) && word[1..].bytes().all(|it| it.is_ascii_digit())
    };
    let is_owner =
        |word: &str| word.bytes().all(|it| it.is_ascii_digit() || it == b':') && word.contains(':');
    let mut words = line.split(' ').peekable();
    if words.peek().is_some_and(|word| is_kind(word) && word.len() > 1 || *word == "l") {
        words.next();
        words.next_if(|word| is_owner(word));
        words.next_if(|word| word.starts_with('{'));
    }
    words.next().unwrap_or_default().trim_end_matches(':')
}

fn line(path: &str, entry: &Entry) -> String {
    let owner = match (entry.uid, entry.gid) {
        (0, 0) => String::new(),
        (uid, gid) => format!("{uid}:{gid} "),
    };
    let attributes = entry.attributes.iter();
    let attributes: Vec<_> = attributes.map(|(name, value)| format!("{name}={}", text(value))).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!("{{{}}} ", attributes.join(",")) };
    let rest = format!("{owner}{attributes}{}", shown(path));
    let mode = entry.mode;
    match &entry.kind {
        Kind::Directory => format!("d{mode:o} {rest}"),
        Kind::File { content } => format!("f{mode:o} {rest}: {}", text(content)),
        Kind::Symlink { target } => format!("l {rest} -> {}", shown(target)),
        Kind::Hardlink { to } => format!("{} == {}", shown(path), shown(to)),
        Kind::Other(b'6') => format!("p{mode:o} {rest}"),
        Kind::Other(kind) => {
            let (major, minor) = entry.device.unwrap();
            format!("{}{mode:o} {rest} {major}:{minor}", if *kind == b'3' { 'c' } else { 'b' })
        }
    }
}

fn shown(path: &str) -> String {
    path.replace(' ', "%20").replace('\n', "%0A")
}

fn text(content: &[u8]) -> String {
    let escaped = |text: &str| {
        text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
    };
    match std::str::from_utf8(content) {
        Ok(text)
            if content.len() <= SHOWN
                && !text.contains(|it: char| it.is_control() && !matches!(it, '\n' | '\t' | '\r')) =>
        {
            escaped(text)
        }
        _ => format!("{} bytes {}", content.len(), rbuild::image::Digest::of(content)),
    }
}

fn config_lines(document: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for key in ["author", "os", "variant", "os.version"] {
        if let Some(value) = document.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            lines.push((key.to_owned(), value.to_owned()));
        }
    }
    let config = document["config"].as_object().cloned().unwrap_or_default();
    for (key, value) in config {
        let mut push = |value: String| lines.push((key.clone(), value));
        match (&key[..], &value) {
            (_, Value::Null) => {}
            ("Cmd" | "Entrypoint" | "Shell" | "Healthcheck", value) => push(value.to_string()),
            (_, Value::Array(items)) => items.iter().for_each(|item| push(item.as_str().unwrap().to_owned())),
            ("Labels", Value::Object(labels)) => {
                labels.iter().for_each(|(name, value)| push(format!("{name}={}", value.as_str().unwrap())));
            }
            (_, Value::Object(set)) => set.keys().for_each(|name| push(name.clone())),
            (_, Value::String(text)) if text.is_empty() => {}
            (_, Value::String(text)) => push(text.clone()),
            (_, value) => push(value.to_string()),
        }
    }
    lines.iter_mut().for_each(|(_, value)| *value = value.replace('\n', "\\n"));
    lines
}

fn history_lines(document: &Value) -> Vec<String> {
    let entries = document["history"].as_array().cloned().unwrap_or_default();
    let line = |entry: &Value| {
        let has_layer = entry["empty_layer"].as_bool() != Some(true);
        let comment = entry["comment"].as_str().filter(|it| *it != "buildkit.dockerfile.v0");
        let author = entry["author"].as_str();
        format!(
            "{} {}{}{}",
            if has_layer { '+' } else { '-' },
            entry["created_by"].as_str().unwrap_or("(nothing)").replace('\n', "\\n"),
            comment.map(|it| format!(" (comment {it})")).unwrap_or_default(),
            author.map(|it| format!(" (author {it})")).unwrap_or_default()
        )
    };
    entries.iter().map(line).collect()
}
