//! `rbuild login`

use std::io::Read as _;

use clap::Args;

use super::registry::{self, AccessArgs, auth_file};
use super::report::{Code, Report};
use super::{Global, prompt, signals};
use crate::event;
use crate::image::DEFAULT_REGISTRY;
use crate::registry::{Client, Holder, Secret, normal_key, store, written_key};
use crate::sandbox::Endings;

/// Log in to a registry: prove it to the registry, and keep user and password for later commands.
///
/// They are kept where podman and docker look for them, too: in --authfile or $REGISTRY_AUTH_FILE; else in the file that has a
/// login for the registry already; else in podman's auth.json if there is one; else in docker's config.json. If that file
/// names a credential helper, the helper keeps them.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The user
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password, which others on this machine can see here; --password-stdin hides it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Print the user that is logged in, and do nothing else
    #[arg(long, conflicts_with_all = ["username", "password", "password_stdin"])]
    get_login: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// The registry, with a repository or part of one if the login is for that alone [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

pub(super) fn main(global: &Global, args: LoginArgs) -> Result<i32, Report> {
    let key = key_of(args.registry.as_deref())?;
    if args.get_login {
        return get_login(global, &args, &key);
    }
    let file = auth_file::written(&args.access, &key)?;
    let (user, password) = typed(&args, &key)?;
    let mut settings = registry::reached_by(global, &args.access)?;
    let host = host_of(&key);
    settings.credentials.add_login(host, &user, password.clone());
    let holder = auth_file::document(&file)?.holder(&key);
    let (events, receiver) = event::channel();
    let progress = crate::ui::show(receiver, crate::ui::Style::Plain, std::io::stderr());
    let client = Client::new(settings, events);
    let login = async {
        let wanted = client.check_login(host).await.map_err(Report::from)?;
        if let Holder::Helper(name) = &holder {
            store(name, &written_key(&key), &user, &password)
                .await
                .map_err(|error| Report::new(Code::Registry, error))?;
        }
        Ok::<_, Report>(wanted)
    };
    let done = signals::until_interrupted(login, &Endings::default());
    drop(client);
    let _ = progress.join();
    let wanted = done??;
    auth_file::change(&file, |document| {
        match &holder {
            Holder::File => document.set(&key, &user, &password),
            Holder::Helper(_) => document.set_held_elsewhere(&key),
        }
        Ok(())
    })?;
    if !wanted {
        super::text::say(&format!("warning: {host} asks nobody for a login, so this one is not proven\n"));
    }
    let kept = match holder {
        Holder::File => format!("{}, unencrypted", file.display()),
        Holder::Helper(name) => format!("docker-credential-{name}, as {} says", file.display()),
    };
    super::text::say(&format!("the login is kept in {kept}\n"));
    super::text::print("Login Succeeded!\n");
    Ok(0)
}

/// The key that auth files have for what a person types, which may be an address as docker's own is.
pub(super) fn key_of(typed: Option<&str>) -> Result<String, Report> {
    let key = normal_key(typed.unwrap_or(DEFAULT_REGISTRY));
    let host = host_of(&key);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]/".contains(letter);
    if host.is_empty() || key.contains("//") || !key.chars().all(fits) {
        let message =
            format!("{:?} is no registry: a host is meant, such as ghcr.io", typed.unwrap_or_default());
        return Err(Report::usage(message));
    }
    Ok(key)
}

fn host_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

fn typed(args: &LoginArgs, key: &str) -> Result<(String, Secret), Report> {
    if args.password.is_some() {
        super::text::say(
            "warning: a password on the command line can be seen by others on this machine; use --password-stdin\n",
        );
    }
    let from_stdin = if args.password_stdin { Some(read_password()?) } else { None };
    let user = match &args.username {
        Some(user) => user.clone(),
        None => prompt::line(&format!("User for {key}: "))?,
    };
    let password = match args.password.clone().map(Secret::new).or(from_stdin) {
        Some(password) => password,
        None => prompt::secret(&format!("Password for {user} at {key}: "))?,
    };
    if user.is_empty() || user.contains(':') {
        return Err(Report::usage("a user has a name, and no colon in it"));
    }
    if password.reveal().is_empty() {
        return Err(Report::usage("the password is empty"));
    }
    Ok((user, password))
}

/// All of standard input, but for the end of its line.
fn read_password() -> Result<Secret, Report> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(1 << 20).read_to_string(&mut text);
    read.map_err(|error| Report::usage(format!("cannot read the password from standard input: {error}")))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::new(text))
}

fn get_login(global: &Global, args: &LoginArgs, key: &str) -> Result<i32, Report> {
    let settings = registry::settings(global, &registry::RegistryArgs::of(args.access.clone()))?;
    let client = Client::new(settings, event::channel().0);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let asked = async { client.user_of(host, path).await };
    let user = signals::until_interrupted(asked, &Endings::default())?.map_err(Report::from)?;
    let Some(user) = user else {
        return Err(Report::new(Code::Registry, format!("not logged in to {key}"))
            .hint(Some(format!("`rbuild login {key}` does it"))));
    };
    super::text::print(&format!("{user}\n"));
    Ok(0)
}
