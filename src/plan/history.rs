//! The history: one line for each instruction, worded as BuildKit words it.

use super::HistoryItem;
use super::scope::{PROXIES, Scope};
use crate::graph::VertexId;
use crate::image::{HISTORY_COMMENT, HistoryEntry};

/// An entry for an instruction that made no layer.
pub(super) fn empty(created_by: String) -> HistoryItem {
    HistoryItem { entry: entry(created_by, true), layer: None }
}

/// An entry for a layer.
pub(super) fn layer(created_by: String, vertex: VertexId) -> HistoryItem {
    HistoryItem { entry: entry(created_by, false), layer: Some(vertex) }
}

fn entry(created_by: String, empty_layer: bool) -> HistoryEntry {
    HistoryEntry {
        created: None,
        created_by: Some(created_by),
        author: None,
        comment: Some(HISTORY_COMMENT.to_owned()),
        empty_layer,
    }
}

/// `RUN |2 A=1 B=2 /bin/sh -c … # buildkit`
pub(super) fn run(arguments: &[String], scope: &Scope) -> String {
    let declared = scope.arguments().iter().filter(|(name, _)| !PROXIES.contains(&name.as_str()));
    let declared: Vec<String> =
        declared.filter_map(|(name, value)| Some(format!("{name}={}", value.as_deref()?))).collect();
    let command = arguments.join(" ");
    match declared.len() {
        0 => format!("RUN {command} # buildkit"),
        count => format!("RUN |{count} {} {command} # buildkit", declared.join(" ")),
    }
}

/// `["a" "b"]`, quoted as Go quotes.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| go_quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter if u32::from(letter) < 0x20 || letter == '\x7f' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
