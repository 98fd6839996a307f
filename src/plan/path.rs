//! Destinations.

use crate::graph::joined;

/// A destination, with a slash at the end when it was written as a directory.
pub(super) fn destination(directory: &str, text: &str) -> String {
    let path = joined(directory, text);
    let is_directory =
        text.is_empty() || text == "." || text == ".." || text.ends_with('/') || text.ends_with("/.");
    if is_directory && path != "/" { path + "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_a_directory_ends_with_a_slash() {
        assert_eq!(destination("/app", "."), "/app/");
        assert_eq!(destination("/app", ""), "/app/");
        assert_eq!(destination("/app", "x/"), "/app/x/");
        assert_eq!(destination("/app", "x"), "/app/x");
        assert_eq!(destination("/", "."), "/");
    }
}
