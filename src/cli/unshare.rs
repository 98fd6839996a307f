//! `rbuild unshare`

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::report::{Code, Report};
use super::{Global, environment};

/// Run a command in the namespace that builds use, for example to look at the store.
///
/// Inside, this user is root, and files of the store that belong to subordinate ids can be read and removed. RBUILD_ROOT
/// names the store. The exit code is that of the command; 126 if it cannot be executed, 127 if there is none.
#[derive(Debug, Args)]
pub(super) struct UnshareArgs {
    /// The command and its arguments [default: $SHELL, else /bin/sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn main(global: &Global, args: UnshareArgs) -> Result<i32, Report> {
    let mut words = args.command.into_iter();
    let shell = || environment::variable("SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
    let program = words.next().unwrap_or_else(shell);
    let (root, entered) = environment::enter_namespace(global)?;
    if let Some(closed) = entered.closed {
        return Err(Report::new(Code::Isolation, &closed).hint(closed.hint));
    }
    // In place of this process: signals, the terminal and the exit code are the command's own.
    let error = Command::new(&program).args(words).env("RBUILD_ROOT", &root).exec();
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::NotExecutable,
    };
    Err(Report::new(code, format!("cannot execute {}: {error}", program.display())))
}
