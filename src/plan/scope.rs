//! Variables: build arguments and the environment, as each instruction sees them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Request;
use crate::dockerfile::expand::{self, ExpandError, Expanded};
use crate::dockerfile::{ArgInstruction, Diagnostic, Dockerfile, Word};
use crate::image::Platform;

/// Build arguments that steps see without declaring them, and that decide about no key.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments before the first FROM.
#[derive(Debug)]
pub(super) struct GlobalScope<'a> {
    build_args: &'a BTreeMap<String, String>,
    /// Those that some ARG has asked for.
    used: RefCell<BTreeSet<String>>,
    values: BTreeMap<String, String>,
    escape: char,
}

/// What a stage has set so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// ARG and ENV together, in the order in which they were set last: what RUN sees.
    environment: Vec<(String, String)>,
    /// Declared arguments in order of their first declaration, with their latest value.
    arguments: Vec<(String, Option<String>)>,
}

impl<'a> GlobalScope<'a> {
    pub(super) fn new(file: &'a Dockerfile, request: &'a Request, target: &str) -> Result<Self, Diagnostic> {
        let mut scope = Self {
            build_args: &request.build_args,
            used: RefCell::default(),
            values: BTreeMap::new(),
            escape: file.directives.escape,
        };
        for (name, value) in predefined(&request.platform, target) {
            let value = scope.build_arg(&name).unwrap_or(value);
            scope.values.insert(name, value);
        }
        for instruction in &file.global_args {
            for variable in &instruction.node.variables {
                let name = &variable.name.text;
                let value = match (scope.build_arg(name), &variable.default) {
                    (Some(given), _) => Some(given),
                    (None, Some(default)) => Some(scope.expand(default)?.text),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    scope.values.insert(name.clone(), value);
                }
            }
        }
        Ok(scope)
    }

    pub(super) fn expand(&self, word: &Word) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.values.get(name).cloned();
        expand::expand(&word.text, self.escape, &lookup).map_err(|error| located(&error, word))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn unused_build_args(&self) -> Vec<String> {
        let used = self.used.borrow();
        let meant = |name: &str| {
            PROXIES.contains(&name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
        };
        self.build_args.keys().filter(|name| !used.contains(*name) && !meant(name)).cloned().collect()
    }

    fn build_arg(&self, name: &str) -> Option<String> {
        let value = self.build_args.get(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(value.clone())
    }
}

impl Scope {
    /// Sets a variable; it moves to the end, as in BuildKit's environment.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `NAME=value` in order.
    pub(super) fn environment(&self) -> Vec<String> {
        self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(super) fn arguments(&self) -> &[(String, Option<String>)] {
        &self.arguments
    }

    /// Declares what an ARG names; returns each with its value.
    pub(super) fn declare(
        &mut self,
        instruction: &ArgInstruction,
        global: &GlobalScope<'_>,
        escape: char,
    ) -> Result<Vec<(String, Option<String>)>, Diagnostic> {
        let mut declared = Vec::new();
        for variable in &instruction.variables {
            let name = variable.name.text.clone();
            let value = match (global.build_arg(&name), &variable.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expand(default, escape)?.text),
                (None, None) => global.values.get(&name).cloned(),
            };
            if let Some(value) = &value {
                self.set(&name, value);
            }
            match self.arguments.iter_mut().find(|(known, _)| *known == name) {
                Some((_, latest)) => latest.clone_from(&value),
                None => self.arguments.push((name.clone(), value.clone())),
            }
            declared.push((name, value));
        }
        Ok(declared)
    }

    pub(super) fn expand(&self, word: &Word, escape: char) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.get(name).map(str::to_owned);
        expand::expand(&word.text, escape, &lookup).map_err(|error| located(&error, word))
    }

    pub(super) fn expand_words(&self, word: &Word, escape: char) -> Result<Vec<String>, Diagnostic> {
        let lookup = |name: &str| self.get(name).map(str::to_owned);
        let words =
            expand::expand_words(&word.text, escape, &lookup).map_err(|error| located(&error, word))?;
        Ok(words.words)
    }

    /// A heredoc's body with its variables substituted.
    pub(super) fn expand_body(&self, body: &str, word: &Word) -> Result<String, Diagnostic> {
        let lookup = |name: &str| self.get(name).map(str::to_owned);
        Ok(expand::expand_heredoc(body, &lookup).map_err(|error| located(&error, word))?.text)
    }

    /// A text as progress shows it.
    pub(super) fn display(&self, text: &str, escape: char) -> String {
        expand::display(text, escape, &|name| self.get(name).map(str::to_owned))
    }

    /// Proxies that were given and not declared: seen by steps, and nowhere else.
    pub(super) fn proxies(&self, global: &GlobalScope<'_>) -> Vec<String> {
        let given = PROXIES.iter().filter_map(|name| Some((*name, global.build_args.get(*name)?)));
        let hidden = given.filter(|(name, _)| self.get(name).is_none());
        hidden.map(|(name, value)| format!("{name}={value}")).collect()
    }
}

fn located(error: &ExpandError, word: &Word) -> Diagnostic {
    Diagnostic::new(error.message.clone(), word.span)
}

/// What every Dockerfile may ask for: where it is built, and for what.
fn predefined(platform: &Platform, target: &str) -> Vec<(String, String)> {
    let mut values = vec![("TARGETSTAGE".to_owned(), target.to_owned())];
    for (prefix, platform) in [("BUILD", &Platform::host()), ("TARGET", platform)] {
        for (suffix, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
            ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
        ] {
            values.push((format!("{prefix}{suffix}"), value));
        }
    }
    values
}
