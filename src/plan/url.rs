//! Addresses: what a file is called that comes from one, and how one is shown.

use crate::dockerfile::percent_decoded;

/// Where an address has no name for it.
const UNNAMED: &str = "__unnamed__";

/// The last part of the path, decoded.
pub fn name_in_url(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decoded(path);
    let name = decoded.as_deref().unwrap_or_default().trim_end_matches('/').rsplit('/').next();
    match name.unwrap_or_default() {
        // No file can have such a name, and a path must not lead anywhere else.
        "" | "." | ".." => UNNAMED.to_owned(),
        name if name.contains('\0') => UNNAMED.to_owned(),
        name => name.to_owned(),
    }
}

/// An address as it may be shown: without the password that may be in it.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after = &rest[authority.len()..];
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:xxxxx@{host}{after}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, expected) in [
            ("https://u:p@h:1/x?y@z:1", "https://u:xxxxx@h:1/x?y@z:1"),
            ("https://u:p:q@r@h", "https://u:xxxxx@h"),
            ("https://u@h/a:b@c", "https://u@h/a:b@c"),
            ("https://h:1/@", "https://h:1/@"),
            ("h:1@x", "h:1@x"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn names_are_the_last_part_of_the_path() {
        for (url, expected) in [
            ("https://h/x.tar.gz", "x.tar.gz"),
            ("https://h/a/b/?q=/y#/z", "b"),
            ("https://h:1/a%20b%c3%a9", "a b\u{e9}"),
            ("https://h/a%2Fc", "c"),
            ("https://h/a%zz%", "a%zz%"),
            ("https://h", UNNAMED),
            ("https://h/", UNNAMED),
            ("https://h?x=/y", UNNAMED),
            ("https://h/a/%2e%2e", UNNAMED),
            ("https://h/a/..", UNNAMED),
            ("https://h/a%00b", UNNAMED),
            ("https://h/%ff", UNNAMED),
        ] {
            assert_eq!(name_in_url(url), expected, "{url}");
        }
    }
}
