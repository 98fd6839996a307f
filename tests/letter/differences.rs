//! Where buildah makes something else of a case than BuildKit, and so than rbuild: every kind with its reason. A case that is
//! marked has to differ, and everything that differs has to be marked.

use super::outcome::Outcome;

/// Marks of cases, and why.
pub(crate) const KINDS: &[(&str, &str)] = &[
];

/// What is never compared, because it differs everywhere: what is left has to be the same, line by line.
///
/// - The history: buildah writes `/bin/sh -c #(nop)` and one entry for all that it does without layers.
/// - Times: a flattened tar has those of buildah's own copies.
/// - `io.buildah.version`, a label that it adds to every image.
/// - `ArgsEscaped`, which it never writes.
/// - Extended attributes, which its tars do not have.
/// - `/etc/hosts`, `/etc/resolv.conf` and other files that it makes to be mounted on and leaves in the image.
pub(crate) fn comparable(outcome: &Outcome) -> Vec<String> {
    let files = outcome.files.iter().filter(|(path, _)| !LEFT_BEHIND.contains(&&path[..]));
    let mut lines: Vec<_> = files.map(|(_, line)| line.clone()).collect();
    let is_everywhere = |key: &str, value: &str| {
        matches!(key, "ArgsEscaped") || key == "Labels" && value.starts_with("io.buildah.version=")
    };
    let config = outcome.config.iter().filter(|(key, value)| !is_everywhere(key, value));
    lines.extend(config.map(|(key, value)| format!("{key} {value}")));
    lines
}

const LEFT_BEHIND: &[&str] = &["etc/hosts", "etc/resolv.conf", "run/.containerenv"];
