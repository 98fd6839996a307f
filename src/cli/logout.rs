//! `rbuild logout`

use std::path::{Path, PathBuf};

use clap::Args;

use super::login::key_of;
use super::registry::{AccessArgs, auth_file};
use super::report::{Code, Report};
use super::{Global, signals};
use crate::registry::{AuthDocument, Holder, erase, normal_key, written_key};
use crate::sandbox::Endings;

/// Forget the login of a registry, wherever it is kept.
///
/// All files that are read for logins are looked through, or just the one that --authfile or $REGISTRY_AUTH_FILE names, and the
/// credential helpers that they name are told to forget it, too.
#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    /// Forget the logins of all registries
    #[arg(short, long, conflicts_with = "registry")]
    all: bool,
    /// The file with the logins [default: all that are read]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

pub(super) fn main(_: &Global, args: LogoutArgs) -> Result<i32, Report> {
    let only = if args.all { None } else { Some(key_of(args.registry.as_deref())?) };
    let access = AccessArgs { authfile: args.authfile, tls_verify: None };
    let mut removed = 0;
    for file in auth_file::read_in_turn(&access) {
        let document = auth_file::document(&file)?;
        let keys = only.clone().map_or_else(|| document.keys(), |key| vec![key]);
        for key in keys {
            if forget(&file, &document, &key)? {
                super::text::print(&format!("Removed login of {key} from {}\n", file.display()));
                removed += 1;
            }
        }
    }
    if removed == 0 {
        let what = only.map_or("any registry".to_owned(), |key| key);
        super::text::say(&format!("not logged in to {what}\n"));
    }
    Ok(0)
}

/// Removes a login from one file, and from the helper that the file names for it; whether there was one.
fn forget(file: &Path, document: &AuthDocument, key: &str) -> Result<bool, Report> {
    let mut had = false;
    if let Holder::Helper(name) = document.holder(key) {
        let server = written_key(key);
        let erased = signals::until_interrupted(erase(&name, &server), &Endings::default())?;
        had |= erased.map_err(|error| Report::new(Code::Registry, error))?
            && document.keys().iter().any(|known| normal_key(known) == normal_key(key));
    }
    if document.has_entry(key) {
        had |= auth_file::change(file, |document| Ok(document.remove(key)))?;
    }
    Ok(had)
}
