//! The table of keywords.

use crate::dockerfile::heredoc::Grammar;
use crate::dockerfile::suggest;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

#[derive(Debug)]
pub struct KeywordRow {
    pub keyword: Keyword,
    /// In upper case.
    pub name: &'static str,
    pub help: &'static str,
}

/// In the order of [`Keyword`].
pub const KEYWORDS: &[KeywordRow] = &[
    row(Keyword::Add, "ADD", "copy files, unpack archives, fetch URLs and git repositories"),
    row(Keyword::Arg, "ARG", "declare a build argument"),
    row(Keyword::Cmd, "CMD", "set the default command of containers"),
    row(Keyword::Copy, "COPY", "copy files from the context, another stage or an image"),
    row(Keyword::Entrypoint, "ENTRYPOINT", "set the program that containers run"),
    row(Keyword::Env, "ENV", "set environment variables"),
    row(Keyword::Expose, "EXPOSE", "say which ports the image listens on"),
    row(Keyword::From, "FROM", "begin a stage on a base image"),
    row(Keyword::Healthcheck, "HEALTHCHECK", "say how to see that a container is well"),
    row(Keyword::Label, "LABEL", "add metadata to the image"),
    row(Keyword::Maintainer, "MAINTAINER", "set the author (deprecated)"),
    row(Keyword::Onbuild, "ONBUILD", "run an instruction when the image is used as a base"),
    row(Keyword::Run, "RUN", "run a command"),
    row(Keyword::Shell, "SHELL", "set the shell of shell forms"),
    row(Keyword::Stopsignal, "STOPSIGNAL", "set the signal that stops a container"),
    row(Keyword::User, "USER", "set the user of later steps and of containers"),
    row(Keyword::Volume, "VOLUME", "say which directories hold data"),
    row(Keyword::Workdir, "WORKDIR", "change the working directory, creating it"),
];

const fn row(keyword: Keyword, name: &'static str, help: &'static str) -> KeywordRow {
    KeywordRow { keyword, name, help }
}

impl Keyword {
    /// In any case.
    pub fn parse(word: &str) -> Option<Self> {
        KEYWORDS.iter().find(|row| row.name.eq_ignore_ascii_case(word)).map(|row| row.keyword)
    }

    /// The keyword that was probably meant.
    pub fn nearest(word: &str) -> Option<Self> {
        let name = suggest::nearest(&word.to_uppercase(), KEYWORDS.iter().map(|row| row.name))?;
        Self::parse(name)
    }

    /// In upper case.
    pub fn name(self) -> &'static str {
        KEYWORDS[self as usize].name
    }

    /// How `<<EOF` among its arguments opens a heredoc, if it does.
    pub(in crate::dockerfile) fn heredocs(self) -> Option<Grammar> {
        match self {
            Self::Add | Self::Copy => Some(Grammar::Words),
            Self::Run => Some(Grammar::Shell),
            Self::Arg
            | Self::Cmd
            | Self::Entrypoint
            | Self::Env
            | Self::Expose
            | Self::From
            | Self::Healthcheck
            | Self::Label
            | Self::Maintainer
            | Self::Onbuild
            | Self::Shell
            | Self::Stopsignal
            | Self::User
            | Self::Volume
            | Self::Workdir => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keywords() {
        for (index, row) in KEYWORDS.iter().enumerate() {
            assert_eq!(row.keyword as usize, index);
            assert_eq!(row.keyword.name(), row.name);
        }
    }
}
