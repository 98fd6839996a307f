use super::*;

const SHA: &str = "1234567890123456789012345678901234567890";

fn parsed(text: &str) -> GitSource {
    GitSource::parse(text).expect(text).expect(text)
}

#[track_caller]
fn check(text: &str, address: &str, reference: Option<&str>, subdir: Option<&str>) {
    let source = parsed(text);
    assert_eq!(source.remote.address(), address, "{text}");
    assert_eq!((source.reference.as_deref(), source.subdir.as_deref()), (reference, subdir), "{text}");
}

#[test]
fn repositories_are_told_by_their_addresses() {
    let plain = "https://example.com/foo.git";
    check(plain, plain, None, None);
    check("https://example.com/foo.git#deadbeef", plain, Some("deadbeef"), None);
    check("https://example.com/foo.git#release/1.2", plain, Some("release/1.2"), None);
    check("https://example.com/foo.git#baz/qux:a/b", plain, Some("baz/qux"), Some("a/b"));
    check("https://example.com/foo.git#:dir", plain, None, Some("dir"));
    check("https://example.com/foo.git#", plain, None, None);
    check("https://example.com/foo.git?ref=v1.0.0&subdir=/s", plain, Some("v1.0.0"), Some("/s"));
    check("https://example.com/foo.git?subdir=/s#v1", plain, Some("v1"), Some("/s"));
    check("https://example.com/foo.git?tag=v1.0.0", plain, Some("refs/tags/v1.0.0"), None);
    check("https://example.com/foo.git?tag=refs/tags/v1", plain, Some("refs/tags/v1"), None);
    check("https://example.com/foo.git?branch=v1.0", plain, Some("refs/heads/v1.0"), None);
    check("https://example.com/foo.git?branch=a%2Fb", plain, Some("refs/heads/a/b"), None);
    check("HTTPS://example.com/foo.git", plain, None, None);
    check("https://example.com:8443/.git", "https://example.com:8443/.git", None, None);
    check("http://foo:b%40r@h/x.git#v1", "http://h/x.git", Some("v1"), None);
    check("git://h/foo", "git://h/foo", None, None);
    check("git://h/foo#v1:d", "git://h/foo", Some("v1"), Some("d"));
    check("ssh://h/foo", "ssh://h/foo", None, None);
    check("ssh://git:secret@h:22/~/foo#v1", "ssh://git@h:22/~/foo", Some("v1"), None);
    check("git@h:o/r", "git@h:o/r", None, None);
    check("git@h:o/r.git?subdir=/s#v1", "git@h:o/r.git", Some("v1"), Some("/s"));
    check("other_user@h.example:/srv/r#v1", "other_user@h.example:/srv/r", Some("v1"), None);
    check("https://h/x.git?subdir=/", "https://h/x.git", None, None);
    check("https://h/x.git#:.", "https://h/x.git", None, None);
}

#[test]
fn other_things_are_none() {
    for text in [
        "https://example.com/",
        "https://example.com/foo",
        "https://example.com/foo.git/",
        "https://example.com/foo.git.bar",
        "https://example.com/foo?x=.git",
        "https://example.com/foo#.git",
        "https://github.com/o/r",
        "github.com/o/r",
        "custom.xyz/o/r.git",
        ".git",
        "./.git",
        "../x.git",
        "./git@h:o/r",
        "http://h/x.git:#b",
        "ftp://h/x.git",
        "file:///x.git",
        "ext::sh -c x",
        "git@h",
        "git@h:",
        "-git@h:x",
        "git@-h:x",
        "git@h:-x",
        "git://-h/x",
        "a file:with colon",
        "a@b c:d",
    ] {
        assert_eq!(GitSource::parse(text), None, "{text}");
    }
}

#[test]
fn a_context_may_leave_the_scheme_out() {
    let source = |text: &str| GitSource::parse_context(text).unwrap().unwrap();
    assert_eq!(source("github.com/o/r").to_string(), "https://github.com/o/r");
    assert_eq!(source("github.com/o/r#main:d").to_string(), "https://github.com/o/r#main:d");
    assert_eq!(source("github.com/o/r?tag=v1").reference.as_deref(), Some("refs/tags/v1"));
    assert_eq!(source("https://h/x.git").to_string(), "https://h/x.git");
    for text in ["github.org/o/r", "./github.com/o/r", "https://github.com/o/r", "."] {
        assert_eq!(GitSource::parse_context(text), None, "{text}");
    }
}

#[test]
fn queries_say_the_rest() {
    let all = parsed(&format!(
        "https://h/x.git?keep-git-dir&submodules=false&mtime=commit&fetch-by-commit=1&commit={SHA}&ref=main"
    ));
    assert_eq!((all.keep_git_dir, all.submodules), (Some(true), Some(false)));
    assert_eq!((all.modified, all.fetch_by_commit), (Some(GitTimes::Commit), true));
    assert_eq!((all.checksum.as_deref(), all.reference.as_deref()), (Some(SHA), Some("main")));
    assert_eq!(all.commit(), None);
    let none = parsed("https://h/x.git?keep-git-dir=false&submodules&mtime=checkout");
    assert_eq!((none.keep_git_dir, none.submodules), (Some(false), Some(true)));
    assert_eq!(none.modified, Some(GitTimes::Checkout));
    // Without anything else, the commit itself is asked for.
    let pinned = parsed(&format!("https://h/x.git?checksum={}", SHA.to_uppercase()));
    assert_eq!(pinned.commit(), Some(SHA));
    assert_eq!(parsed("https://h/x.git?checksum=abc123").reference.as_deref(), Some("abc123"));
    // Both may say the same.
    assert_eq!(parsed("https://h/x.git?ref=v1#v1").reference.as_deref(), Some("v1"));
}

#[test]
fn what_is_wrong_is_told() {
    let long = format!("https://h/x.git?checksum=1235#{SHA}");
    for (text, message) in [
        ("https://h/x.git?ref=v1.0.0#v1.2.3", "ref conflicts: \"v1.2.3\" vs \"v1.0.0\""),
        ("https://h/x.git?ref=v1.0.0&tag=v1.2.3", "ref conflicts"),
        ("https://h/x.git?tag=v1#v1", "ref conflicts"),
        ("https://h/x.git?branch=b#v1", "ref conflicts"),
        ("https://h/x.git?subdir=a#:b", "subdir conflicts"),
        ("https://h/x.git?checksum=12&commit=34", "checksum conflicts"),
        ("https://h/x.git?tag=v1.0.0&branch=v1.0", "branch conflicts with tag"),
        ("https://h/x.git?invalid=123", "unexpected query \"invalid\""),
        ("https://h/x.git?sub-dir", "did you mean subdir?"),
        ("https://h/x.git?ref=", "query \"ref\" has no value"),
        ("https://h/x.git?ref=a&ref=b", "query \"ref\" has multiple values"),
        ("https://h/x.git?keep-git-dir=maybe", "invalid keep-git-dir value: \"maybe\""),
        ("https://h/x.git?submodules=no", "invalid submodules value: \"no\""),
        ("https://h/x.git?fetch-by-commit=x", "invalid fetch-by-commit value"),
        ("https://h/x.git?mtime=now", "invalid mtime value: \"now\""),
        ("https://h/x.git?checksum=foobar", "invalid checksum foobar for Git URL, expected hex commit hash"),
        (&long, "expected checksum to match 1235, got 1234"),
        ("https://h/x.git#--upload-pack=x", "invalid ref \"--upload-pack=x\""),
        ("https://h/x.git#a..b", "invalid ref"),
        ("https://h/x.git#a b", "invalid ref"),
        ("https://h/x.git#a*", "invalid ref"),
        ("https://h/x.git#a~1", "invalid ref"),
        ("https://h/x.git#HEAD@{1}", "invalid ref"),
        ("https://h/x.git#a//b", "invalid ref"),
        ("https://h/x.git#.a", "invalid ref"),
        ("https://h/x.git#a.lock", "invalid ref"),
        ("https://h/x.git#%0aa", "invalid ref"),
        ("https://h/x.git#:a/../../b", "invalid subdir \"a/../../b\""),
        ("https:///x.git", "names no host"),
        ("git://:1/x", "names no host"),
    ] {
        let error = GitSource::parse(text).expect(text).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn two_demands_have_to_agree() {
    let mut source = parsed("https://h/x.git?ref=main&checksum=12ab");
    assert_eq!(source.demand(Some("12AB")), Ok(()));
    assert!(source.demand(Some("12ac")).unwrap_err().to_string().starts_with("checksum conflicts"));
    assert!(source.demand(Some("x")).unwrap_err().to_string().starts_with("invalid checksum x"));
    let mut source = parsed(&format!("https://h/x.git#{SHA}"));
    assert_eq!(source.demand(Some("1234")), Ok(()));
    assert!(parsed(&format!("https://h/x.git#{SHA}")).demand(Some("1235")).is_err());
}

#[test]
fn logins_are_shown_nowhere() {
    let source = parsed("https://foo:b%40r@h/x.git#v1");
    assert_eq!(source.remote.login(), Some(("foo", "b@r")));
    assert_eq!(parsed("https://token@h/x.git").remote.login(), Some(("token", "")));
    for user in ["a%2Fb", "a%40b", "a%0Ab", "a%20b", "%23"] {
        assert_eq!(GitSource::parse(&format!("ssh://{user}@h/x.git")), None, "{user}");
    }
    assert_eq!(parsed("ssh://git:x@h/x.git").remote.login(), None);
    assert!(!format!("{source:?} {source}").contains("foo"));
    for (text, shown) in [
        ("ADD https://a:b@h/x.git /", "ADD https://h/x.git /"),
        ("ADD [\"https://a@h/x.git\", \"/\"]", "ADD [\"https://h/x.git\", \"/\"]"),
        ("ADD ssh://git@h/x ssh://a:b@h/y http://h/@ z://", "ADD ssh://git@h/x ssh://h/y http://h/@ z://"),
        ("https://a:b@c@h/x", "https://h/x"),
    ] {
        assert_eq!(without_logins(text), shown);
    }
}

#[test]
fn addresses_may_be_relative_to_others() {
    let base = |text: &str| GitRemote::parse(text).unwrap();
    let joined = |one: &str, other: &str| base(one).join(other).map(|remote| remote.address());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(joined("https://h/o/r.git", "../s.git"), some("https://h/o/s.git"));
    assert_eq!(joined("https://u:p@h/o/r.git/", "./s"), some("https://h/o/r.git/s"));
    assert_eq!(base("https://u:p@h/o/r.git").join("../s").unwrap().login(), Some(("u", "p")));
    assert_eq!(joined("git@h:o/r.git", "../s.git"), some("git@h:o/s.git"));
    assert_eq!(joined("git@h:r.git", "../s.git"), some("git@h:s.git"));
    assert_eq!(joined("https://h/o/r.git", "https://other/s.git"), some("https://other/s.git"));
    assert_eq!(joined("https://h/r.git", "../../../s.git"), None);
    for other in ["/etc", "file:///etc", "ext::sh", "s.git", "-x", "../-\u{7}", "host:path"] {
        assert_eq!(joined("https://h/r.git", other), None, "{other}");
    }
}
