//! The Dockerfile language: text becomes typed instructions, each with its place in the file.
//!
//! Flow: [`parse`] cuts a [`Source`] into logical lines (directives, comments, continuations, heredocs), takes keyword,
//! flags and arguments apart, and hands them to the one file that knows the instruction. The result keeps variables
//! unexpanded; [`expand`] substitutes them once their values are known. [`lint`] holds the rules of `--check`.
//!
//! Invariants: no I/O; no input panics; time is linear in the text; an error never hides an independent one later in the
//! file; a [`Span`] is always one of the file's own text, so every message can show it.
//!
//! Not here: what an instruction does (`plan`), which files it reads (`context`), ignore files.

mod boolean;
mod diagnostic;
mod directive;
mod dump;
pub mod expand;
mod flag;
mod git_source;
mod heredoc;
pub mod instruction;
mod line;
pub mod lint;
mod mount;
mod parse;
mod percent;
mod print;
mod source;
mod suggest;
mod word;

pub use boolean::go_boolean;
pub use diagnostic::{Diagnostic, Note, ParseErrors};
pub use directive::{Directives, is_builtin_frontend};
pub use git_source::{
    GitRemote, GitScheme, GitSource, GitSourceError, GitTimes, is_checksum, is_commit, is_reference_name,
    without_logins,
};
pub use heredoc::Heredoc;
pub use instruction::{
    Add, ArgInstruction, ArgVariable, Check, Cmd, CommandLine, Copy, CopySource, Device, Entrypoint, Env,
    Expose, From, Healthcheck, Instruction, KEYWORDS, Keyword, KeywordRow, Label, Maintainer, Network,
    Onbuild, Pair, Port, Protocol, Remote, Run, RunBody, Security, Shell, Stopsignal, User, Volume, Workdir,
    refuse_remote_path,
};
pub use lint::{Lint, Rule};
pub use mount::{
    BindMount, CacheMount, Mount, MountKey, MountKind, MountOption, Owner, ResolvedMount, SecretMount,
    Sharing, SshMount, TmpfsMount,
};
pub use parse::{Trigger, parse, parse_builtin, parse_trigger};
pub use percent::percent_decoded;
pub use source::{Source, Span, Spanned, Word};
pub use suggest::nearest;

/// A whole file.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    pub source: Source,
    pub directives: Directives,
    /// The ARGs before the first FROM.
    pub global_args: Vec<Spanned<ArgInstruction>>,
    /// Never empty.
    pub stages: Vec<Stage>,
    /// What the file alone violates, in the order of the file. The `check` directive has not been applied (a build argument
    /// may replace it), but `# check=skip=` comments before an instruction have.
    pub lints: Vec<Lint>,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub from: Spanned<From>,
    pub instructions: Vec<Spanned<Instruction>>,
}

#[cfg(test)]
mod tests;
