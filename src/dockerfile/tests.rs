//! What golden files do not show: derived values, and time.

use std::time::{Duration, Instant};

use super::*;

fn run(text: &str) -> (Run, String) {
    let file = parse("Dockerfile", &format!("FROM a\n{text}\n")).unwrap();
    let instruction = &file.stages[0].instructions[0];
    let Instruction::Run(run) = &instruction.node else { panic!("{text}") };
    (run.clone(), instruction.headline())
}

fn mount(text: &str) -> Result<ResolvedMount, String> {
    let (run, _) = run(&format!("RUN --mount={text} x"));
    let lookup = |name: &str| (name == "T").then(|| "tmpfs".to_owned());
    let expand = |word: &Word| {
        let expanded = expand::expand(&word.text, '\\', &lookup);
        expanded.map(|expanded| expanded.text).map_err(|error| Diagnostic::new(error.message, word.span))
    };
    run.mounts[0].resolve(expand).map_err(|error| error.message)
}

#[test]
fn a_run_that_is_one_heredoc_is_a_script() {
    let (script, headline) = run("run   <<-EOF\n\techo a\n\techo b\n\tEOF");
    assert_eq!(headline, "RUN   <<-EOF (echo a...)");
    assert!(
        matches!(script.body(), RunBody::Script { content, shebang: false, .. } if content == "echo a\necho b\n")
    );
    let (script, headline) = run("RUN <<'A B'\n#!/bin/sh\nA B");
    assert_eq!(headline, "RUN <<'A B' (#!/bin/sh)");
    assert!(matches!(script.body(), RunBody::Script { shebang: true, .. }));
}

#[test]
fn the_shell_reads_all_other_heredocs_itself() {
    for (text, shell) in [
        ("RUN cat <<A <<-B\n$x\nA\n\tb\n\tB", "cat <<A <<-B\n$x\nA\n\tb\nB"),
        ("RUN 3<<A\nx\nA", "3<<A\nx\nA"),
        ("RUN <<A>y\nx\nA", "<<A>y\nx\nA"),
        ("RUN a  b", "a  b"),
    ] {
        let (run, headline) = run(text);
        assert_eq!(run.body(), RunBody::Shell(shell.into()));
        assert_eq!(headline, text.lines().next().unwrap());
    }
}

#[test]
fn mounts_get_their_defaults() {
    let owner = Owner::default();
    let target = || Some("/x".to_owned());
    let cases = [
        (
            "target=/x",
            ResolvedMount::Bind(BindMount { target: target(), from: None, source: None, readonly: true }),
        ),
        (
            "type=cache,target=/x/./y/..",
            ResolvedMount::Cache(CacheMount {
                target: Some("/x/./y/..".into()),
                id: "/x".into(),
                sharing: Sharing::Shared,
                from: None,
                source: None,
                readonly: false,
                owner,
            }),
        ),
        (
            "type=$T,target=/x,size=1k",
            ResolvedMount::Tmpfs(TmpfsMount { target: target(), size: Some(1024), readonly: false }),
        ),
        (
            "type=secret,id=i,mode=0440",
            ResolvedMount::Secret(SecretMount {
                id: "i".into(),
                target: Some("/run/secrets/i".into()),
                env: None,
                required: false,
                owner: Owner { mode: Some(0o440), ..owner },
            }),
        ),
        (
            "type=secret,target=/a/b",
            ResolvedMount::Secret(SecretMount {
                id: "b".into(),
                target: Some("/a/b".into()),
                env: None,
                required: false,
                owner,
            }),
        ),
        (
            "type=secret,id=i,env=E,required",
            ResolvedMount::Secret(SecretMount {
                id: "i".into(),
                target: None,
                env: Some("E".into()),
                required: true,
                owner,
            }),
        ),
        (
            "type=ssh",
            ResolvedMount::Ssh(SshMount { id: "default".into(), target: None, required: false, owner }),
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(mount(text), Ok(wanted), "{text}");
    }
}

#[test]
fn mounts_are_checked_again_with_their_values() {
    assert_eq!(
        mount("type=$T,target=/x,mode=0755"),
        Err("mode not allowed for \"tmpfs\" type mounts".into())
    );
    assert_eq!(
        mount("type=x$T,target=/x"),
        Err("unsupported mount type \"xtmpfs\" (did you mean tmpfs?)".into())
    );
    assert_eq!(mount("type=cache,target=/x,sharing=$T"), Err("unsupported sharing value \"tmpfs\"".into()));
    assert_eq!(mount("target=${U:?no}"), Err("U: no".into()));
    assert_eq!(mount("target=/x,rw=false"), mount("target=/x,ro"));
    assert_eq!(mount("target=/x,ro,rw"), mount("target=/x,rw"));
}

#[test]
fn frontends_that_mean_this_language_are_known() {
    for syntax in [
        "dockerfile.v0",
        "docker/dockerfile",
        "docker.io/docker/dockerfile:1 --x",
        "docker/dockerfile-upstream:m",
    ] {
        assert!(is_builtin_frontend(syntax), "{syntax}");
    }
    for syntax in ["", "dockerfile", "docker/dockerfile2", "example.com/docker/dockerfile:1"] {
        assert!(!is_builtin_frontend(syntax), "{syntax}");
    }
    assert!(parse_builtin("Dockerfile", "# syntax=other/frontend\nFROM a").is_ok());
}

/// The limits are generous, for unoptimised code on a busy machine: they catch what grows with the square.
#[test]
fn time_is_linear_in_the_text() {
    let body = "echo $x 'it\"s' \\t <<EOF ${y:-z}\n".repeat(32 << 10);
    let many =
        "RUN --mount=type=cache,target=/x make && a=\"$b\" \\\n  && c\nCOPY --from=a b c/\nENV a=b c=d\n";
    let texts = [
        format!("FROM a\nCOPY <<XYZ /x\n{body}XYZ\n"),
        format!("FROM a\n{}", many.repeat(2000)),
        format!("FROM a\nRUN {}", "a \\\n".repeat(100_000)),
        format!("FROM a\n{}", "ONBUIL ".repeat(9000)),
        format!("FROM a\nENV {}", "k=\"v w\" \\\n".repeat(50_000)),
        format!("FROM a\nRUN {}", "<<A ".repeat(10_000)),
        format!("FROM a\n{}", "\n# c\n".repeat(100_000)),
    ];
    for text in texts {
        let start = Instant::now();
        let _ = parse("Dockerfile", &text);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?} for {:?}", &text[..40]);
    }
    let start = Instant::now();
    expand::expand_heredoc(&body, &|_| Some("v".to_owned())).unwrap();
    let text = "a".repeat(20_000);
    expand::expand("${v//a*b/x}${v%%a*b}${v##*?b}", '\\', &|_| Some(text.clone())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
