//! `docker-credential-NAME`: programs that keep logins for others, in docker's protocol.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Credential;
use crate::registry::settings::Secret;

/// Some ask a person to unlock something.
const PATIENCE: Duration = Duration::from_secs(120);
/// What helpers say, on standard output, when they have no login for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
const MOST_SHOWN: usize = 300;

/// Why a helper did not do what it was asked for. What it says may be shown: it is no secret that it failed.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("docker-credential-{name}, which the auth file names, is not on the search path")]
    Missing { name: String },
    #[error("{name:?} is no name of a credential helper")]
    Name { name: String },
    #[error("docker-credential-{name} cannot be run: {source}")]
    Run { name: String, source: io::Error },
    #[error("docker-credential-{name} {action}: no answer within {} seconds", PATIENCE.as_secs())]
    Slow { name: String, action: &'static str },
    #[error("docker-credential-{name} {action}: {problem}")]
    Failed { name: String, action: &'static str, problem: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    username: String,
    secret: String,
}

/// The login of a registry, if the helper has one.
pub(in crate::registry) async fn ask(name: &str, server: &str) -> Result<Option<Credential>, HelperError> {
    const ACTION: &str = "get";
    let output = talk(name, ACTION, server.as_bytes()).await?;
    if !output.status.success() {
        if said(&output).contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(failed(name, ACTION, &output));
    }
    // What came is not quoted: it may be a secret.
    let json: Json = serde_json::from_slice(&output.stdout).map_err(|_| HelperError::Failed {
        name: name.to_owned(),
        action: ACTION,
        problem: "the answer is not in docker's protocol".to_owned(),
    })?;
    let secret = Secret::new(json.secret);
    Ok(match json.username.as_str() {
        "" => None,
        "<token>" => Some(Credential::Identity(secret)),
        _ => Some(Credential::Password { user: json.username, password: secret }),
    })
}

/// Has a helper keep a login.
pub async fn store(name: &str, server: &str, user: &str, password: &Secret) -> Result<(), HelperError> {
    let login = json!({ "ServerURL": server, "Username": user, "Secret": password.reveal() });
    let output = talk(name, "store", login.to_string().as_bytes()).await?;
    if output.status.success() { Ok(()) } else { Err(failed(name, "store", &output)) }
}

/// Has a helper forget a login; whether it had one, as far as it says.
pub async fn erase(name: &str, server: &str) -> Result<bool, HelperError> {
    let output = talk(name, "erase", server.as_bytes()).await?;
    if output.status.success() {
        Ok(true)
    } else if said(&output).contains(NOT_FOUND) {
        Ok(false)
    } else {
        Err(failed(name, "erase", &output))
    }
}

async fn talk(name: &str, action: &'static str, input: &[u8]) -> Result<Output, HelperError> {
    if name.is_empty() || name.contains('/') {
        return Err(HelperError::Name { name: name.to_owned() });
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => HelperError::Missing { name: name.to_owned() },
        _ => HelperError::Run { name: name.to_owned(), source },
    };
    let mut child = command.kill_on_drop(true).spawn().map_err(run)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let conversation = async {
        // A helper that ends without reading has an answer all the same.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        child.wait_with_output().await
    };
    match tokio::time::timeout(PATIENCE, conversation).await {
        Ok(output) => output.map_err(run),
        Err(_) => Err(HelperError::Slow { name: name.to_owned(), action }),
    }
}

/// Errors come on standard output, by the protocol.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let text = if text.trim().is_empty() { String::from_utf8_lossy(&output.stderr) } else { text };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failed(name: &str, action: &'static str, output: &Output) -> HelperError {
    let mut problem: String = said(output).chars().take(MOST_SHOWN).collect();
    if problem.is_empty() {
        problem = output.status.to_string();
    }
    HelperError::Failed { name: name.to_owned(), action, problem }
}
