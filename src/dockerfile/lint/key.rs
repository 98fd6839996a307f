//! Rules about keywords, and about the names of variables and labels.

use super::{Findings, Rule, definition};
use crate::dockerfile::source::{Spanned, Word};
use crate::dockerfile::{ArgInstruction, Pair};

/// Keywords are all in lower case, or all in upper case, whatever most of them are.
pub(super) fn casing(keywords: &[(Word, Vec<String>)], findings: &mut Findings) {
    let count = |casing| keywords.iter().filter(|(word, _)| Casing::of(&word.text) == casing).count();
    let majority = if count(Casing::Lower) > count(Casing::Upper) { Casing::Lower } else { Casing::Upper };
    let name = if majority == Casing::Lower { "lowercase" } else { "uppercase" };
    for (word, comments) in keywords {
        if Casing::of(&word.text) != majority {
            let message =
                format!("Command '{}' should match the case of the command majority ({name})", word.text);
            findings.add(Rule::ConsistentInstructionCasing, message, word.span, comments);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Casing {
    Lower,
    Upper,
    Mixed,
}

impl Casing {
    pub(super) fn of(word: &str) -> Self {
        match word {
            _ if word == word.to_lowercase() => Self::Lower,
            _ if word == word.to_uppercase() => Self::Upper,
            _ => Self::Mixed,
        }
    }
}

pub(super) fn arg(arg: &Spanned<ArgInstruction>, findings: &mut Findings) {
    arg_names(&arg.node, arg, findings);
}

/// The same for an ARG inside a stage, where `at` is the instruction around it.
pub(super) fn arg_names<T>(arg: &ArgInstruction, at: &Spanned<T>, findings: &mut Findings) {
    let names: Vec<&str> = arg.variables.iter().map(|variable| variable.name.text.as_str()).collect();
    definition::described("ARG", &names, at, findings);
    for variable in &arg.variables {
        secret("ARG", &variable.name, &at.comments, findings);
    }
}

pub(super) fn env_names(pairs: &[Pair], comments: &[String], findings: &mut Findings) {
    for pair in pairs {
        secret("ENV", &pair.key, comments, findings);
    }
}

fn secret(keyword: &str, name: &Word, comments: &[String], findings: &mut Findings) {
    if looks_secret(&name.text) {
        let message =
            format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {:?})", name.text);
        findings.add(Rule::SecretsUsedInArgOrEnv, message, name.span, comments);
    }
}

fn looks_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn names_of_secrets_are_recognised_by_their_parts() {
        for name in ["PASSWORD", "db_password", "API_KEY", "apikey", "GITHUB_TOKEN", "auth_x"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["PUBLIC_KEY", "KEY_FILE", "TOKEN_VERSION", "KEYBOARD", "AUTHOR", "SECRETS", "PATH"] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
