//! RUN: a command whose changes become a layer.

use std::borrow::Cow;

use super::argument::Arguments;
use super::command::CommandLine;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::FlagSpec;
use crate::dockerfile::heredoc::{self, Grammar, Heredoc};
use crate::dockerfile::mount::Mount;
use crate::dockerfile::source::Word;
use crate::dockerfile::suggest;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pub command: CommandLine,
    /// In the order of the line. See [`Run::body`] for what they mean.
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<Mount>,
    pub network: Option<Network>,
    pub security: Option<Security>,
    pub devices: Vec<Device>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Network {
    Default,
    /// Only loopback.
    None,
    Host,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Security {
    Sandbox,
    Insecure,
}

/// `[name=]vendor/class=device[,required]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

/// What a RUN runs, its heredocs taken into account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunBody<'a> {
    /// Arguments as they are.
    Exec(&'a [String]),
    /// One string for the shell, bodies and terminators of heredocs included: the shell reads them itself.
    Shell(Cow<'a, str>),
    /// The command is nothing but one heredoc: its content is the script. With `shebang` it is to be a file
    /// `/dev/pipes/<name>` that the shell is asked to run, otherwise the string for the shell.
    Script { heredoc: &'a Heredoc, content: Cow<'a, str>, shebang: bool },
}

const FLAGS: &[FlagSpec] = &[
    FlagSpec::list("mount"),
    FlagSpec::text("network"),
    FlagSpec::text("security"),
    FlagSpec::list("device"),
];

impl Run {
    pub fn body(&self) -> RunBody<'_> {
        let text = match &self.command {
            CommandLine::Exec(words) => return RunBody::Exec(words),
            CommandLine::Shell(text) => text.text.as_str(),
        };
        match &self.heredocs[..] {
            [] => RunBody::Shell(Cow::Borrowed(text)),
            // With a number before `<<` it is a file descriptor of some command that is not there: the shell's business.
            [heredoc] if heredoc.descriptor.is_none() && is_one_word(text) => {
                let content = heredoc.content();
                let shebang = content.starts_with("#!");
                RunBody::Script { heredoc, content, shebang }
            }
            heredocs => {
                let mut script = text.to_owned();
                for heredoc in heredocs {
                    script.push('\n');
                    script.push_str(&heredoc.body);
                    script.push_str(&heredoc.name);
                }
                RunBody::Shell(Cow::Owned(script))
            }
        }
    }

    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut flags = arguments.flags(FLAGS);
        let command = CommandLine::parse(arguments)?;
        if let CommandLine::Exec(words) = &command
            && words.first().is_none_or(String::is_empty)
        {
            return Err(arguments.none_given().hint("the array's first string is the program"));
        }
        let mut mounts = Vec::new();
        for value in flags.list("mount") {
            match Mount::parse(&value) {
                Ok(mount) => mounts.push(mount),
                Err(error) => arguments.refuse(error),
            }
        }
        let network = flags.text("network").map(|value| network(&value)).transpose()?;
        let security = flags.text("security").map(|value| security(&value)).transpose()?;
        let devices = flags.list("device").iter().map(device).collect::<Result<_, _>>()?;
        Ok(Self { command, heredocs: arguments.take_heredocs(), mounts, network, security, devices })
    }
}

/// Whether the text opens a heredoc and says nothing besides.
fn is_one_word(text: &str) -> bool {
    matches!(heredoc::openers(text, Grammar::Shell)[..], [(0, end, _)] if end == text.len())
}

fn network(value: &Word) -> Result<Network, Diagnostic> {
    match value.text.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            let near = suggest::suffix(other, ["default", "none", "host"]);
            let message = format!("invalid network mode: {other:?}{near}");
            Err(Diagnostic::new(message, value.span).hint("--network is one of default, none, host"))
        }
    }
}

fn security(value: &Word) -> Result<Security, Diagnostic> {
    match value.text.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => {
            let near = suggest::suffix(other, ["sandbox", "insecure"]);
            let message = format!("security {other:?} is not valid{near}");
            Err(Diagnostic::new(message, value.span).hint("--security is one of sandbox, insecure"))
        }
    }
}

fn device(value: &Word) -> Result<Device, Diagnostic> {
    let mut fields = value.text.split(',');
    let first = fields.next().unwrap_or_default();
    let name = first.strip_prefix("name=").unwrap_or(first);
    if name.is_empty() {
        return Err(Diagnostic::new("device name can not be blank", value.span)
            .hint("write --device=vendor/class=device"));
    }
    let mut required = false;
    for field in fields {
        match field {
            "required" | "required=true" => required = true,
            "required=false" => required = false,
            other => {
                let near = suggest::suffix(other, ["required"]);
                let message = format!("unexpected key '{other}' in '{}'{near}", value.text);
                return Err(Diagnostic::new(message, value.span));
            }
        }
    }
    Ok(Device { name: name.to_owned(), required })
}
