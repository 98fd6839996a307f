//! Where buildah makes something else of a case than BuildKit, and so than rbuild: every kind with its reason. A case that is
//! marked has to differ, and everything that differs has to be marked.

use super::case::Case;
use super::outcome::Outcome;

/// Marks of cases, and why.
pub(crate) const KINDS: &[(&str, &str)] = &[
    ("small-letters", "A Dockerfile may be called dockerfile."),
    (
        "escaped-escapes",
        "Two escapes at the end of a line are a letter, and the line ends there; buildah joins the next.",
    ),
    ("mount-words", "Values of mounts may be quoted, and what is on or off may be written with a word."),
    ("health-times", "A time of zero is docker's default; buildah wants more."),
    ("agent-variable", "BuildKit names the agent's place in SSH_AUTH_SOCK whether there is an agent or not."),
    ("archive-owners", "--chown is for what an archive has, too; buildah keeps the archive's owners."),
    ("arg-after-env", "Of ARG and ENV the later one counts in steps; buildah lets ENV win always."),
    (
        "arguments-are-forgotten",
        "A stage has the arguments of the stage below it, and a default sees those before it on the same line; not so in buildah.",
    ),
    ("cache-modes", "A cache of another mode is another cache; buildah has one for each id."),
    ("capabilities", "Steps have the fourteen capabilities of docker; buildah has a list of its own."),
    (
        "chroot",
        "Isolation by chroot shares processes and networks with the host, writes to /etc/hosts and makes no devices, which steps of BuildKit never see.",
    ),
    (
        "climbing-links",
        "What an archive puts behind a link that climbs stays below the destination; buildah refuses it.",
    ),
    (
        "dot-at-the-end",
        "A destination that ends in /. is a directory, as one that ends in a slash is; buildah cleans the path first.",
    ),
    ("empty-wildcards", "A wildcard may match nothing; buildah wants a match."),
    (
        "from-variables",
        "rbuild expands variables in --from, as it means to; BuildKit refuses them, and buildah looks for the name.",
    ),
    (
        "host-names",
        "A step's machine is called buildkitsandbox and the environment does not say so; buildah invents a name and sets HOSTNAME.",
    ),
    ("ignore-file-forms", "Lines of an ignore file are trimmed and cleaned; buildah takes them as they are."),
    (
        "ignored-in-mounts",
        "What is ignored is nowhere, and so not in mounts; buildah mounts the directory as it is.",
    ),
    (
        "links-are-kept",
        "A layer between two steps breaks links, as an overlay does; buildah runs all steps on one layer here.",
    ),
    (
        "links-at-the-destination",
        "A link at the destination is followed to its end; buildah replaces it, or makes a directory of it.",
    ),
    (
        "mounts-by-path",
        "A target is relative to WORKDIR, may be a file or below a link, and memory may have a size; buildah knows none of it.",
    ),
    ("near-lists", "What is not quite a list is text; buildah drops it."),
    ("octal-modes", "An octal --chmod is also for directories that are made on the way."),
    ("other-escapes", "With a backtick as escape a backslash is a letter; buildah still reads both."),
    ("platform-arguments", "The target's platform and stage are arguments by themselves."),
    (
        "ports-as-written",
        "Ports are numbers with a protocol in small letters, and ranges are many; buildah writes the text.",
    ),
    ("secret-forms", "A secret may be a variable, and its name that of the target."),
    (
        "several-onto-a-name",
        "BuildKit copies one source after the other onto the name; buildah makes a directory of it.",
    ),
    ("shell-of-entrypoint", "ENTRYPOINT as text goes through the stage's SHELL; in buildah through /bin/sh."),
    ("stage-names", "Stages have names in any case, and numbers."),
    ("stages-in-triggers", "Triggers see the stages of the file that they run in."),
    ("start-interval", "HEALTHCHECK has --start-interval since buildah was made."),
    (
        "stubs-stay",
        "What is made to be mounted on is gone after the step, and what was there comes back; buildah leaves the one and loses the other.",
    ),
    ("substitutions", "Substitutions have all forms of the reference; buildah knows :- and :+."),
    ("symbolic-modes", "--chmod takes symbols, too."),
    ("uncleaned-directory", "WORKDIR is cleaned; buildah keeps a slash at the end."),
    (
        "volumes",
        "A volume is no more than an entry of the config; buildah makes its directory and drops what steps write there.",
    ),
    ("writes-stay", "What is written to a bind mount is gone after the step; buildah keeps it for the next."),
];

/// What Debian's buildah does not know at all: such cases are not given to it.
pub(crate) const UNKNOWN: &[(&str, &str)] = &[
    ("<<", "it takes a heredoc for the name of a file"),
    (" --link", "it has no --link"),
    (" --exclude=", "it has no --exclude"),
    (" --parents", "it has no --parents"),
    (" --unpack=", "it has no --unpack"),
    (
        "--network=",
        "steps have the network that the whole build has, and isolation by chroot only the host's",
    ),
    ("--security=", "it has no --security"),
    ("AS x\nCOPY b", "of two stages of one name it takes one or the other"),
];

/// Why a case is not given to buildah.
pub(crate) fn unknown(case: &Case) -> Option<&'static str> {
    let is_in = |text: &&(&str, &str)| {
        case.dockerfile.contains(text.0)
            || case.images.iter().any(|(_, dockerfile)| dockerfile.contains(text.0))
            || case.context.iter().any(|line| line.contains(text.0))
    };
    if case.expected.error.is_some() {
        return Some("what is said of errors is one's own");
    }
    UNKNOWN.iter().find(is_in).map(|(_, why)| *why)
}

/// What is never compared, because it differs everywhere: what is left has to be the same, line by line.
///
/// - The history: buildah writes `/bin/sh -c #(nop)` and one entry for all that it does without layers.
/// - Times: a flattened tar has those of buildah's own copies.
/// - `io.buildah.version`, a label that it adds to every image.
/// - `ArgsEscaped`, which it never writes, and `Hostname`, which it writes always.
/// - Settings that are false, and empty lists, which it writes where BuildKit leaves them out.
/// - A `WorkingDir` of `/`, which it does not write where nothing sets it.
/// - Extended attributes, which its tars do not have.
/// - `/etc/hosts`, `/etc/resolv.conf` and other files that it makes to be mounted on and leaves in the image.
pub(crate) fn comparable(outcome: &Outcome) -> Vec<String> {
    let files = outcome.files.iter().filter(|(path, _)| !LEFT_BEHIND.contains(&&path[..]));
    let mut lines: Vec<_> = files.map(|(_, line)| line.clone()).collect();
    let is_everywhere = |key: &str, value: &str| match key {
        "ArgsEscaped" | "Hostname" => true,
        "Labels" => value.starts_with("io.buildah.version="),
        "WorkingDir" => value == "/",
        _ => matches!(value, "false" | "[]"),
    };
    let config = outcome.config.iter().filter(|(key, value)| !is_everywhere(key, value));
    lines.extend(config.map(|(key, value)| format!("{key} {value}")));
    lines
}

/// What buildah leaves behind.
const LEFT_BEHIND: &[&str] = &["etc/hosts", "etc/hostname", "etc/resolv.conf", "run", "run/.containerenv"];
