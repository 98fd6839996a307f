//! The command line: one file per verb, from arguments to effect.
//!
//! This is where the environment is read, where is printed, and where exit codes are decided (`report`); everything
//! below gets what it needs as values.

mod annotation;
pub mod behind;
mod build;
mod cache;
mod cache_options;
mod caching;
mod call;
mod confinement;
mod contexts;
mod dockerfile;
mod doctor;
mod du;
mod environment;
mod fields;
mod given;
mod history;
mod images;
mod inspect;
mod limits;
mod load;
mod login;
mod logout;
mod network;
mod output;
mod platform;
mod private_key;
mod prompt;
mod prune;
mod pull;
mod push;
mod quantity;
mod registry;
mod report;
mod rmi;
mod run;
mod save;
mod signals;
mod ssh;
mod store;
mod tag;
mod text;
mod transfer;
mod unshare;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::sandbox::{Choice, Layering, Rung};
use report::Report;

/// Builds container images from Dockerfiles, without a daemon and without root, and runs them.
///
/// `rbuild [OPTIONS] PATH` is short for `rbuild build [OPTIONS] PATH`.
#[derive(Debug, Parser)]
#[command(name = "rbuild", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    /// Where images, layers and caches are kept [default: $RBUILD_ROOT, else $XDG_DATA_HOME/rbuild, for root
    /// /var/lib/rbuild]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Mirrors and insecure registries [default: $CONTAINERS_REGISTRIES_CONF, else the files in
    /// ~/.config/containers and /etc/containers]
    #[arg(long, global = true, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// How processes are kept apart from the host; `rbuild doctor` says what works here
    #[arg(long, global = true, value_name = "RUNG", default_value = "auto")]
    isolation: Isolation,
    /// How layers are put on top of each other for a step that is run
    #[arg(long, global = true, value_name = "WAY", default_value = "auto")]
    overlay: Overlay,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(Box<build::BuildArgs>),
    Run(Box<run::RunArgs>),
    Images(images::ImagesArgs),
    Tag(tag::TagArgs),
    Rmi(rmi::RmiArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Save(save::SaveArgs),
    Load(load::LoadArgs),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Unshare(unshare::UnshareArgs),
    Doctor(doctor::DoctorArgs),
    Du(du::DuArgs),
    Prune(prune::PruneArgs),
    Cache(cache::CacheArgs),
    Store(store::StoreArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// The best of these that works.
    Auto,
    /// Real root: no user namespace.
    Root,
    /// A user namespace with the ids that /etc/subuid and /etc/subgid lend.
    Range,
    /// A user namespace with one id.
    Single,
    /// Nothing: what takes no process, such as images without RUN.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overlay {
    /// The best of these that works.
    Auto,
    /// By the kernel.
    Kernel,
    /// By the kernel, in the way of Linux before 6.8.
    Mount,
    /// By the program fuse-overlayfs.
    Fuse,
    /// Not at all: every step gets a copy of all files.
    Copy,
}

impl From<Overlay> for Option<Layering> {
    fn from(overlay: Overlay) -> Self {
        match overlay {
            Overlay::Auto => None,
            Overlay::Kernel => Some(Layering::Kernel),
            Overlay::Mount => Some(Layering::Mount),
            Overlay::Fuse => Some(Layering::Fuse),
            Overlay::Copy => Some(Layering::Copy),
        }
    }
}

impl From<Isolation> for Choice {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Auto => Self::Auto,
            Isolation::Root => Self::Only(Rung::Root),
            Isolation::Range => Self::Only(Rung::Range),
            Isolation::Single => Self::Only(Rung::Single),
            Isolation::None => Self::Only(Rung::Bare),
        }
    }
}

/// What holds for every verb.
#[derive(Debug)]
struct Global {
    root: Option<PathBuf>,
    registries_conf: Option<PathBuf>,
    isolation: Choice,
    layering: Option<Layering>,
}

/// Runs the command line; returns the exit code. The process has one thread.
pub fn main(arguments: Vec<OsString>) -> i32 {
    let cli = match Cli::try_parse_from(with_verb(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // A terminal that is gone does not want the text.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let global = Global {
        root: cli.root,
        registries_conf: cli.registries_conf,
        isolation: cli.isolation.into(),
        layering: cli.overlay.into(),
    };
    let result = match cli.verb {
        Verb::Build(args) => build::main(&global, *args),
        Verb::Run(args) => run::main(&global, *args),
        Verb::Images(args) => images::main(&global, args),
        Verb::Tag(args) => tag::main(&global, args),
        Verb::Rmi(args) => rmi::main(&global, args),
        Verb::Inspect(args) => inspect::main(&global, args),
        Verb::History(args) => history::main(&global, args),
        Verb::Save(args) => save::main(&global, args),
        Verb::Load(args) => load::main(&global, args),
        Verb::Pull(args) => pull::main(&global, args),
        Verb::Push(args) => push::main(&global, args),
        Verb::Login(args) => login::main(&global, args),
        Verb::Logout(args) => logout::main(&global, args),
        Verb::Unshare(args) => unshare::main(&global, args),
        Verb::Doctor(args) => doctor::main(&global, args),
        Verb::Du(args) => du::main(&global, args),
        Verb::Prune(args) => prune::main(&global, args),
        Verb::Cache(args) => cache::main(&global, args),
        Verb::Store(args) => store::main(&global, args),
    };
    result.unwrap_or_else(|report: Report| match environment::store_root(&global) {
        Ok(root) => report.with_store(&root).print(),
        Err(_) => report.print(),
    })
}

const VERBS: [&str; 20] = [
    "build", "run", "images", "tag", "rmi", "inspect", "history", "save", "load", "pull", "push", "login",
    "logout", "unshare", "doctor", "du", "prune", "cache", "store", "help",
];
/// The options that may stand before a verb and take a value.
const GLOBAL_OPTIONS: [&str; 4] = ["--root", "--registries-conf", "--isolation", "--overlay"];

/// Puts `build` in front of arguments that name no verb.
fn with_verb(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut index = 1;
    while let Some(argument) = arguments.get(index).map(OsString::as_os_str) {
        match argument.to_str() {
            Some(text) if GLOBAL_OPTIONS.contains(&text) => index += 2,
            Some(text) if text.split_once('=').is_some_and(|(name, _)| GLOBAL_OPTIONS.contains(&name)) => {
                index += 1;
            }
            Some("-h" | "--help" | "-V" | "--version") => return arguments,
            Some(text) if VERBS.contains(&text) => return arguments,
            _ => break,
        }
    }
    if index < arguments.len() {
        arguments.insert(index, OsString::from("build"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn build_is_the_default_verb() {
        let with = |words: &[&str]| {
            let arguments =
                std::iter::once("rbuild").chain(words.iter().copied()).map(OsString::from).collect();
            let with: Vec<String> =
                with_verb(arguments).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect();
            with.join(" ")
        };
        assert_eq!(with(&["-t", "x", "."]), "build -t x .");
        assert_eq!(with(&["."]), "build .");
        assert_eq!(with(&["build", "."]), "build .");
        assert_eq!(with(&["run", "--rm", "x"]), "run --rm x");
        assert_eq!(with(&["--root", "/x", "."]), "--root /x build .");
        assert_eq!(with(&["--root=/x", "run", "x"]), "--root=/x run x");
        assert_eq!(with(&["--isolation", "single", "."]), "--isolation single build .");
        assert_eq!(with(&["--version"]), "--version");
        assert_eq!(with(&[]), "");
    }
}
