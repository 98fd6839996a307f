//! COPY: files from the context, another stage or an image.

use super::argument::{Arguments, Words};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::FlagSpec;
use crate::dockerfile::git_source::GitSource;
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Never empty.
    pub sources: Vec<CopySource>,
    pub destination: Word,
    /// A stage's name or number, a named context or an image; the context if none. Expanded, unlike elsewhere.
    pub from: Option<Word>,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    /// Keep the sources' directories below the destination.
    pub parents: bool,
    /// A literal source that does not exist is left out instead of failing the build. An extension of ours.
    pub if_exists: bool,
    /// Not expanded.
    pub excludes: Vec<Word>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopySource {
    Path(Word),
    /// A file with the heredoc's content under its name.
    Heredoc(Heredoc),
}

const FLAGS: &[FlagSpec] = &[
    FlagSpec::text("from"),
    FlagSpec::text("chown"),
    FlagSpec::text("chmod"),
    FlagSpec::boolean("link"),
    FlagSpec::boolean("parents"),
    FlagSpec::boolean("if-exists"),
    FlagSpec::list("exclude"),
];

impl Copy {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut flags = arguments.flags(FLAGS);
        let (sources, destination) = sources_and_destination(arguments)?;
        for source in &sources {
            refuse_remote(source)?;
        }
        Ok(Self {
            sources,
            destination,
            from: flags.text("from"),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.boolean("link").unwrap_or(false),
            parents: flags.boolean("parents").unwrap_or(false),
            if_exists: flags.boolean("if-exists").unwrap_or(false),
            excludes: flags.list("exclude"),
        })
    }
}

/// What COPY and ADD share: all arguments but the last are sources.
pub(super) fn sources_and_destination(
    arguments: &mut Arguments<'_>,
) -> Result<(Vec<CopySource>, Word), Diagnostic> {
    let keyword = arguments.keyword().name();
    let Words { mut words, json } = arguments.json_or_words()?;
    let destination = match words.pop() {
        Some(destination) if !words.is_empty() => destination,
        one_or_none => {
            let span = one_or_none.map_or_else(|| arguments.span(), |word| word.span);
            let message = format!(
                "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
            );
            return Err(Diagnostic::new(message, span).hint(format!("write {keyword} source... destination")));
        }
    };
    let mut heredocs = arguments.take_heredocs();
    if json {
        heredocs.clear();
    }
    if let Some(heredoc) = heredocs.iter().find(|heredoc| heredoc.span.end >= destination.span.end) {
        let message = format!("{keyword} cannot accept a heredoc as a destination");
        return Err(Diagnostic::new(message, heredoc.span));
    }
    let sources = words.into_iter().filter_map(|word| {
        // The name of a heredoc may have quoted blanks, which the words know nothing of.
        let opened =
            heredocs.iter().find(|heredoc| (heredoc.span.start..heredoc.span.end).contains(&word.span.start));
        match opened {
            None => Some(CopySource::Path(word)),
            Some(heredoc) if heredoc.span.start == word.span.start => {
                Some(CopySource::Heredoc(heredoc.clone()))
            }
            Some(_) => None,
        }
    });
    Ok((sources.collect(), destination))
}

fn refuse_remote(source: &CopySource) -> Result<(), Diagnostic> {
    match source {
        CopySource::Path(path) => refuse_remote_path(&path.text, path),
        CopySource::Heredoc(_) => Ok(()),
    }
}

/// COPY takes nothing that would have to be fetched. `text` may be the word's, or what it has become by expansion.
pub fn refuse_remote_path(text: &str, word: &Word) -> Result<(), Diagnostic> {
    let kind = match Remote::of(text) {
        Some(Remote::Git) => "git ref",
        Some(Remote::Url) => "URL",
        None => return Ok(()),
    };
    Err(Diagnostic::new(format!("source can't be a {kind} for COPY"), word.span)
        .hint("ADD fetches URLs and git repositories"))
}

/// A source that is not a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remote {
    Git,
    Url,
}

impl Remote {
    pub fn of(text: &str) -> Option<Self> {
        let url = text.starts_with("http://") || text.starts_with("https://");
        let git = GitSource::parse(text).is_some();
        match (git, url) {
            (true, _) => Some(Self::Git),
            (false, true) => Some(Self::Url),
            (false, false) => None,
        }
    }
}
