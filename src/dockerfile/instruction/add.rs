//! ADD: files from anywhere, archives unpacked.

use super::argument::Arguments;
use super::copy::{CopySource, sources_and_destination};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::FlagSpec;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Add {
    /// Never empty.
    pub sources: Vec<CopySource>,
    pub destination: Word,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    /// Pins what is fetched.
    pub checksum: Option<Word>,
    pub keep_git_dir: Option<bool>,
    /// None: unpack local archives, leave fetched ones.
    pub unpack: Option<bool>,
    /// Not expanded.
    pub excludes: Vec<Word>,
}

const FLAGS: &[FlagSpec] = &[
    FlagSpec::text("chown"),
    FlagSpec::text("chmod"),
    FlagSpec::boolean("link"),
    FlagSpec::boolean("keep-git-dir"),
    FlagSpec::text("checksum"),
    FlagSpec::boolean("unpack"),
    FlagSpec::list("exclude"),
];

impl Add {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut flags = arguments.flags(FLAGS);
        let (sources, destination) = sources_and_destination(arguments)?;
        let checksum = flags.text("checksum");
        if let Some(checksum) = checksum.as_ref().filter(|_| sources.len() > 1) {
            let message = "checksum can't be specified for multiple sources";
            return Err(Diagnostic::new(message, checksum.span).hint("write one ADD for each source"));
        }
        Ok(Self {
            sources,
            destination,
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.boolean("link").unwrap_or(false),
            checksum,
            keep_git_dir: flags.boolean("keep-git-dir"),
            unpack: flags.boolean("unpack"),
            excludes: flags.list("exclude"),
        })
    }
}
