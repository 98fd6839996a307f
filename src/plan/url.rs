//! What a file is called that comes from an address.

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

#[cfg(test)]
mod tests {
    use super::*;

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
