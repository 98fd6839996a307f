//! Asking a person at the terminal, with or without showing what is typed.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::report::Report;
use crate::registry::Secret;

/// One line, shown as it is typed.
pub(super) fn line(question: &str) -> Result<String, Report> {
    let terminal = terminal()?;
    ask(&terminal, question)?;
    let typed = read(&terminal)?;
    String::from_utf8(typed).map_err(|_| Report::usage("what was typed is no text"))
}

/// One line that is not shown.
pub(super) fn secret(question: &str) -> Result<Secret, Report> {
    let terminal = terminal()?;
    let hidden = Hidden::new(&terminal).map_err(unusable)?;
    ask(&terminal, question)?;
    let typed = read(&terminal);
    drop(hidden);
    let _ = (&terminal).write_all(b"\n");
    String::from_utf8(typed?).map(Secret::new).map_err(|_| Report::usage("what was typed is no text"))
}

/// The terminal itself, whatever standard output is, if somebody sits at standard input.
fn terminal() -> Result<File, Report> {
    if !io::stdin().is_terminal() {
        let hint =
            "give the user with -u, and the password to standard input with --password-stdin".to_owned();
        return Err(
            Report::usage("there is no terminal to ask for a user and a password at").hint(Some(hint))
        );
    }
    File::options().read(true).write(true).open("/dev/tty").map_err(unusable)
}

fn ask(mut terminal: &File, question: &str) -> Result<(), Report> {
    terminal.write_all(question.as_bytes()).map_err(unusable)
}

/// Bytes up to the end of the line. An interrupt comes as a byte while nothing is shown, so that the terminal can be set right.
fn read(mut terminal: &File) -> Result<Vec<u8>, Report> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match terminal.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => match byte[0] {
                b'\n' | b'\r' => break,
                INTERRUPT => return Err(Report::interrupted()),
                END if line.is_empty() => return Err(Report::interrupted()),
                ERASE | BACKSPACE => {
                    line.pop();
                }
                KILL => line.clear(),
                other => line.push(other),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unusable(error)),
        }
    }
    Ok(line)
}

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const KILL: u8 = 21;
const ERASE: u8 = 127;

fn unusable(error: impl Into<io::Error>) -> Report {
    Report::usage(format!("the terminal cannot be used: {}", error.into()))
}

/// A terminal that shows nothing; as it was before on drop.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
