//! Where a repository is, and as whom it is asked for.

use std::fmt;

use super::percent_decoded;

/// The address of a repository. What says who asks is kept apart, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct GitRemote {
    scheme: GitScheme,
    /// The short form of ssh, `user@host:path`.
    is_short: bool,
    user: Option<String>,
    password: Option<String>,
    /// With its port.
    host: String,
    /// As written: with a slash before it, except in the short form.
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GitScheme {
    Http,
    Https,
    Ssh,
    Git,
}

impl GitScheme {
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Ssh, Self::Git];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::Git => "git",
        }
    }
}

impl GitRemote {
    /// None for what is no address of a repository elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(|letter: char| letter.is_control() || letter == ' ') {
            return None;
        }
        match text.split_once("://") {
            Some((scheme, rest)) if is_word(scheme) => Self::of_url(scheme, rest),
            _ => Self::of_short(text),
        }
    }

    fn of_url(scheme: &str, rest: &str) -> Option<Self> {
        let scheme = GitScheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (percent_decoded(user)?, percent_decoded(password)?),
            None => (String::new(), String::new()),
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let may_be_in_host = |letter: char| letter.is_alphanumeric() || "-._:[]%".contains(letter);
        if !host.chars().all(may_be_in_host) || host.starts_with('-') {
            return None;
        }
        // It becomes a part of an address again.
        let may_be_in_user = |letter: char| !letter.is_control() && !" /@:?#".contains(letter);
        if scheme == GitScheme::Ssh && !user.chars().all(may_be_in_user) {
            return None;
        }
        let (host, path) = (host.to_owned(), path.to_owned());
        Some(Self { scheme, is_short: false, user: some(user), password: some(password), host, path })
    }

    fn of_short(text: &str) -> Option<Self> {
        let (login, path) = text.split_once(':')?;
        let (user, host) = login.split_once('@')?;
        let fits = |part: &str, more: &str| {
            let is_known = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
            !part.is_empty() && !part.starts_with('-') && part.chars().all(is_known)
        };
        let fits = fits(user, "-_") && fits(host, "-.") && !path.is_empty() && !path.starts_with('-');
        fits.then(|| Self {
            scheme: GitScheme::Ssh,
            is_short: true,
            user: Some(user.to_owned()),
            password: None,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    pub fn scheme(&self) -> GitScheme {
        self.scheme
    }

    /// With its port, if one is named.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn has_host(&self) -> bool {
        !self.host.is_empty() && !self.host.starts_with(':')
    }

    pub(super) fn ends_with_git(&self) -> bool {
        percent_decoded(&self.path).is_some_and(|path| path.ends_with(".git"))
    }

    /// The name and the password that the address itself has for a server that demands them.
    pub fn login(&self) -> Option<(&str, &str)> {
        match self.scheme {
            GitScheme::Http | GitScheme::Https if self.user.is_some() || self.password.is_some() => {
                Some((self.user.as_deref().unwrap_or_default(), self.password.as_deref().unwrap_or_default()))
            }
            GitScheme::Http | GitScheme::Https | GitScheme::Ssh | GitScheme::Git => None,
        }
    }

    /// Whether the address names who a connection by ssh is made as.
    pub fn names_user(&self) -> bool {
        self.user.is_some()
    }

    /// What git is told: no password is in it, and a name only where the connection is made under it.
    pub fn address(&self) -> String {
        let Self { scheme, host, path, .. } = self;
        let user = self.user.as_ref().filter(|_| *scheme == GitScheme::Ssh);
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        if self.is_short {
            format!("{user}{host}:{path}")
        } else {
            format!("{}://{user}{host}{path}", scheme.name())
        }
    }

    /// The repository that another address means, which may be relative to this one. None if it is not elsewhere.
    pub fn join(&self, text: &str) -> Option<Self> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text);
        }
        let mut names: Vec<&str> = self.path.trim_end_matches('/').split('/').collect();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()?),
                name => names.push(name),
            }
        }
        let path = names.join("/");
        let is_sound = if self.is_short { !path.is_empty() } else { path.starts_with('/') };
        // An odd name in it is refused as it would be in a whole address.
        let joined = Self { path, ..self.clone() };
        (is_sound && Self::parse(&joined.address()).is_some()).then_some(joined)
    }

    /// Whether who is sure of one may be sure of the other: both are of one server, reached in the same way.
    pub fn has_same_server(&self, other: &Self) -> bool {
        (self.scheme, &self.host) == (other.scheme, &other.host)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric())
}

impl fmt::Display for GitRemote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.address())
    }
}

impl fmt::Debug for GitRemote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "GitRemote({self})")
    }
}

/// A text without the logins in the addresses that it contains.
pub fn without_logins(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let is_end = |letter: char| letter.is_whitespace() || "/?#\"'".contains(letter);
        let authority = &after[..after.find(is_end).unwrap_or(after.len())];
        let login = authority.rfind('@').map_or("", |at| &authority[..at]);
        let is_name = before.ends_with("ssh://") && !login.contains(':');
        rest = if login.is_empty() || is_name { after } else { &after[login.len() + 1..] };
    }
    shown + rest
}
