//! Variables: build arguments and the environment, as each instruction sees them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::Request;
use super::epoch::EPOCH_ARG;
use crate::dockerfile::expand::{self, ExpandError, Expanded, ExpandedWords};
use crate::dockerfile::{ArgInstruction, Diagnostic, Dockerfile, Word};

/// Build arguments that steps see without declaring them, each in both cases, and that decide about no key.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that say what is scanned: they are declared like others, but no step sees them.
const NEVER_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The arguments before the first FROM.
#[derive(Debug)]
pub(super) struct GlobalScope<'a> {
    build_args: &'a BTreeMap<String, String>,
    /// Those that some ARG has asked for.
    used: RefCell<BTreeSet<String>>,
    values: BTreeMap<String, String>,
    /// Declared in the file, with or without a value.
    declared: BTreeSet<String>,
    /// Those whose value could not be made out.
    pub broken: BTreeSet<String>,
    escape: char,
}

/// What a stage has set so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// ARG and ENV together, in the order in which they were set last: what RUN sees.
    environment: Vec<(String, String)>,
    /// Declared arguments in order of their first declaration, with the value of their last.
    arguments: Vec<(String, Option<String>)>,
    /// The base image is not known: it may set any variable.
    open: bool,
    /// Variables whose values could not be made out.
    lost: BTreeSet<String>,
    /// Whether a variable was asked for, since this was last reset, whose value is not known.
    missed: Cell<bool>,
}

impl<'a> GlobalScope<'a> {
    /// The values, and what is wrong with the rest.
    pub(super) fn new(file: &Dockerfile, request: &'a Request, target: &str) -> (Self, Vec<Diagnostic>) {
        let scope = Self {
            build_args: &request.build_args,
            used: RefCell::default(),
            values: BTreeMap::new(),
            declared: BTreeSet::new(),
            broken: BTreeSet::new(),
            escape: file.directives.escape,
        };
        scope.filled(file, request, target)
    }

    /// The values that there would be without any build argument.
    pub(super) fn of_defaults(file: &Dockerfile, request: &Request, target: &str) -> Option<Self> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        let scope = Self {
            build_args: NONE,
            used: RefCell::default(),
            values: BTreeMap::new(),
            declared: BTreeSet::new(),
            broken: BTreeSet::new(),
            escape: file.directives.escape,
        };
        let (scope, errors) = scope.filled(file, request, target);
        errors.is_empty().then_some(scope)
    }

    fn filled(mut self, file: &Dockerfile, request: &Request, target: &str) -> (Self, Vec<Diagnostic>) {
        for (name, value) in predefined(request, target) {
            let value = self.build_arg(&name).unwrap_or(value);
            self.values.insert(name, value);
        }
        let mut errors = Vec::new();
        for variable in file.global_args.iter().flat_map(|arg| &arg.node.variables) {
            let name = &variable.name.text;
            let value = match (self.build_arg(name), &variable.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) if self.is_broken(default) => {
                    self.broken.insert(name.clone());
                    None
                }
                (None, Some(default)) => match self.expand(default) {
                    Ok(expanded) => Some(expanded.text),
                    Err(error) => {
                        errors.push(error);
                        self.broken.insert(name.clone());
                        None
                    }
                },
                (None, None) => None,
            };
            self.declared.insert(name.clone());
            if let Some(value) = value {
                self.values.insert(name.clone(), value);
            }
        }
        (self, errors)
    }

    /// Whether a word uses a variable whose value could not be made out.
    pub(super) fn is_broken(&self, word: &Word) -> bool {
        !self.broken.is_empty()
            && expand::variables(&word.text, self.escape).iter().any(|name| self.broken.contains(name))
    }

    pub(super) fn expand(&self, word: &Word) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.values.get(name).cloned();
        expand::expand(&word.text, self.escape, &lookup).map_err(|error| located(&error, word))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Every name that a FROM may use.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let without_value = self.declared.iter().filter(|name| !self.values.contains_key(*name));
        self.values.keys().chain(without_value).map(String::as_str)
    }

    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// Build arguments that no ARG has asked for, and that mean nothing by themselves.
    pub(super) fn unused_build_args(&self) -> Vec<String> {
        let used = self.used.borrow();
        let meant = |name: &str| {
            PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
                || name.starts_with("BUILDKIT_")
                || name == EPOCH_ARG
        };
        self.build_args.keys().filter(|name| !used.contains(*name) && !meant(name)).cloned().collect()
    }

    fn build_arg(&self, name: &str) -> Option<String> {
        let value = self.build_args.get(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(value.clone())
    }
}

/// What an ARG has declared.
#[derive(Debug)]
pub(super) struct Declared {
    pub name: String,
    pub value: Option<String>,
    /// Variables of the default that have no value.
    pub unset: Vec<String>,
    /// Whether the value is the one that was declared before the first FROM.
    pub is_global: bool,
}

impl Scope {
    /// The scope of a stage whose base image is not known.
    pub(super) fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a variable that is not set may have a value all the same.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.open || self.lost.contains(name)
    }

    /// Sets a variable; it moves to the end, as in BuildKit's environment.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.lost.remove(name);
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn look_up(&self, name: &str) -> Option<String> {
        let value = self.get(name).map(str::to_owned);
        self.missed.set(self.missed.get() || value.is_none() && self.may_have(name));
        value
    }

    /// Begins to watch whether variables are asked for whose values are not known.
    pub(super) fn watch(&self) {
        self.missed.set(false);
    }

    /// Whether there were any.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.get()
    }

    /// Gives up a variable whose new value could not be made out: whatever uses it is not to be judged.
    pub(super) fn forget(&mut self, name: &str) {
        self.lost.insert(name.to_owned());
        self.environment.retain(|(known, _)| known != name);
    }

    /// `NAME=value` in order.
    pub(super) fn environment(&self) -> Vec<String> {
        self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.environment.iter().map(|(name, _)| name.as_str())
    }

    /// Each declared argument once, with the value that a step sees; empty if it has none.
    pub(super) fn arguments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arguments.iter().map(|(name, value)| {
            let seen = self.get(name).or(value.as_deref()).unwrap_or_default();
            (name.as_str(), seen)
        })
    }

    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.arguments.iter().any(|(known, _)| known == name)
    }

    /// Declares what an ARG names, from left to right.
    pub(super) fn declare(
        &mut self,
        instruction: &ArgInstruction,
        global: &GlobalScope<'_>,
        escape: char,
    ) -> Result<Vec<Declared>, Diagnostic> {
        let mut declared = Vec::new();
        for variable in &instruction.variables {
            let name = variable.name.text.clone();
            let mut unset = Vec::new();
            let mut is_global = false;
            let value = match (global.build_arg(&name), &variable.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => {
                    let expanded = self.expand(default, escape)?;
                    unset = expanded.unset;
                    Some(expanded.text)
                }
                (None, None) => {
                    let value = global.get(&name).map(str::to_owned);
                    is_global = value.is_some();
                    value
                }
            };
            if let Some(value) = value.as_ref().filter(|_| !NEVER_IN_ENVIRONMENT.contains(&name.as_str())) {
                self.set(&name, value);
            }
            match self.arguments.iter_mut().find(|(known, _)| *known == name) {
                Some((_, latest)) => latest.clone_from(&value),
                None => self.arguments.push((name.clone(), value.clone())),
            }
            declared.push(Declared { name, value, unset, is_global });
        }
        Ok(declared)
    }

    pub(super) fn expand(&self, word: &Word, escape: char) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.look_up(name);
        expand::expand(&word.text, escape, &lookup).map_err(|error| located(&error, word))
    }

    pub(super) fn expand_words(&self, word: &Word, escape: char) -> Result<ExpandedWords, Diagnostic> {
        let lookup = |name: &str| self.look_up(name);
        expand::expand_words(&word.text, escape, &lookup).map_err(|error| located(&error, word))
    }

    /// A heredoc's body with its variables substituted; `word` is where errors are shown.
    pub(super) fn expand_body(&self, body: &str, word: &Word) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.look_up(name);
        expand::expand_heredoc(body, &lookup).map_err(|error| located(&error, word))
    }

    /// A text as progress shows it.
    pub(super) fn display(&self, text: &str, escape: char) -> String {
        expand::display(text, escape, &|name| self.get(name).map(str::to_owned))
    }

    /// Proxies that were given, in upper and lower case: seen by steps, and nowhere else. What the file itself sets is
    /// left alone.
    pub(super) fn proxies(&self, global: &GlobalScope<'_>) -> Vec<String> {
        let mut proxies = Vec::new();
        for name in PROXIES {
            let lower = name.to_ascii_lowercase();
            // Given in both cases, the lower one counts, as for BuildKit.
            let given = global.build_args.get(&lower).or_else(|| global.build_args.get(name));
            let Some(value) = given.filter(|value| !value.is_empty()) else { continue };
            let hidden = [name, &lower].into_iter().filter(|name| self.get(name).is_none());
            proxies.extend(hidden.map(|name| format!("{name}={value}")));
        }
        proxies
    }
}

pub(super) fn is_never_in_environment(name: &str) -> bool {
    NEVER_IN_ENVIRONMENT.contains(&name)
}

fn located(error: &ExpandError, word: &Word) -> Diagnostic {
    Diagnostic::new(error.message.clone(), word.span)
}

/// What every Dockerfile may ask for: where it is built, and for what.
fn predefined(request: &Request, target: &str) -> Vec<(String, String)> {
    let mut values = vec![("TARGETSTAGE".to_owned(), target.to_owned())];
    for (prefix, platform) in [("BUILD", &request.build_platform), ("TARGET", &request.platform)] {
        for (suffix, value) in [
            ("PLATFORM", platform.with_version()),
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
