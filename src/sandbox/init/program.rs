//! The first process inside becomes the program, or says why it cannot.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::message::Failure;
use crate::sandbox::spec::Process;

pub(super) fn execute(process: &Process) -> Failure {
    let Some(program) = process.arguments.first() else {
        return Failure::NotFound { program: String::new() };
    };
    let candidates = candidates(program, &process.environment);
    let mut denied = None;
    for path in &candidates {
        let error = replace_with(path, process);
        match error.kind() {
            io::ErrorKind::NotFound if !path.exists() => {}
            io::ErrorKind::NotFound => {
                let error = "its interpreter or dynamic loader is not in the image".to_owned();
                return Failure::NotExecutable { program: program.clone(), error };
            }
            io::ErrorKind::NotADirectory => {}
            _ => denied = Some(error),
        }
    }
    match denied {
        Some(error) => Failure::NotExecutable { program: program.clone(), error: error.to_string() },
        None => Failure::NotFound { program: program.clone() },
    }
}

/// Where a program may be: as it is named, or in the directories of the PATH that it will see.
fn candidates(program: &str, environment: &[String]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(program)).collect()
}

fn replace_with(path: &Path, process: &Process) -> io::Error {
    let mut command = Command::new(path);
    command.arg0(&process.arguments[0]).args(&process.arguments[1..]).env_clear();
    for entry in &process.environment {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if !name.is_empty() {
            command.env(OsStr::from_bytes(name.as_bytes()), value);
        }
    }
    command.exec()
}
