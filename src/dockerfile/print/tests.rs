use proptest::prelude::*;

use crate::dockerfile::{expand, lint, parse, parse_trigger};

/// Pieces that mean something, so that random sequences of them are often Dockerfiles.
const PIECES: &[&str] = &[
    "FROM a AS b\n",
    "ARG X=1 Y",
    "ENV a=\"b c\" d='e'",
    "ENV k v w",
    "LABEL x=y",
    "RUN ",
    "COPY ",
    "ADD ",
    "CMD ",
    "ENTRYPOINT ",
    "EXPOSE 80 $P/udp",
    "HEALTHCHECK --interval=5s CMD ",
    "HEALTHCHECK NONE",
    "ONBUILD ",
    "SHELL ",
    "USER u:g",
    "VOLUME /a /b",
    "WORKDIR a/b",
    "STOPSIGNAL 9",
    "MAINTAINER me",
    "--mount=type=cache,target=/x ",
    "--mount=type=secret,id=$X ",
    "--network=none ",
    "--from=b ",
    "--chown=a:b ",
    "--exclude=*.o ",
    "--link ",
    "-- ",
    "--parents ",
    "--platform=$P ",
    "[\"a\", \"b c\"]",
    "[]",
    "[1]",
    "<<EOF",
    "<<-'E F'",
    "3<<X",
    "EOF\n",
    "\tE F\n",
    "X\n",
    "a b ",
    "$x ${y:-z} ",
    "\\\n",
    "\\",
    "`",
    "\n",
    "\n",
    "\n",
    "# c d\n",
    "#\n",
    "# escape=`\n",
    "# check=skip=all\n",
    "\"",
    "'",
    " ",
    "\t",
    "=",
    "/",
    "é",
    "\u{a0}",
    "\r\n",
    "${a/b/c}",
    "$",
    "{",
    "}",
    "<<",
];

/// Lines that begin with a piece and go on with others, or anything in any order.
fn texts() -> impl Strategy<Value = String> {
    let piece = || proptest::sample::select(PIECES);
    let line = proptest::collection::vec(piece(), 1..6).prop_map(|pieces| pieces.concat() + "\n");
    let lines = proptest::collection::vec(line, 0..5).prop_map(|lines| lines.concat());
    prop_oneof![lines, proptest::collection::vec(piece(), 0..16).prop_map(|pieces| pieces.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_reading_again_gives_the_same_tree(rest in texts()) {
        for text in [format!("FROM a\n{rest}"), rest] {
            if let Ok(file) = parse("Dockerfile", &text) {
                let printed = file.print();
                let again = parse("Dockerfile", &printed);
                prop_assert!(again.is_ok(), "{text:?}\n{printed:?}\n{}", again.unwrap_err());
                prop_assert_eq!(again.unwrap().dump_without_lines(), file.dump_without_lines(), "{}", printed);
            }
        }
    }

    #[test]
    fn nothing_panics_and_errors_have_places(text in texts(), wild in ".{0,200}") {
        for text in [text, wild] {
            let spans: Vec<_> = match parse("Dockerfile", &text) {
                Ok(file) => file.lints.iter().map(|lint| lint.span).collect(),
                Err(errors) => {
                    assert!(!errors.errors.is_empty());
                    errors.errors.iter().map(|error| error.span).collect()
                }
            };
            for span in spans {
                prop_assert!(span.start <= span.end && span.end as usize <= text.len());
            }
            let _ = parse_trigger("trigger", &text, '`');
            let _ = lint::Config::parse(&text);
            let lookup = |name: &str| name.starts_with('x').then(|| "a b/c".to_owned());
            let _ = expand::expand(&text, '\\', &lookup);
            let _ = expand::expand_words(&text, '`', &lookup);
            let _ = expand::expand_heredoc(&text, &lookup);
            let _ = expand::display(&text, '\\', &lookup);
        }
    }
}
