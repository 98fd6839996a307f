//! Contexts that are git repositories, also under names.

use std::fs;

use crate::support::{COMMITTED, Finished, GitServer, Repository, TestEnv, assert_tree};

const ALL: &str = "FROM scratch\nCOPY . /\n";

struct World {
    env: TestEnv,
    server: GitServer,
    repository: Repository,
    first: String,
}

fn world() -> World {
    let env = TestEnv::new();
    let repository = Repository::new(&env, "x.git");
    repository.write("Dockerfile", ALL).write(".dockerignore", "Docker*\n.docker*\nhidden\n");
    let first = repository.write("file", "first\n").write("hidden", "hidden\n").commit("first");
    repository.git(&["tag", "-a", "-m", "x", "v1"]);
    repository
        .write("sub/Dockerfile", "FROM scratch\nCOPY inner* sub*/inner* /\n")
        .write("sub/inner", "inner\n");
    repository.write("file", "main\n").commit("second");
    let server = GitServer::start(&env);
    World { env, server, repository, first }
}

impl World {
    fn url(&self, more: &str) -> String {
        self.server.url(&format!("x.git{more}"))
    }

    fn build(&self, words: &[&str], more: &str) -> Finished {
        let url = self.url(more);
        self.env.rbuild(&[&["-t", "app"], words, &[&*url]].concat()).run().success()
    }

    #[track_caller]
    fn has(&self, expected: &[&str], what: &str) {
        assert_tree(&self.env.image("app"), expected, what);
    }
}

#[test]
fn a_repository_is_a_context_with_its_dockerfile_and_its_ignore_file() {
    let world = world();
    world.env.write("file", "not seen").dockerfile("FROM nowhere\n");
    let main = [
        "f644 file: main",
        "d755 sub",
        "f644 sub/Dockerfile: FROM scratch\nCOPY inner* sub*/inner* /",
        "f644 sub/inner: inner",
    ];
    world.build(&[], "");
    world.has(&main, "main");
    let image = world.env.image("app");
    let history: Vec<_> = image.config.history.iter().map(|item| item.created_by.clone()).collect();
    assert_eq!(history, [Some("COPY . / # buildkit".to_owned())]);
    assert!(image.files()["file"].modified > COMMITTED);
    for more in [
        "#v1".to_owned(),
        "?tag=v1".to_owned(),
        format!("#{}", world.first),
        format!("?commit={}", world.first),
    ] {
        world.build(&[], &more);
        world.has(&["f644 file: first"], &more);
    }
    world.build(&[], "#main:sub");
    world.has(&["f644 inner: inner"], "a directory of it");
    world.env.has_no_leftovers();
}

#[test]
fn what_has_not_changed_is_asked_for_and_cached() {
    let world = world();
    assert!(world.build(&[], "").outcome("COPY").unwrap().starts_with("DONE"));
    assert_eq!(world.server.requests(), ["refs x.git", "files x.git"]);
    assert_eq!(world.build(&[], "#main").outcome("COPY"), Some("CACHED"));
    assert_eq!(world.server.requests(), ["refs x.git"]);
    world.build(&[], &format!("#{}", world.first));
    world.server.requests();
    assert_eq!(world.build(&[], &format!("#{}", world.first)).outcome("COPY"), Some("CACHED"));
    assert!(world.server.requests().is_empty());
    // What is ignored changes nothing.
    world.repository.write("hidden", "changed\n").commit("third");
    assert_eq!(world.build(&[], "").outcome("COPY"), Some("CACHED"));
    world.repository.write("file", "fourth\n").commit("fourth");
    assert!(world.build(&[], "").outcome("COPY").unwrap().starts_with("DONE"));
    assert_eq!(world.env.image("app").text("file"), "fourth\n");
}

#[test]
fn the_dockerfile_may_lie_elsewhere() {
    let world = world();
    // It is found in the repository, and copies from the top of that.
    world.build(&["-f", "sub/Dockerfile"], "?branch=main&subdir=/");
    world.has(&["f644 inner: inner"], "");
    world
        .env
        .rbuild(&["-f", "sub/Dockerfile", &world.url("#v1")])
        .run()
        .code(3)
        .says(&["there is no sub/Dockerfile in"]);
}

#[test]
fn a_dockerfile_of_this_machine_goes_with_a_repository() {
    let world = world();
    world.env.dockerfile("FROM scratch\nCOPY file /own\n");
    let dockerfile = world.env.context().join("Dockerfile");
    world.build(&["-f", dockerfile.to_str().unwrap()], "");
    world.has(&["f644 own: main"], "");
    world
        .env
        .rbuild(&["-t", "app", "-f", "-", &world.url("")])
        .input("FROM scratch\nCOPY file /piped\n")
        .run()
        .success();
    world.has(&["f644 piped: main"], "");
}

#[test]
fn build_arguments_say_what_is_kept() {
    let world = world();
    world.build(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"], "");
    assert!(world.env.image("app").files().contains_key(".git/HEAD"));
    world.build(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=0"], "");
    assert!(!world.env.image("app").files().contains_key(".git"));
    world.build(&[], "?keep-git-dir");
    assert!(world.env.image("app").files().contains_key(".git/HEAD"));
    world.build(&["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1600000000"], "");
    assert_eq!(world.env.image("app").files()["file"].modified, COMMITTED);
}

#[test]
fn a_repository_may_have_a_name_as_a_context() {
    let world = world();
    let env = &world.env;
    env.dockerfile("FROM scratch\nCOPY --from=repo . /all/\nCOPY --from=repo sub/inner /\n");
    let named = |more: &str| {
        let context = format!("repo={}", world.url(more));
        env.rbuild(&["-t", "app", "--build-context", &context, "."]).run()
    };
    named("#v1").code(3).says(&["\"/sub/inner\": not found"]);
    named("#main").success();
    let expected = [
        "d755 all",
        "f644 all/file: main",
        "d755 all/sub",
        "f644 all/sub/Dockerfile: FROM scratch\nCOPY inner* sub*/inner* /",
        "f644 all/sub/inner: inner",
        "f644 inner: inner",
    ];
    world.has(&expected, "");
    env.dockerfile("FROM repo\nCOPY --from=repo file /other\n");
    named("#main:sub").code(3).says(&["\"/file\": not found"]);
    named("#v1").success();
    world.has(&["f644 file: first", "f644 other: first"], "");
    assert_eq!(named(&format!("#{}", world.first)).success().outcome("COPY"), Some("CACHED"));
    // Only who is asked for is fetched.
    env.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    world.server.requests();
    named("#missing").success();
    assert!(world.server.requests().is_empty());
}

#[test]
fn submodules_and_secrets_are_those_of_any_repository() {
    let world = world();
    let library = Repository::new(&world.env, "library.git");
    let commit = library.write("inner", "library\n").commit("library");
    world.repository.write(".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = ../library.git\n");
    world.repository.git(&["add", "-A"]);
    world.repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},a")]);
    world.repository.git(&["commit", "-q", "-m", "submodule"]);
    // `x-access-token:tiger`
    world.server.wants(Some("Basic eC1hY2Nlc3MtdG9rZW46dGlnZXI="));
    let failed = world.env.rbuild(&[&world.url("")]).run().code(5);
    failed.says(&["cannot load http://", "GIT_AUTH_TOKEN"]);
    fs::write(world.env.path("secret"), "tiger\n").unwrap();
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", world.env.path("secret").display());
    let _ = world.build(&["--secret", &secret], "").omits(&["tiger"]);
    assert_eq!(world.env.image("app").text("a/inner"), "library\n");
    let login = format!("http://x-access-token:tiger@{}/x.git", world.server.address());
    world.env.rbuild(&["--no-cache", &login]).run().success().omits(&["tiger"]);
    let wrong = format!("{login}?tig=tiger");
    world.env.rbuild(&[&wrong]).run().code(2).says(&["unexpected query \"tig\""]).omits(&["x-access-token"]);
}

#[test]
fn what_cannot_be_had_is_told() {
    let world = world();
    let env = &world.env;
    env.rbuild(&[&world.url("#missing")])
        .run()
        .code(5)
        .says(&["cannot load", "does not contain ref missing"]);
    env.rbuild(&[&world.url("#main:nothing")]).run().code(3).says(&["subdir nothing cannot be taken"]);
    env.rbuild(&[&world.url("?ref=a#b")]).run().code(2).says(&["ref conflicts: \"b\" vs \"a\""]);
    env.rbuild(&[&world.url("#--x")]).run().code(2).says(&["invalid ref \"--x\""]);
    let context = format!("repo={}", world.url("?branch=a&tag=b"));
    env.rbuild(&["--build-context", &context, "."]).run().code(2).says(&["branch conflicts with tag"]);
    env.dockerfile("FROM scratch\nCOPY --from=repo . /\n");
    let context = format!("repo={}", world.url("#missing"));
    let failed = env.rbuild(&["--build-context", &context, "."]).run().code(5);
    failed.says(&["--build-context repo", "does not contain ref missing"]);
    // The short form means this host; here nobody gets through to it.
    let short = env.rbuild(&["github.com/o/r#main"]).env("https_proxy", "http://127.0.0.1:1").run().code(5);
    short.says(&["cannot load https://github.com/o/r#main"]);
    fs::create_dir_all(env.context().join("github.com/o/r")).unwrap();
    fs::write(env.context().join("github.com/o/r/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    env.rbuild(&["github.com/o/r"]).run().success();
    env.has_no_leftovers();
}

#[test]
fn calls_that_build_nothing_fetch_it_too() {
    let world = world();
    let asked = |word: &str| world.env.rbuild(&[word, &world.url("")]).run().success().stdout().to_owned();
    assert!(asked("--dump=ast").contains("COPY"));
    assert!(asked("--dump=graph").contains("COPY . /"));
    assert!(asked("--call=targets").contains("(default)"));
}
