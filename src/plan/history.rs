//! The history: one line for each instruction, worded as BuildKit words it.

use super::HistoryItem;
use super::scope::Scope;
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
    let declared: Vec<String> = scope.arguments().map(|(name, value)| format!("{name}={value}")).collect();
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
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            letter if letter.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_go_quotes_them() {
        let words = ["a b".to_owned(), "\"\\\n\x07\x1b\u{85}é".to_owned()];
        assert_eq!(quoted_list(&words), r#"["a b" "\"\\\n\a\x1b\u0085é"]"#);
    }
}
