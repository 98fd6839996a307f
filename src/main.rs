use std::process::ExitCode;

use rbuild::{cli, sandbox};

/// Decides, before there is any thread, which process this is.
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    // Started again by a descriptor it would be called by that one's number.
    let _ = rustix::thread::set_name(c"rbuild");
    exit_code(match first {
        Some(sandbox::child::ARGUMENT) => sandbox::child::main(),
        Some(sandbox::network::holder::ARGUMENT) => sandbox::network::holder::main(),
        Some(cli::behind::ARGUMENT) => cli::behind::main(&arguments[2..]),
        Some(_) | None => cli::main(arguments),
    })
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
