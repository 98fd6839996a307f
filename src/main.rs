use std::io::Write;

use rbuild::sys::process;
use rbuild::{cli, sandbox};

/// Decides, before there is any thread, which process this is.
fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    // Started again by a descriptor it would be called by that one's number.
    let _ = rustix::thread::set_name(c"rbuild");
    let code = match first {
        Some(sandbox::child::ARGUMENT) => sandbox::child::main(),
        Some(sandbox::network::holder::ARGUMENT) => sandbox::network::holder::main(),
        Some(cli::behind::ARGUMENT) => cli::behind::main(&arguments[2..]),
        Some(_) | None => cli::main(arguments),
    };
    // Threads may still be at work on something that nobody waits for. They are not to run into the clean-up of the C
    // library and of those above it, which takes away what they use.
    let _ = std::io::stdout().flush();
    process::exit_now(u8::try_from(code).unwrap_or(u8::MAX).into())
}
