//! `rbuild build --check` and `--call`: what can be said about a Dockerfile without building. No namespace is entered, no
//! store is opened, no image is looked up.

use std::fmt::Write as _;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::report::{Code, Report, frame};
use super::text::{print, table};
use crate::build::{self, BuildError, FoundContext, Request};
use crate::dockerfile::{Dockerfile, Lint, ParseErrors, Source, Span, nearest};
use crate::plan::{self, BaseImages, Outline, OutlineMount, Target};

/// `METHOD[,format=json]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

const METHODS: [(&str, Method); 4] = [
    ("build", Method::Build),
    ("check", Method::Check),
    ("outline", Method::Outline),
    ("targets", Method::Targets),
];

/// What came of reading a Dockerfile.
type Read = Result<(Dockerfile, FoundContext), BuildError>;

impl Call {
    pub(super) fn check() -> Self {
        Self { method: Method::Check, format: Format::Text }
    }

    pub(super) fn is_build(self) -> bool {
        self.method == Method::Build
    }

    /// Prints the answer on standard output; returns the exit code.
    pub(super) fn main(self, request: &Request, read: Read) -> Result<i32, Report> {
        match self.method {
            Method::Build => Ok(0),
            Method::Check => check(request, read, self.format),
            Method::Outline => {
                let (file, _) = read.map_err(Report::from)?;
                let outline = plan::outline(&file, &request.wanted).map_err(|errors| wrong(&file, errors))?;
                print(&match self.format {
                    Format::Text => outline_text(&outline),
                    Format::Json => pretty(&outline_json(&file, &outline)),
                });
                Ok(0)
            }
            Method::Targets => {
                let (file, _) = read.map_err(Report::from)?;
                let targets = plan::targets(&file);
                print(&match self.format {
                    Format::Text => targets_text(&targets),
                    Format::Json => pretty(&targets_json(&file, &targets)),
                });
                Ok(0)
            }
        }
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
            let near = nearest(name, METHODS.map(|(known, _)| known));
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(format!("there is no method {name:?}{near}"));
        };
        let mut format = Format::Text;
        for part in parts {
            format = match part {
                "format=json" => Format::Json,
                "format=text" => Format::Text,
                _ => return Err(format!("{part:?} is no option: only format=json and format=text are")),
            };
        }
        Ok(Self { method: *method, format })
    }
}

/// Every violation on standard output. What is wrong altogether is an error, after those.
fn check(request: &Request, read: Read, format: Format) -> Result<i32, Report> {
    let (file, context) = match read {
        Ok(read) => read,
        Err(BuildError::Dockerfile(errors)) => {
            show_aside(&errors.source, &noticed(request, &errors)?, format);
            return Err(Report::from(BuildError::Dockerfile(errors)));
        }
        Err(error) => return Err(Report::from(error)),
    };
    let ignore = context.ignore().map_err(Report::from)?;
    let images = BaseImages::new();
    let findings = build::check(&file, &request.wanted, &images, &ignore);
    let findings = findings.map_err(Report::from)?;
    if !findings.errors.is_empty() {
        show_aside(&file.source, &findings.lints, format);
        return Err(wrong(&file, findings.errors));
    }
    show(&file.source, &findings.lints, format);
    if findings.fatal && format == Format::Text {
        let rules = build::broken_rules(&findings);
        return Err(Report::new(Code::StepFailed, format!("lint violation found for rules: {rules}")));
    }
    Ok(i32::from(!findings.lints.is_empty()))
}

/// What was noticed in a file that cannot be parsed, and is wanted.
fn noticed(request: &Request, errors: &ParseErrors) -> Result<Vec<Lint>, Report> {
    let config = plan::lint_config(&request.wanted, errors.aside.config.clone());
    let config = config.map_err(|error| Report::from(BuildError::Check(error)))?;
    Ok(errors.aside.lints.iter().filter(|lint| config.wants(lint.rule)).cloned().collect())
}

fn wrong(file: &Dockerfile, diagnostics: Vec<crate::dockerfile::Diagnostic>) -> Report {
    Report::from(BuildError::Plan { text: Box::new(file.source.clone()), diagnostics })
}

fn show(source: &Source, lints: &[Lint], format: Format) {
    print(&match format {
        Format::Text => lints_text(source, lints),
        Format::Json => pretty(&lints_json(source, lints)),
    });
}

/// Shows what stands beside errors: that nothing does would read as if all were well.
fn show_aside(source: &Source, lints: &[Lint], format: Format) {
    if format == Format::Json || !lints.is_empty() {
        show(source, lints, format);
    }
}

fn lints_text(source: &Source, lints: &[Lint]) -> String {
    let mut text = match lints.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for lint in lints {
        let url = lint.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
        let _ = writeln!(text, "\nWARNING: {}{url}\n{}", lint.rule.id(), lint.message);
        let _ = writeln!(text, "{}", frame(source, lint.span));
    }
    text
}

fn lints_json(source: &Source, lints: &[Lint]) -> Value {
    let warning = |lint: &Lint| {
        json!({
            "ruleName": lint.rule.id(),
            "description": lint.rule.row().text,
            "url": lint.rule.url(),
            "detail": lint.message,
            "location": location(source, lint.span),
        })
    };
    let warnings: Vec<Value> = lints.iter().map(warning).collect();
    let text = STANDARD.encode(source.text());
    let source = json!({ "fileName": source.name, "language": "Dockerfile", "data": text });
    json!({ "warnings": warnings, "sources": [source] })
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    let name = outline.target.as_deref().unwrap_or("(default)");
    if outline.target.is_some() || outline.description.is_some() {
        let mut rows = vec![vec!["TARGET:", name]];
        rows.extend(outline.description.as_deref().map(|description| vec!["DESCRIPTION:", description]));
        text += &table(&rows);
    }
    let mut section = |head: &[&'static str], rows: Vec<Vec<&str>>| {
        if !rows.is_empty() {
            let blank = if text.is_empty() { "" } else { "\n" };
            let all: Vec<Vec<&str>> = std::iter::once(head.to_vec()).chain(rows).collect();
            text = format!("{text}{blank}{}", table(&all));
        }
    };
    let args = outline.args.iter();
    let args = args.map(|arg| vec![&*arg.name, &*arg.value, arg.description.as_deref().unwrap_or_default()]);
    section(&["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect());
    let mounts = |mounts: &'_ [OutlineMount]| -> Vec<Vec<String>> {
        let required = |required| if required { "true" } else { "" }.to_owned();
        mounts.iter().map(|mount| vec![mount.id.clone(), required(mount.required)]).collect()
    };
    for (head, mounts) in [("SECRET", mounts(&outline.secrets)), ("SSH", mounts(&outline.ssh))] {
        section(
            &[head, "REQUIRED"],
            mounts.iter().map(|row| row.iter().map(|cell| &**cell).collect()).collect(),
        );
    }
    text
}

fn outline_json(file: &Dockerfile, outline: &Outline) -> Value {
    let source = &file.source;
    let args = outline.args.iter().map(|arg| {
        json!({
            "name": arg.name,
            "description": arg.description.as_deref().unwrap_or_default(),
            "value": arg.value,
            "location": location(source, arg.span),
        })
    });
    let mounts = |mounts: &[OutlineMount]| -> Vec<Value> {
        let one = |mount: &OutlineMount| json!({ "name": mount.id, "required": mount.required, "location": location(source, mount.span) });
        mounts.iter().map(one).collect()
    };
    json!({
        "name": outline.target,
        "description": outline.description,
        "args": args.collect::<Vec<_>>(),
        "secrets": mounts(&outline.secrets),
        "ssh": mounts(&outline.ssh),
        "sources": [STANDARD.encode(source.text())],
    })
}

fn targets_text(targets: &[Target]) -> String {
    let name = |target: &Target| match (&target.name, target.default) {
        (Some(name), true) => format!("{name} (default)"),
        (Some(name), false) => name.clone(),
        (None, true) => "(default)".to_owned(),
        (None, false) => String::new(),
    };
    // A stage without a name cannot be asked for by one.
    let named = targets.iter().filter(|target| target.name.is_some() || target.default);
    let rows: Vec<(String, &str)> =
        named.map(|target| (name(target), target.description.as_deref().unwrap_or_default())).collect();
    let rows = rows.iter().map(|(name, description)| vec![&**name, description]);
    table(&std::iter::once(vec!["TARGET", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>())
}

fn targets_json(file: &Dockerfile, targets: &[Target]) -> Value {
    let target = |target: &Target| {
        json!({
            "name": target.name,
            "default": target.default,
            "description": target.description,
            "base": target.base,
            "platform": target.platform,
            "location": location(&file.source, target.span),
        })
    };
    let all: Vec<Value> = targets.iter().map(target).collect();
    json!({ "targets": all, "sources": [STANDARD.encode(file.source.text())] })
}

fn location(source: &Source, span: Span) -> Value {
    let (first, last) = source.lines_of(span);
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
