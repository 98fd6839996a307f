//! The Dockerfile language.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use rbuild::dockerfile::{self, Diagnostic, Source, Span, expand};

use crate::{check, read};

#[test]
fn files_are_parsed() {
    check("dockerfile/parse", "ast.txt", |case| {
        let text = read(case, "Dockerfile");
        match dockerfile::parse("Dockerfile", &text) {
            Ok(file) => file.dump(),
            Err(errors) => panic!("{}: {errors}", case.display()),
        }
    });
}

#[test]
fn invalid_files_are_refused() {
    check("dockerfile/invalid", "errors.txt", |case| {
        let text = read(case, "Dockerfile");
        match dockerfile::parse("Dockerfile", &text) {
            Ok(_) => panic!("{}: the file is valid", case.display()),
            Err(errors) => errors_text(&errors),
        }
    });
}

#[test]
fn words_are_expanded() {
    check("dockerfile/expand", "expanded.txt", |case| {
        let text = read(case, "words.txt");
        let (head, words) = text.split_once("---\n").unwrap();
        let variables: HashMap<&str, &str> = head.lines().filter_map(|line| line.split_once('=')).collect();
        let option = |name: &str| variables.get(name).copied().unwrap_or_default();
        let escape = if option("@escape") == "`" { '`' } else { '\\' };
        let lookup = |name: &str| variables.get(name).map(|value| value.replace("\\n", "\n"));
        let mut out = String::new();
        for word in words.lines() {
            let result = match option("@mode") {
                "words" => expand::expand_words(word, escape, &lookup)
                    .map(|expanded| (format!("{:?}", expanded.words), expanded.unset)),
                "heredoc" => expand::expand_heredoc(&word.replace("⏎", "\n"), &lookup)
                    .map(|expanded| (format!("{:?}", expanded.text), expanded.unset)),
                "display" => Ok((expand::display(word, escape, &lookup), Vec::new())),
                _ => expand::expand(word, escape, &lookup).map(|expanded| (expanded.text, expanded.unset)),
            };
            match result {
                Ok((text, unset)) if unset.is_empty() => writeln!(out, "{word} => {text}").unwrap(),
                Ok((text, unset)) => {
                    writeln!(out, "{word} => {text}  (unset: {})", unset.join(", ")).unwrap()
                }
                Err(error) => writeln!(out, "{word} => error at {}: {error}", error.offset).unwrap(),
            }
        }
        out
    });
}

#[test]
fn triggers_are_parsed() {
    check("dockerfile/trigger", "result.txt", |case: &Path| {
        let text = read(case, "trigger.txt");
        match dockerfile::parse_trigger("ONBUILD trigger", text.trim_end_matches('\n'), '\\') {
            Ok(trigger) => trigger.dump(),
            Err(errors) => errors_text(&errors),
        }
    });
}

fn errors_text(errors: &dockerfile::ParseErrors) -> String {
    diagnostics_text(&errors.source, &errors.errors)
}

pub(crate) fn diagnostics_text(file: &Source, errors: &[Diagnostic]) -> String {
    let mut out = String::new();
    for error in errors {
        let source = error.within.as_deref().unwrap_or(file);
        let within = error.within.as_ref().map(|source| format!("{}:", source.name)).unwrap_or_default();
        writeln!(out, "{within}{} {}", place(source, error.span), error.message).unwrap();
        let text: String = source.slice(error.span).chars().take(80).collect();
        writeln!(out, "    at: {text:?}").unwrap();
        for note in &error.notes {
            writeln!(out, "    note: {} {}", place(file, note.span), note.message).unwrap();
        }
        for hint in &error.hints {
            writeln!(out, "    hint: {hint}").unwrap();
        }
    }
    out
}

pub(crate) fn place(source: &Source, span: Span) -> String {
    format!("{}:{}", source.line_of(span.start), source.column_of(span.start))
}
