//! What can go wrong with a repository.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot {what}: the program git is not installed")]
    Missing { what: String },
    #[error("cannot {what}: {}", gist(.said))]
    Failed {
        what: String,
        /// The last lines that git wrote.
        said: Vec<String>,
        /// What is to be said of the disk, if that is full.
        disk: Option<String>,
    },
    #[error("git was killed: to {what} took longer than the {limit:?} that a step may take (--timeout)")]
    TimedOut { what: String, limit: Duration },
    #[error("cannot {what}: the server has had nothing to say for {patience:?}")]
    Silent { what: String, patience: Duration },
    #[error("cannot {what}: git says more than it should")]
    Endless { what: String },
    #[error("could not find default branch for repository: {remote}")]
    NoHead { remote: String },
    #[error("repository does not contain ref {name}: {remote}")]
    NoReference { remote: String, name: String },
    #[error("{remote} gives an id for a commit that is none")]
    NoId { remote: String },
    #[error("repository does not contain commit {object}: {remote}")]
    NoCommit { remote: String, object: String },
    #[error("expected checksum to match {checksum}, got {found}")]
    OtherCommit { checksum: String, found: String },
    #[error("{remote} says that tag {object} leads to commit {said}, but it leads to {found}")]
    OtherTag { remote: String, object: String, said: String, found: String },
    #[error("subdir {subdir} cannot be taken: {path} {problem}")]
    Subdir { subdir: String, path: String, problem: &'static str },
    #[error("submodule {path} of {remote} cannot be fetched: {problem}")]
    Submodule { remote: String, path: String, problem: String },
}

/// The line that says why, of several.
fn gist(said: &[String]) -> String {
    // What a server says comes before what git makes of it.
    let reason = said
        .iter()
        .position(|line| ["fatal: ", "error: ", "ERROR: "].iter().any(|mark| line.starts_with(mark)));
    // Of what ssh says git knows nothing.
    let before = |at: &usize| said[*at].contains("Could not read from remote repository") && *at > 0;
    let reason = reason.map(|at| if before(&at) { at - 1 } else { at });
    let line = reason.map(|at| &said[at]).or_else(|| said.last());
    line.map_or_else(|| "it does not say why".to_owned(), Clone::clone)
}

impl GitError {
    /// The last lines that git wrote.
    pub fn log(&self) -> &[String] {
        let Self::Failed { said, .. } = self else { return &[] };
        if said.len() > 1 { said } else { &[] }
    }

    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Failed { disk: Some(_), .. })
    }

    /// Whether git says that what it has of a repository is not whole.
    pub(super) fn is_of_damage(&self) -> bool {
        const MARKS: [&str; 10] = [
            "does not match index",
            "differ in contents",
            "index file",
            "is far too short to be a packfile",
            "is corrupt",
            "bad object",
            "invalid object",
            "unable to read",
            "failed to unpack tree object",
            "does not point to a valid object",
        ];
        let Self::Failed { said, .. } = self else { return false };
        let own = said.iter().filter(|line| !line.starts_with("remote: "));
        own.into_iter().any(|line| MARKS.iter().any(|mark| line.contains(mark)))
    }

    /// Whether the repository has been had, and is not as it is said to be.
    pub fn is_of_content(&self) -> bool {
        matches!(self, Self::Subdir { .. } | Self::Submodule { .. })
    }

    /// What would help, as far as it is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => "install git 2.31 or later (Debian: package git)",
            Self::Failed { disk: Some(disk), .. } => disk,
            Self::Failed { said, .. } => of_lines(said)?,
            Self::NoReference { name, .. } if is_short_id(name) => {
                "a commit is named by its whole id; this one may be the beginning of one"
            }
            Self::NoReference { .. } => "`git ls-remote` lists the refs of a repository",
            Self::NoHead { .. } => "it may be empty; else name a branch or a tag behind a #",
            Self::Submodule { .. } => "the query ?submodules=false leaves submodules out",
            Self::TimedOut { .. }
            | Self::Silent { .. }
            | Self::Endless { .. }
            | Self::NoId { .. }
            | Self::NoCommit { .. }
            | Self::OtherCommit { .. }
            | Self::OtherTag { .. }
            | Self::Subdir { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

fn is_short_id(name: &str) -> bool {
    (7..64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn of_lines(said: &[String]) -> Option<&'static str> {
    const KNOWN: [(&[&str], &str); 8] = [
        (
            &[
                "could not read Username",
                "could not read Password",
                "Authentication failed",
                "error: 401",
                "error: 403",
            ],
            "give a token with --secret id=GIT_AUTH_TOKEN,src=FILE (or GIT_AUTH_TOKEN.HOST for one host alone)",
        ),
        (
            &["has changed and you have requested strict checking"],
            "the host shows another key than ~/.ssh/known_hosts has for it: it has a new one, or it is another machine",
        ),
        (
            &["Host key verification failed"],
            "add the key of the host to ~/.ssh/known_hosts, for example with ssh-keyscan, once it is known to be the right one",
        ),
        (
            &["Permission denied (publickey"],
            "load a key that may read the repository into the agent (ssh-add FILE), or give it: --ssh default=FILE",
        ),
        (&["cannot run ssh"], "install an SSH client (Debian: package openssh-client)"),
        (
            &[
                "unable to update url base from redirection",
                "error: 301",
                "error: 302",
                "error: 307",
                "error: 308",
            ],
            "the repository has moved, and a token is not sent to another place: write its new address",
        ),
        (
            &["certificate verification failed", "SSL certificate problem", "SSL CA cert"],
            "if the server has a certificate of its own authority, name that in SSL_CERT_FILE",
        ),
        (&["dumb http transport"], "the server has to speak git's smart protocol"),
    ];
    let has = |part: &&str| said.iter().any(|line| line.contains(*part));
    KNOWN.iter().find(|(parts, _)| parts.iter().any(&has)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(lines: &[&str]) -> GitError {
        let said = lines.iter().map(|line| (*line).to_owned()).collect();
        GitError::Failed { what: "ask".to_owned(), said, disk: None }
    }

    #[test]
    fn the_line_that_says_why_is_shown() {
        for (lines, why) in [
            (&["a", "fatal: b", "error: c"][..], "fatal: b"),
            (&["a", "b"], "b"),
            (
                &["ERROR: Repository not found.", "fatal: Could not read from remote repository.", "Please"],
                "ERROR: Repository not found.",
            ),
            (
                &["Host key verification failed.", "fatal: Could not read from remote repository.", "Please"],
                "Host key verification failed.",
            ),
            (
                &["fatal: Could not read from remote repository."],
                "fatal: Could not read from remote repository.",
            ),
            (&[], "it does not say why"),
        ] {
            assert_eq!(failed(lines).to_string(), format!("cannot ask: {why}"));
        }
    }

    #[test]
    fn what_a_server_says_is_no_damage_here() {
        assert!(failed(&["error: packfile x does not match index", "fatal: y"]).is_of_damage());
        assert!(!failed(&["remote: fatal: bad object x", "fatal: early EOF"]).is_of_damage());
    }
}
