//! Repositories that mean harm, and surroundings that would have git do something else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::{Repository, TestEnv, git_world};

/// What must not come into being.
fn trap(env: &TestEnv) -> (String, impl Fn(&str)) {
    let path = env.path("sprung");
    let script = env.path("trap.sh");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\ncat\n", path.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (script.display().to_string(), move |what: &str| assert!(!path.exists(), "{what} was run"))
}

/// Commits a tree that git would never write, of entries as `git mktree` reads them.
fn commit_tree(repository: &Repository, entries: &str) -> String {
    let hash = |kind: &str, bytes: &[u8]| {
        let path = repository.path().join(".git/raw");
        fs::write(&path, bytes).unwrap();
        repository.git(&["hash-object", "-t", kind, "-w", "--literally", path.to_str().unwrap()])
    };
    let mut tree = Vec::new();
    for line in entries.lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let id: Vec<u8> = (0..words[1].len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&words[1][at..at + 2], 16).unwrap())
            .collect();
        tree.extend_from_slice(format!("{} {}\0", words[0], words[2]).as_bytes());
        tree.extend_from_slice(&id);
    }
    let tree = hash("tree", &tree);
    let commit = format!("tree {tree}\nauthor A <a@h> 1 +0000\ncommitter A <a@h> 1 +0000\n\nx\n");
    let commit = hash("commit", commit.as_bytes());
    repository.git(&["update-ref", "refs/heads/evil", &commit]);
    commit
}

#[test]
fn nothing_that_a_repository_has_is_run() {
    let (env, server, repository) = git_world();
    let (script, is_unsprung) = trap(&env);
    repository.write(".gitattributes", "* filter=evil diff=evil merge=evil\n*.t ident\n");
    repository.write("hooks/post-checkout", &format!("#!/bin/sh\nexec {script}\n"));
    repository.write(".gitmodules", &format!("[submodule \"a\"]\n\tpath = a\n\turl = {}\n\tupdate = !{script}\n[include]\n\tpath = /etc/passwd\n", server.url("x.git")));
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["add", "-A"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},a")]);
    repository.git(&["update-index", "--chmod=+x", "hooks/post-checkout"]);
    repository.git(&["commit", "-q", "-m", "evil"]);
    env.dockerfile(&format!(
        "FROM scratch\nADD --keep-git-dir {0} /kept/\nADD {0} /plain/\n",
        server.url("x.git")
    ));
    env.rbuild(&["-t", "app", "."]).run().success();
    is_unsprung("something of the repository");
    let image = env.image("app");
    assert_eq!(
        (image.text("plain/file"), image.text("plain/a/file")),
        ("text\n".to_owned(), "text\n".to_owned())
    );
}

#[test]
fn nothing_that_the_caller_has_set_is_run_or_counts() {
    let (env, server, repository) = git_world();
    let (script, is_unsprung) = trap(&env);
    repository.write(".gitattributes", "* filter=evil\n").commit("attributes");
    let template = env.path("template/hooks");
    fs::create_dir_all(&template).unwrap();
    fs::copy(&script, template.join("post-checkout")).unwrap();
    let settings = format!(
        "[filter \"evil\"]\n\tsmudge = {script}\n\trequired = true\n[core]\n\thooksPath = {0}\n\tfsmonitor = {script}\n\
         \tautocrlf = true\n\tsshCommand = {script}\n[init]\n\ttemplateDir = {1}\n[credential]\n\thelper = !{script}\n\
         [url \"http://127.0.0.1:1/\"]\n\tinsteadOf = {2}\n",
        template.display(),
        env.path("template").display(),
        server.url(""),
    );
    fs::write(env.path("home/.gitconfig"), &settings).unwrap();
    fs::create_dir_all(env.path("home/.config/git")).unwrap();
    fs::write(env.path("home/.config/git/config"), &settings).unwrap();
    env.dockerfile(&format!("FROM scratch\nADD --keep-git-dir {} /\n", server.url("x.git")));
    let build = env.rbuild(&["-t", "app", "."]);
    let build = build.env("GIT_DIR", "/nowhere").env("GIT_SSH_COMMAND", &script).env("GIT_ASKPASS", &script);
    let build = build.env("GIT_CONFIG_PARAMETERS", format!("'core.hooksPath={}'", template.display()));
    let build =
        build.env("GIT_EXEC_PATH", env.path("template")).env("GIT_TEMPLATE_DIR", env.path("template"));
    let build = build.env("GIT_TRACE", env.path("trace")).env("GIT_INDEX_FILE", "/nowhere/index");
    build.run().success();
    is_unsprung("something of the caller's settings");
    assert_eq!(env.image("app").text("file"), "text\n");
    assert!(!env.path("trace").exists());
    // Nor does a repository count in which the store lies.
    let around = crate::support::git::git(&env.path("")).args(["init", "-q"]).status().unwrap();
    assert!(around.success());
    fs::write(env.path(".git/config"), format!("[core]\n\trepositoryformatversion = 0\n{settings}")).unwrap();
    repository.commit("something new");
    env.rbuild(&["."]).run().success();
    is_unsprung("something of a repository around the store");
    // Nor is anybody asked for a password.
    server.wants(Some("Basic x"));
    repository.commit("more");
    env.rbuild(&["."]).env("GIT_ASKPASS", &script).env("SSH_ASKPASS", &script).run().code(5);
    is_unsprung("a helper for passwords");
}

#[test]
fn names_that_look_like_options_are_none() {
    let (env, server, repository) = git_world();
    let (script, is_unsprung) = trap(&env);
    repository.git(&["update-ref", "refs/heads/-x", "HEAD"]);
    for (instruction, code) in [
        (format!("ADD {}#--upload-pack={script} /", server.url("x.git")), 3),
        (format!("ADD {}?ref=-x /", server.url("x.git")), 3),
        (format!("ADD --checksum=--help {} /", server.url("x.git")), 3),
        // A name below a branch's is one all right.
        (format!("ADD {}?branch=-x /", server.url("x.git")), 0),
        ("ADD ssh://-oProxyCommand=x/y.git /".to_owned(), 3),
        ("ADD git@-oProxyCommand:x /".to_owned(), 3),
    ] {
        env.dockerfile(&format!("FROM scratch\n{instruction}\n"));
        let _ = env.rbuild(&["."]).run().code(code);
        is_unsprung(&instruction);
    }
}

#[test]
fn submodules_are_fetched_from_servers_only() {
    let (env, server, repository) = git_world();
    let (script, is_unsprung) = trap(&env);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},a")]);
    let here = repository.path().display().to_string();
    for url in [
        here.clone(),
        format!("file://{here}"),
        format!("ext::{script}"),
        "--upload-pack=x".to_owned(),
        "-u./x".to_owned(),
        format!("{script}:x"),
        "ssh://-oProxyCommand=x/y".to_owned(),
        "http://h\\nost/x".to_owned(),
    ] {
        let text = format!("[submodule \"a\"]\n\tpath = a\n\turl = \"{url}\"\n");
        repository.write(".gitmodules", &text);
        repository.git(&["add", ".gitmodules"]);
        repository.git(&["commit", "-q", "-m", "x"]);
        env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
        env.rbuild(&["."]).run().code(3).says(&["submodule a of", "is no address of a repository"]);
        is_unsprung(&url);
    }
    env.has_no_leftovers();
}

#[test]
fn links_lead_nowhere_while_files_are_written() {
    let (env, server, repository) = git_world();
    let outside = env.path("outside");
    fs::create_dir(&outside).unwrap();
    // A link that is a directory of other entries at the same time.
    let blob = repository.git(&["rev-parse", "HEAD:file"]);
    let link = repository.git_with_input(&["hash-object", "-w", "--stdin"], outside.to_str().unwrap());
    let inner = repository.git_with_input(&["mktree"], &format!("100644 blob {blob}\tpwned\n"));
    commit_tree(&repository, &format!("120000 {link} a\n40000 {inner} a\n"));
    env.dockerfile(&format!("FROM scratch\nADD {}#evil /\n", server.url("x.git")));
    let _ = env.rbuild(&["."]).run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was written outside");
    // A link where a submodule is to be.
    let first = repository.git(&["rev-parse", "main"]);
    commit_tree(&repository, &format!("120000 {link} a\n160000 {first} a/b\n"));
    let _ = env.rbuild(&["."]).run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was written outside");
    // And links that lead out of where the files are wanted.
    symlink("/etc", repository.path().join("etc")).unwrap();
    symlink("..", repository.path().join("up")).unwrap();
    repository.commit("links");
    for subdir in ["etc", "up", "up/x.git", "etc/passwd"] {
        env.dockerfile(&format!("FROM scratch\nADD {}#main:{subdir} /\n", server.url("x.git")));
        env.rbuild(&["."]).run().code(3).says(&["is a link"]);
    }
    env.has_no_leftovers();
}

#[test]
fn paths_that_no_repository_may_have_are_refused() {
    let (env, server, repository) = git_world();
    let blob = repository.git(&["rev-parse", "HEAD:file"]);
    let inner = repository.git_with_input(&["mktree"], &format!("100644 blob {blob}\tconfig\n"));
    for entries in [
        format!("40000 {inner} .git\n"),
        format!("40000 {inner} .GIT\n"),
        format!("40000 {inner} git~1\n"),
        format!("40000 {inner} .g\u{200c}it\n"),
        format!("40000 {inner} ..\n"),
        format!("100644 {blob} ../x\n"),
        format!("100644 {blob} a/../../x\n"),
        format!("100644 {blob} /x\n"),
        format!("160000 {} ..\n", repository.git(&["rev-parse", "main"])),
    ] {
        commit_tree(&repository, &entries);
        for keep in ["", "--keep-git-dir "] {
            env.dockerfile(&format!("FROM scratch\nADD {keep}{}#evil /\n", server.url("x.git")));
            let _ = env.rbuild(&["."]).run().code(5);
        }
    }
    env.has_no_leftovers();
}

#[test]
fn commands_cannot_reach_what_is_kept_of_repositories() {
    let (env, server, _repository) = git_world();
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
    env.rbuild(&["."]).run().success();
    let caches: Vec<String> = fs::read_dir(env.store().join("caches"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    env.probe_image("base:1");
    env.dockerfile(&format!(
        "FROM base:1\nRUN --mount=type=cache,id={0},target=/c true\nRUN --mount=type=cache,id=git,target=/c true\n",
        server.url("x.git")
    ));
    env.rbuild(&["."]).run().success();
    let after = fs::read_dir(env.store().join("caches")).unwrap().count();
    assert_eq!(after, caches.len() + 2);
}
