//! Paths inside the image.

/// A clean absolute path: relative ones start at `directory`; without `.`, `..` and doubled slashes.
pub fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { directory };
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (directory, path, expected) in [
            ("/", "a", "/a"),
            ("/app", "a/../b/./c", "/app/b/c"),
            ("/app", "/x//y/", "/x/y"),
            ("/app", "../..", "/"),
        ] {
            assert_eq!(joined(directory, path), expected);
        }
    }
}
