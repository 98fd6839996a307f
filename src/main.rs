use std::process::ExitCode;

use rbuild::{cli, sandbox};

/// Decides, before there is any thread, which process this is.
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == sandbox::child::ARGUMENT) {
        return exit_code(sandbox::child::main());
    }
    if arguments.get(1).is_some_and(|argument| argument == cli::behind::ARGUMENT) {
        return exit_code(cli::behind::main(&arguments[2..]));
    }
    exit_code(cli::main(arguments))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
