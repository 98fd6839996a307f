//! From text to instructions.

use super::diagnostic::{Aside, Diagnostic, ParseErrors};
use super::heredoc::{self, Grammar, Heredoc};
use super::instruction::{self, Arguments, Keyword, Parsed};
use super::line::{Line, Reader};
use super::lint::{self, Noticed};
use super::source::{Source, Span, Spanned};
use super::word::{self, Text};
use super::{Directives, Dockerfile, Instruction, Stage, directive, flag};

/// Reads a file. `name` is what messages call it. Every independent error is reported.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, ParseErrors> {
    read(name, text, Frontend::AsTheFileSays)
}

/// Reads a file whatever frontend it asks for: for `BUILDKIT_SYNTAX=dockerfile.v0`.
pub fn parse_builtin(name: &str, text: &str) -> Result<Dockerfile, ParseErrors> {
    read(name, text, Frontend::Builtin)
}

/// An instruction that an image carries for its children.
#[derive(Clone, Debug)]
pub struct Trigger {
    pub source: Source,
    pub instruction: Spanned<Instruction>,
}

/// Reads what `ONBUILD` recorded in an image's config: one instruction, its heredocs included.
pub fn parse_trigger(name: &str, text: &str, escape: char) -> Result<Trigger, ParseErrors> {
    let source = Source::new(name, text);
    let mut file = File::default();
    file.read(source.text(), 0, escape);
    let mut errors = file.errors;
    if let Some(from) = file.from_seen {
        errors.push(Diagnostic::new("FROM isn't allowed as an ONBUILD trigger", from));
    }
    let mut instructions = file.leading.into_iter();
    let first = instructions.next();
    if let Some(second) = instructions.next() {
        errors.push(Diagnostic::new("an ONBUILD trigger is one instruction", second.span));
    }
    match first {
        Some(first) if matches!(first.node, Instruction::Onbuild(_) | Instruction::Maintainer(_)) => {
            let keyword = first.node.keyword().name();
            let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
            errors.push(Diagnostic::new(message, first.span));
        }
        Some(instruction) if errors.is_empty() => return Ok(Trigger { source, instruction }),
        None if errors.is_empty() => {
            errors.push(Diagnostic::new("the ONBUILD trigger is empty", Span::default()));
        }
        Some(_) | None => {}
    }
    Err(ParseErrors { source, errors, aside: Box::default(), rest: None })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frontend {
    AsTheFileSays,
    Builtin,
}

fn read(name: &str, text: &str, frontend: Frontend) -> Result<Dockerfile, ParseErrors> {
    if u32::try_from(text.len()).is_err() {
        let error = Diagnostic::new("the Dockerfile is larger than 4 GiB", Span::default());
        return Err(ParseErrors::only(Source::new(name, ""), error));
    }
    let source = Source::new(name, text);
    let mut file = File::default();
    let (directives, start) = directive::read(&source, &mut file.errors);
    if frontend == Frontend::AsTheFileSays
        && let Err(error) = directive::check_syntax(&directives)
    {
        // Another language: reading on would only find errors that are none.
        return Err(ParseErrors::only(source, error));
    }
    if let Some(Err(error)) = directives.check.as_ref().map(|check| lint::Config::parse(&check.text)) {
        let span = directives.check.as_ref().map_or_else(Span::default, |check| check.span);
        file.errors.push(Diagnostic::new(error.to_string(), span));
    }
    file.read(source.text(), start, directives.escape);
    file.check_shape(&source);
    file.finish(source, directives)
}

/// What has been read so far.
#[derive(Default)]
struct File {
    /// Instructions that no FROM could be read for.
    leading: Vec<Spanned<Instruction>>,
    stages: Vec<Stage>,
    /// The first FROM, even if it was wrong.
    from_seen: Option<Span>,
    instructions: usize,
    noticed: Noticed,
    errors: Vec<Diagnostic>,
    /// How many of the errors are in instructions that no other hangs on.
    harmless: usize,
}

impl File {
    fn read(&mut self, text: &str, start: usize, escape: char) {
        let mut reader = Reader::new(text, start, escape);
        while let Some(line) = reader.logical() {
            self.instructions += 1;
            self.noticed.line(&line);
            self.read_line(line, &mut reader, escape);
        }
        self.errors.append(&mut reader.errors);
        self.errors.sort_by_key(|error| error.span.start);
    }

    fn read_line(&mut self, line: Line, reader: &mut Reader<'_>, escape: char) {
        let text = Text::of(&line);
        let Some((word, rest)) = text.split_first_word() else { return };
        let heredocs = match read_heredocs(text, escape, reader) {
            Ok(heredocs) => heredocs,
            Err(error) => return self.errors.push(error),
        };
        let end = heredocs.last().map_or(line.span, |heredoc| {
            let terminator = terminator_end(reader.text(), heredoc);
            line.span.to(Span::new(terminator, terminator))
        });
        let span = line.span.to(end);
        let Some(keyword) = Keyword::parse(word.as_str()) else {
            let meant = Keyword::nearest(word.as_str());
            self.harmless += usize::from(meant.is_some_and(|meant| !defines_names(meant)));
            return self.errors.push(instruction::unknown(&word.word()));
        };
        if keyword == Keyword::From {
            self.from_seen.get_or_insert(span);
        }
        let arguments = Arguments::new(keyword, span, rest, heredocs, escape, &line.comments);
        match instruction::parse(keyword, arguments) {
            Ok(parsed) => {
                let written = word.word();
                let text = text.as_str().to_owned();
                self.add(parsed, span, text, line.comments.clone());
                self.noticed.keyword(written, &line.comments);
            }
            Err(errors) => {
                self.harmless += if defines_names(keyword) { 0 } else { errors.len() };
                self.errors.extend(errors);
            }
        }
    }

    fn add(&mut self, parsed: Parsed, span: Span, text: String, comments: Vec<String>) {
        match parsed {
            Parsed::From(from) => {
                let from = Spanned { node: from, span, text, comments };
                self.stages.push(Stage { from, instructions: Vec::new() });
            }
            Parsed::Instruction(node) => {
                let instruction = Spanned { node, span, text, comments };
                match self.stages.last_mut() {
                    Some(stage) => stage.instructions.push(instruction),
                    None => self.leading.push(instruction),
                }
            }
        }
    }

    /// What is wrong with the file as a whole.
    fn check_shape(&mut self, source: &Source) {
        let before_from = |span: Span| self.from_seen.is_none_or(|from| span.start < from.start);
        let stray = |leading: &&Spanned<Instruction>| {
            before_from(leading.span) && !matches!(leading.node, Instruction::Arg(_))
        };
        if let Some(stray) = self.leading.iter().find(stray) {
            let error = Diagnostic::new("no build stage in current context", stray.span)
                .hint("only ARG may stand before the first FROM");
            self.errors.push(match self.from_seen {
                Some(from) => error.note("the first stage begins here", from),
                None => error,
            });
        }
        self.errors.sort_by_key(|error| error.span.start);
        if !self.errors.is_empty() || self.from_seen.is_some() {
            return;
        }
        let whole = Span::new(0, source.text().len());
        let message = match () {
            () if source.text().is_empty() => "the Dockerfile cannot be empty",
            () if self.instructions == 0 => "file with no instructions",
            () => "dockerfile contains no stages to build",
        };
        self.errors.push(Diagnostic::new(message, whole).hint("a Dockerfile begins with FROM image"));
    }

    fn finish(self, source: Source, directives: Directives) -> Result<Dockerfile, ParseErrors> {
        let global_args = self.leading.into_iter().filter_map(|leading| match leading.node {
            Instruction::Arg(node) => {
                Some(Spanned { node, span: leading.span, text: leading.text, comments: leading.comments })
            }
            _ => None,
        });
        let global_args: Vec<_> = global_args.collect();
        let lints = lint::check(&global_args, &self.stages, &directives, self.noticed);
        let config = directives.lint_config();
        let file = Dockerfile { source, directives, global_args, stages: self.stages, lints };
        if self.errors.is_empty() {
            return Ok(file);
        }
        Err(ParseErrors {
            source: file.source.clone(),
            aside: Box::new(Aside { lints: file.lints.clone(), config }),
            rest: (self.harmless == self.errors.len() && !file.stages.is_empty()).then(|| Box::new(file)),
            errors: self.errors,
        })
    }
}

/// Whether other instructions may hang on one of this kind.
fn defines_names(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::From | Keyword::Arg | Keyword::Env | Keyword::Onbuild)
}

/// The bodies of the heredocs that a line opens, if its instruction takes any.
fn read_heredocs(line: Text<'_>, escape: char, reader: &mut Reader<'_>) -> Result<Vec<Heredoc>, Diagnostic> {
    let Some(grammar) = grammar(line, escape) else { return Ok(Vec::new()) };
    let mut heredocs = Vec::new();
    for (start, end, opener) in heredoc::openers(line.as_str(), grammar) {
        let span = line.part(start, end).span();
        let Some((body, body_span)) = read_body(reader, &opener) else {
            return Err(unterminated(&opener, span));
        };
        let heredoc::Opener { name, expand, strip_tabs, descriptor } = opener;
        heredocs.push(Heredoc { name, body, expand, strip_tabs, descriptor, span, body_span });
    }
    Ok(heredocs)
}

/// How heredocs are opened on a line; None if they are not.
fn grammar(line: Text<'_>, escape: char) -> Option<Grammar> {
    let (keyword, rest) = meant(line, escape)?;
    let (keyword, rest) = if keyword == Keyword::Onbuild { meant(rest, escape)? } else { (keyword, rest) };
    keyword.heredocs().filter(|_| !word::is_json_array(rest.as_str()))
}

/// Keyword and arguments. A mistyped keyword is an error in any case; taken for what was meant, the lines of its heredocs
/// are not reported as well.
fn meant(line: Text<'_>, escape: char) -> Option<(Keyword, Text<'_>)> {
    let (word, rest) = line.split_first_word()?;
    let keyword = Keyword::parse(word.as_str()).or_else(|| Keyword::nearest(word.as_str()))?;
    Some((keyword, flag::scan(rest, escape).1))
}

fn read_body(reader: &mut Reader<'_>, opener: &heredoc::Opener) -> Option<(String, Span)> {
    let mut from = None;
    while let Some(line) = reader.physical() {
        let text = &reader.text()[line.start..line.end];
        let text = if opener.strip_tabs { text.trim_start_matches('\t') } else { text };
        let start = *from.get_or_insert(line.start);
        if text == opener.name {
            let body = reader.text()[start..line.start].to_owned();
            return Some((body, Span::new(start, line.start)));
        }
    }
    None
}

fn unterminated(opener: &heredoc::Opener, span: Span) -> Diagnostic {
    let hint = format!("nothing but {:?} must stand on the line that ends it", opener.name);
    Diagnostic::new("unterminated heredoc", span).hint(hint)
}

/// Where the line that ends a heredoc ends.
fn terminator_end(text: &str, heredoc: &Heredoc) -> usize {
    let start = heredoc.body_span.end as usize;
    let line = text[start..].split('\n').next().unwrap_or_default();
    start + line.trim_end_matches('\r').len()
}
