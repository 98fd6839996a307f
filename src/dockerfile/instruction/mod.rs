//! The instructions, one file for each keyword: its type and how its arguments become one.
//!
//! A new instruction is a file here, a variant of [`Instruction`], a row of [`KEYWORDS`] and an arm in `parse`.

mod add;
mod arg;
mod argument;
mod cmd;
mod command;
mod copy;
mod duration;
mod entrypoint;
mod env;
mod expose;
mod from;
mod healthcheck;
mod keyword;
mod label;
mod maintainer;
mod onbuild;
mod run;
mod shell;
mod stopsignal;
mod user;
mod volume;
mod workdir;

pub use add::Add;
pub use arg::{ArgInstruction, ArgVariable};
pub(super) use argument::{Arguments, unknown};
pub use cmd::Cmd;
pub use command::CommandLine;
pub use copy::{Copy, CopySource, Remote, refuse_remote_path};
pub use duration::nanoseconds;
pub use entrypoint::Entrypoint;
pub use env::{Env, Pair};
pub use expose::{Expose, Port, Protocol};
pub use from::From;
pub use healthcheck::{Check, Healthcheck};
pub use keyword::{KEYWORDS, Keyword, KeywordRow};
pub use label::Label;
pub use maintainer::Maintainer;
pub use onbuild::Onbuild;
pub use run::{Device, Network, Run, RunBody, Security};
pub use shell::Shell;
pub use stopsignal::Stopsignal;
pub use user::User;
pub use volume::Volume;
pub use workdir::Workdir;

use super::diagnostic::Diagnostic;
use super::source::Spanned;

/// Everything that may stand in a stage below its FROM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Instruction {
    Add(Add),
    Arg(ArgInstruction),
    Cmd(Cmd),
    Copy(Copy),
    Entrypoint(Entrypoint),
    Env(Env),
    Expose(Expose),
    Healthcheck(Healthcheck),
    Label(Label),
    Maintainer(Maintainer),
    Onbuild(Onbuild),
    Run(Run),
    Shell(Shell),
    Stopsignal(Stopsignal),
    User(User),
    Volume(Volume),
    Workdir(Workdir),
}

impl Instruction {
    pub fn keyword(&self) -> Keyword {
        match self {
            Self::Add(_) => Keyword::Add,
            Self::Arg(_) => Keyword::Arg,
            Self::Cmd(_) => Keyword::Cmd,
            Self::Copy(_) => Keyword::Copy,
            Self::Entrypoint(_) => Keyword::Entrypoint,
            Self::Env(_) => Keyword::Env,
            Self::Expose(_) => Keyword::Expose,
            Self::Healthcheck(_) => Keyword::Healthcheck,
            Self::Label(_) => Keyword::Label,
            Self::Maintainer(_) => Keyword::Maintainer,
            Self::Onbuild(_) => Keyword::Onbuild,
            Self::Run(_) => Keyword::Run,
            Self::Shell(_) => Keyword::Shell,
            Self::Stopsignal(_) => Keyword::Stopsignal,
            Self::User(_) => Keyword::User,
            Self::Volume(_) => Keyword::Volume,
            Self::Workdir(_) => Keyword::Workdir,
        }
    }
}

impl Spanned<Instruction> {
    /// What a step is called: the line as written with its keyword in upper case, then in parentheses how the script of a
    /// RUN heredoc begins.
    pub fn headline(&self) -> String {
        let name = self.node.keyword().name();
        let rest = self.text.trim_start().get(name.len()..).unwrap_or_default();
        let line = format!("{name}{rest}");
        let line = line.trim_end();
        match &self.node {
            Instruction::Run(run) => match run.body() {
                RunBody::Script { heredoc, .. } => format!("{line} ({})", heredoc.summary()),
                RunBody::Exec(_) | RunBody::Shell(_) => line.to_owned(),
            },
            Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Cmd(_)
            | Instruction::Copy(_)
            | Instruction::Entrypoint(_)
            | Instruction::Env(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Maintainer(_)
            | Instruction::Onbuild(_)
            | Instruction::Shell(_)
            | Instruction::Stopsignal(_)
            | Instruction::User(_)
            | Instruction::Volume(_)
            | Instruction::Workdir(_) => line.to_owned(),
        }
    }
}

/// What a logical line can be.
#[derive(Debug)]
pub(super) enum Parsed {
    From(From),
    Instruction(Instruction),
}

/// Reads one instruction. None if something was wrong with it, which is then among the errors of `arguments`.
pub(super) fn parse(keyword: Keyword, mut arguments: Arguments<'_>) -> Result<Parsed, Vec<Diagnostic>> {
    let parsed = parse_kind(keyword, &mut arguments);
    let mut errors = arguments.into_errors();
    match parsed {
        Ok(parsed) if errors.is_empty() => Ok(parsed),
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(error);
            Err(errors)
        }
    }
}

fn parse_kind(keyword: Keyword, arguments: &mut Arguments<'_>) -> Result<Parsed, Diagnostic> {
    let instruction = match keyword {
        Keyword::From => return From::parse(arguments).map(Parsed::From),
        Keyword::Add => Instruction::Add(Add::parse(arguments)?),
        Keyword::Arg => Instruction::Arg(ArgInstruction::parse(arguments)?),
        Keyword::Cmd => Instruction::Cmd(Cmd::parse(arguments)?),
        Keyword::Copy => Instruction::Copy(Copy::parse(arguments)?),
        Keyword::Entrypoint => Instruction::Entrypoint(Entrypoint::parse(arguments)?),
        Keyword::Env => Instruction::Env(Env::parse(arguments)?),
        Keyword::Expose => Instruction::Expose(Expose::parse(arguments)?),
        Keyword::Healthcheck => Instruction::Healthcheck(Healthcheck::parse(arguments)?),
        Keyword::Label => Instruction::Label(Label::parse(arguments)?),
        Keyword::Maintainer => Instruction::Maintainer(Maintainer::parse(arguments)?),
        Keyword::Onbuild => Instruction::Onbuild(Onbuild::parse(arguments)?),
        Keyword::Run => Instruction::Run(Run::parse(arguments)?),
        Keyword::Shell => Instruction::Shell(Shell::parse(arguments)?),
        Keyword::Stopsignal => Instruction::Stopsignal(Stopsignal::parse(arguments)?),
        Keyword::User => Instruction::User(User::parse(arguments)?),
        Keyword::Volume => Instruction::Volume(Volume::parse(arguments)?),
        Keyword::Workdir => Instruction::Workdir(Workdir::parse(arguments)?),
    };
    Ok(Parsed::Instruction(instruction))
}
