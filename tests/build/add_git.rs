//! ADD of git repositories, by real servers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::git::git;
use crate::support::{
    COMMITTED, Finished, GitDaemon, GitServer, Repository, TestEnv, assert_tree, require_tool,
};

/// A repository with two branches and two tags, and a server.
struct World {
    env: TestEnv,
    server: GitServer,
    repository: Repository,
    /// The first commit, and that of `main`.
    first: String,
    main: String,
    /// Of the annotated tag.
    tag: String,
}

fn world() -> World {
    let env = TestEnv::new();
    let repository = Repository::new(&env, "x.git");
    let first = repository.write("file", "first\n").commit("first");
    repository.git(&["tag", "light"]);
    repository.git(&["tag", "-a", "-m", "x", "heavy"]);
    let tag = repository.git(&["rev-parse", "refs/tags/heavy"]);
    repository.git(&["branch", "side/way"]);
    repository.write("sub/dir/inner", "inner\n").write("tool", "tool\n");
    fs::set_permissions(repository.path().join("tool"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("sub/dir", repository.path().join("link")).unwrap();
    let main = repository.write("file", "main\n").commit("second");
    let server = GitServer::start(&env);
    World { env, server, repository, first, main, tag }
}

impl World {
    /// The address with something behind it.
    fn url(&self, more: &str) -> String {
        self.server.url(&format!("x.git{more}"))
    }

    fn build(&self, dockerfile: &str) -> Finished {
        self.env.dockerfile(dockerfile);
        self.env.rbuild(&["-t", "app", "."]).run().success()
    }

    fn add(&self, more: &str) -> Finished {
        self.build(&format!("FROM scratch\nADD {} /d/\n", self.url(more)))
    }

    #[track_caller]
    fn fails(&self, instruction: &str, code: i32, says: &[&str]) {
        self.env.dockerfile(&format!("FROM scratch\n{instruction}\n"));
        self.env.rbuild(&["."]).run().code(code).says(says).says(&["Dockerfile:2"]);
        self.env.has_no_leftovers();
    }
}

#[test]
fn files_are_roots_and_have_the_modes_that_git_knows() {
    let world = world();
    // Whatever files the caller makes are nobody else's to read.
    let script = format!("umask 077; exec {} -t app .", crate::support::binary().display());
    world.env.dockerfile(&format!(
        "FROM scratch\nADD {0} /d\nADD --chown=1:2 --chmod=700 --exclude=sub --exclude=link {0} /e/\n\
         ADD --link {0}#:sub /l/\n",
        world.url("")
    ));
    world.env.program("sh", &["-c", &script]).run().success();
    let expected = [
        "d755 d",
        "f644 d/file: main",
        "l d/link -> sub/dir",
        "d755 d/sub",
        "d755 d/sub/dir",
        "f644 d/sub/dir/inner: inner",
        "f755 d/tool: tool",
        "d700 1:2 e",
        "f700 1:2 e/file: main",
        "f700 1:2 e/tool: tool",
        "d755 l",
        "d755 l/dir",
        "f644 l/dir/inner: inner",
    ];
    let image = world.env.image("app");
    assert_tree(&image, &expected, "");
    assert!(image.files()["d/file"].modified > COMMITTED);
    world.env.has_no_leftovers();
}

#[test]
fn a_commit_has_many_names() {
    let world = world();
    let head = world.main.clone();
    let (first, main) = (&world.first, "main");
    for (more, expected) in [
        ("", main),
        ("#main", main),
        ("#refs/heads/main", main),
        ("#heads/main", main),
        ("#HEAD", main),
        (&format!("#{head}"), main),
        ("#side/way", "first"),
        ("?branch=side/way", "first"),
        ("#light", "first"),
        ("#heavy", "first"),
        ("#refs/tags/heavy", "first"),
        ("?tag=heavy", "first"),
        (&format!("#{first}"), "first"),
        (&format!("?commit={first}"), "first"),
        (&format!("?ref=light&checksum={}&fetch-by-commit", &first[..9]), "first"),
    ] {
        world.add(more);
        assert_eq!(world.env.image("app").text("d/file"), format!("{expected}\n"), "{more}");
    }
    // A branch goes before a tag of the same name.
    world.repository.git(&["tag", "main", "light"]);
    world.add("#main");
    assert_eq!(world.env.image("app").text("d/file"), "main\n");
    world.add("?tag=main");
    assert_eq!(world.env.image("app").text("d/file"), "first\n");
}

#[test]
fn what_a_name_leads_to_is_asked_for_and_fetched_once() {
    let world = world();
    assert!(world.add("").outcome("ADD").unwrap().starts_with("DONE"));
    assert_eq!(world.server.requests(), ["refs x.git", "files x.git"]);
    assert_eq!(world.add("").outcome("ADD"), Some("CACHED"));
    assert_eq!(world.server.requests(), ["refs x.git"]);
    // Other names and other ways to write them lead to the same.
    for more in ["#main", "?branch=main", &format!("?branch=main&checksum={}", &world.main[..8])] {
        assert_eq!(world.add(more).outcome("ADD"), Some("CACHED"), "{more}");
        assert_eq!(world.server.requests(), ["refs x.git"], "{more}");
    }
    // Who knows the commit asks nobody.
    for more in [format!("#{}", world.main), format!("?checksum={}", world.main)] {
        assert_eq!(world.add(&more).outcome("[internal] fetch"), Some("CACHED"), "{more}");
        assert!(world.server.requests().is_empty(), "{more}");
    }
    // Who has a name lead to it wants to know whether it does.
    let pinned = format!("ADD --checksum={} {} /d/", world.main, world.url("#main"));
    world.build(&format!("FROM scratch\n{pinned}\n"));
    assert_eq!(world.server.requests(), ["refs x.git"]);
    // The name leads elsewhere.
    world.repository.write("file", "third\n").commit("third");
    assert!(world.add("").outcome("ADD").unwrap().starts_with("DONE"));
    assert_eq!(world.env.image("app").text("d/file"), "third\n");
    assert_eq!(world.server.requests(), ["refs x.git", "files x.git"]);
    world.fails(&pinned, 5, &["expected checksum to match", &world.main]);
    assert_eq!(world.server.requests(), ["refs x.git"]);
    // Another commit with the same files changes nothing in the image.
    world.repository.commit("empty");
    let built = world.add("");
    assert!(built.outcome("[internal] fetch").unwrap().starts_with("DONE"));
    assert_eq!(built.outcome("ADD"), Some("CACHED"));
    world.env.has_no_leftovers();
}

#[test]
fn a_checksum_has_to_be_that_of_the_commit() {
    let world = world();
    let add = |checksum: &str, more: &str| format!("ADD --checksum={checksum} {} /", world.url(more));
    for (checksum, more) in [
        (world.main.clone(), ""),
        (world.main[..7].to_uppercase(), "#main"),
        (world.first.clone(), "#heavy"),
        (world.tag.clone(), "#heavy"),
        (world.first[..10].to_owned(), &*format!("#{}", world.first)),
    ] {
        world.build(&format!("FROM scratch\n{}\n", add(&checksum, more)));
    }
    // What is here already is as good as what would have to come.
    let world = self::world();
    let wrong = &world.first;
    world.fails(&add(wrong, "#main"), 5, &["expected checksum to match", wrong, &world.main]);
    world.fails(&add(&world.main, "#heavy"), 5, &["expected checksum to match", &world.tag, " or "]);
    world.fails(&add("foobar", "#main"), 3, &["invalid checksum foobar", "expected hex commit hash"]);
    world.fails(&add("1234", &format!("#{wrong}")), 3, &["expected checksum to match 1234, got"]);
    world.fails(&add("12", "?checksum=34"), 3, &["checksum conflicts"]);
    world.fails(&format!("ADD {}?checksum={wrong}#main /", world.url("")), 5, &["expected checksum"]);
}

#[test]
fn mistakes_are_told_with_the_line() {
    let world = world();
    let add = |more: &str| format!("ADD {} /", world.url(more));
    world.fails(&add("#missing"), 5, &["repository does not contain ref missing", "git ls-remote"]);
    world.fails(&add(&format!("#{}", &world.main[..8])), 5, &["does not contain ref", "by its whole id"]);
    world.fails(&add(&format!("#{}", "1".repeat(40))), 5, &["1111"]);
    world.fails(&add("#main:nothing"), 3, &["subdir nothing cannot be taken", "is not in the repository"]);
    world.fails(&add("#main:link"), 3, &["subdir link cannot be taken: link is a link"]);
    world.fails(&add("#main:link/inner"), 3, &["link is a link"]);
    world.fails(&add("#main:file"), 3, &["file is no directory"]);
    world.fails(&add("#main:../x"), 3, &["leads out of the repository"]);
    world.fails(&add("?refs=main"), 3, &["unexpected query \"refs\" (did you mean ref?)"]);
    world.fails(
        &add("?keep-git-dir=1").replace("ADD", "ADD --keep-git-dir=false"),
        3,
        &["inconsistent keep-git-dir"],
    );
    world.fails(&format!("ADD {} /", world.server.url("missing.git")), 5, &["missing.git", "not found"]);
    let empty = Repository::new(&world.env, "empty.git");
    drop(empty);
    world.fails(&format!("ADD {} /", world.server.url("empty.git")), 5, &["could not find default branch"]);
    world.fails("ADD http://127.0.0.1:1/x.git /", 5, &["cannot ask http://127.0.0.1:1/x.git for its refs"]);
}

#[test]
fn a_repository_may_keep_what_git_needs() {
    let world = world();
    let out = world.env.path("out");
    world.env.dockerfile(&format!(
        "FROM scratch\nADD --keep-git-dir {0} /main\nADD {0}?keep-git-dir&tag=heavy /tag\n\
         ADD --keep-git-dir=true {0}#{1} /commit\nADD --keep-git-dir=false {0} /none\nADD --keep-git-dir {0}#:sub /sub\n\
         ADD --keep-git-dir {0}#outer /nested\n",
        world.url(""),
        world.main,
    ));
    // A tag of a tag is all that leads to the commit.
    world.repository.git(&["-c", "advice.nestedTag=false", "tag", "-a", "-m", "outer", "outer", "heavy"]);
    let given = format!("http://ann:secret@{}", world.server.address());
    let text = fs::read_to_string(world.env.context().join("Dockerfile")).unwrap();
    world.env.dockerfile(&text.replace(&format!("http://{}", world.server.address()), &given));
    world.env.rbuild(&["-t", "app", "-o", out.to_str().unwrap(), "."]).run().success().omits(&["secret"]);
    let said = |name: &str, words: &[&str]| {
        let output = git(&out.join(name)).args(words).output().unwrap();
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for (name, commit, refs) in [
        ("main", &world.main, format!("{} refs/heads/main", world.main)),
        ("tag", &world.first, format!("{} refs/tags/heavy", world.tag)),
    ] {
        assert_eq!(said(name, &["rev-parse", "HEAD"]), *commit);
        assert_eq!(said(name, &["show-ref"]), refs);
    }
    for name in ["main", "tag", "commit", "nested"] {
        assert_eq!(said(name, &["status", "--porcelain"]), "", "{name}");
        assert_eq!(said(name, &["remote", "get-url", "origin"]), world.url(""));
        assert_eq!(said(name, &["rev-list", "--count", "HEAD"]), "1");
        said(name, &["fsck", "--strict"]);
    }
    assert_eq!(said("tag", &["cat-file", "-t", "refs/tags/heavy"]), "tag");
    assert_eq!(said("nested", &["describe"]), "outer");
    assert!(!out.join("none/.git").exists() && !out.join("sub/.git").exists());
    let image = world.env.image("app");
    assert!(!image.mentions("secret"), "a password is in the image");
    let entries = image.files();
    let odd = entries.iter().find(|(_, entry)| (entry.uid, entry.gid) != (0, 0));
    assert_eq!(odd, None);
    assert_eq!(entries["main/.git"].mode, 0o755);
    assert_eq!(entries["main/.git/HEAD"].mode, 0o644);
    assert!(entries.keys().all(|name| !name.contains("hooks")));
    assert!(
        image.config.history.iter().all(|item| !item
            .created_by
            .clone()
            .unwrap_or_default()
            .contains("secret"))
    );
}

#[test]
fn files_may_be_as_old_as_their_commit() {
    let world = world();
    world.add("?mtime=commit");
    let files = world.env.image("app").files();
    for name in ["d", "d/file", "d/link", "d/sub", "d/sub/dir/inner"] {
        assert_eq!(files[name].modified, COMMITTED, "{name}");
    }
    world.add("?mtime=checkout");
    // The same files: nothing is copied again.
    assert_eq!(world.env.image("app").files()["d/file"].modified, COMMITTED);
}

#[test]
fn submodules_come_with_their_repository() {
    let world = world();
    let deep = Repository::new(&world.env, "deep.git");
    deep.write("deep", "deep\n").commit("deep");
    let library = Repository::new(&world.env, "nested/library.git");
    let first = library.write("old", "old\n").commit("old");
    library.git(&["submodule", "add", "-q", &world.server.url("deep.git"), "deep"]);
    library.write("new", "new\n").commit("new");
    let user = Repository::new(&world.env, "nested/user.git");
    user.git(&["submodule", "add", "-q", "--name", "odd name", "../library.git", "lib/one"].map(|word| {
        if word == "../library.git" {
            Box::leak(world.server.url("nested/library.git").into_boxed_str())
        } else {
            word
        }
    }));
    user.git(&["config", "-f", ".gitmodules", "submodule.odd name.url", "../library.git"]);
    user.git(&["config", "-f", ".gitmodules", "submodule.odd name.update", "merge"]);
    user.write("own", "own\n").commit("one");
    // An old commit, which no name leads to.
    user.git(&["submodule", "add", "-q", &world.server.url("nested/library.git"), "two"]);
    git(&user.path().join("two")).args(["checkout", "-q", &first]).status().unwrap();
    user.commit("two");
    let url = world.server.url("nested/user.git");
    world.build(&format!(
        "FROM scratch\nADD {url} /d/\nADD {url}?submodules=false /without/\nADD {url}#:lib/one/deep /deep/\n"
    ));
    let lines: Vec<String> = crate::support::tree(&world.env.image("app"))
        .into_iter()
        .filter(|line| !line.contains(".gitmodules"))
        .collect();
    let expected = [
        "d755 d",
        "d755 d/lib",
        "d755 d/lib/one",
        "d755 d/lib/one/deep",
        "f644 d/lib/one/deep/deep: deep",
        "f644 d/lib/one/new: new",
        "f644 d/lib/one/old: old",
        "f644 d/own: own",
        "d755 d/two",
        "f644 d/two/old: old",
        "d755 deep",
        "f644 deep/deep: deep",
        "d755 without",
        "d755 without/lib",
        "d755 without/lib/one",
        "f644 without/own: own",
        "d755 without/two",
    ];
    assert_eq!(lines, expected);
    // Kept repositories are whole, all of them.
    let out = world.env.path("out");
    world.env.dockerfile(&format!("FROM scratch\nADD --keep-git-dir {url} /\n"));
    world.env.rbuild(&["-o", out.to_str().unwrap(), "."]).run().success();
    for inner in [".", "lib/one", "lib/one/deep", "two"] {
        let status = git(&out.join(inner)).args(["status", "--porcelain"]).output().unwrap();
        assert!(status.status.success() && status.stdout.is_empty(), "{inner}: {status:?}");
    }
}

#[test]
fn a_submodule_without_an_address_fails_the_build() {
    let world = world();
    world.repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},lost", world.first)]);
    world.repository.git(&["commit", "-q", "-m", "lost"]);
    let add = format!("ADD {} /", world.url(""));
    world.fails(&add, 3, &["submodule lost of", "No url found for submodule path", "submodules=false"]);
    world.add("?submodules=false");
    // As git does it: what a repository leaves out itself nobody has to have.
    let left_out = "[submodule \"l\"]\n\tpath = lost\n\turl = ../private.git\n\tupdate = none\n";
    world.repository.write(".gitmodules", left_out);
    world.repository.git(&["add", ".gitmodules"]);
    world.repository.git(&["commit", "-q", "-m", "left out"]);
    world.add("");
    assert!(world.env.image("app").files().contains_key("d/lost"));
}

#[test]
fn longer_ids_work_too() {
    let world = world();
    let long = Repository::with_format(&world.env, "long.git", "sha256");
    let old = long.write("file", "old\n").commit("old");
    let new = long.write("file", "new\n").commit("new");
    assert_eq!(new.len(), 64);
    let url = world.server.url("long.git");
    world.build(&format!(
        "FROM scratch\nADD --checksum={new} {url} /new/\nADD {url}#{old} /old/\nADD --keep-git-dir {url} /kept/\n"
    ));
    let image = world.env.image("app");
    assert_eq!((image.text("new/file"), image.text("old/file")), ("new\n".to_owned(), "old\n".to_owned()));
    assert!(image.text("kept/.git/config").contains("objectformat = sha256"));
}

#[test]
fn old_servers_give_all_that_they_have() {
    let world = world();
    world.server.is_old();
    // An old commit that no name leads to any more.
    world.repository.git(&["checkout", "-q", "--detach", "light"]);
    let between = world.repository.write("file", "between\n").commit("between");
    let last = world.repository.write("file", "last\n").commit("last");
    world.repository.git(&["branch", "-f", "side/way", &last]);
    world.add("#side/way");
    assert_eq!(world.env.image("app").text("d/file"), "last\n");
    let built = world.add(&format!("#{between}"));
    let _ = built.says(&["the server gives no single commits"]);
    assert_eq!(world.env.image("app").text("d/file"), "between\n");
    world.add("#heavy");
    assert_eq!(world.env.image("app").text("d/file"), "first\n");
    // A name that becomes a part of another one.
    world.repository.git(&["branch", "-D", "-q", "side/way"]);
    world.repository.git(&["branch", "side", &last]);
    let newer = world.repository.write("file", "newer\n").commit("newer");
    world.repository.git(&["branch", "side2", &newer]);
    world.repository.write("file", "newest\n").commit("newest");
    world.repository.git(&["branch", "-f", "side2", "HEAD"]);
    world.add(&format!("#{newer}"));
    assert_eq!(world.env.image("app").text("d/file"), "newer\n");
}

#[test]
fn gits_own_server_will_do() {
    require_tool!("setpriv");
    let world = world();
    let daemon = GitDaemon::start(&world.env);
    world.build(&format!("FROM scratch\nADD {} /d/\n", daemon.url("x.git#heavy")));
    assert_eq!(world.env.image("app").text("d/file"), "first\n");
    let missing = format!("ADD {} /", daemon.url("missing.git"));
    world.fails(&missing, 5, &["cannot ask git://", "for its refs"]);
}

#[test]
fn other_sources_may_stand_beside_it() {
    let world = world();
    world.env.write("local", "local\n");
    world.build(&format!("FROM scratch\nADD {} local <<doc /d/\ndocument\ndoc\n", world.url("#light")));
    let expected = ["d755 d", "f644 d/doc: document", "f644 d/file: first", "f644 d/local: local"];
    assert_tree(&world.env.image("app"), &expected, "");
    let history = world.env.image("app").config.history;
    assert_eq!(
        history[0].created_by.as_deref(),
        Some(&*format!("ADD {} local <<doc /d/ # buildkit", world.url("#light")))
    );
}

#[test]
fn repositories_are_kept_and_pruned_with_the_store() {
    let world = world();
    world.add("");
    let du =
        || world.env.rbuild(&["du", "--verbose", "--filter", "type=source.git.checkout"]).run().success();
    assert!(du().stdout().contains(&format!("git repository {}", world.url(""))), "{}", du());
    // It is no cache of commands.
    let listed = world.env.rbuild(&["cache", "ls"]).run().success();
    assert!(!listed.stdout().contains("x.git"), "{listed}");
    world.env.rbuild(&["store", "check"]).run().success();
    world.env.rbuild(&["prune", "-a", "-f"]).run().success();
    assert!(!du().stdout().contains("x.git"), "{}", du());
    world.server.requests();
    world.env.rbuild(&["rmi", "app"]).run().success();
    world.env.rbuild(&["prune", "-a", "-f"]).run().success();
    world.add("");
    assert_eq!(world.server.requests(), ["refs x.git", "files x.git"]);
}
