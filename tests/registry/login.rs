//! `login` and `logout`, and what commands do with the logins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::recorder::{Recorder, Reply, Request};
use crate::small_image;
use crate::support::{Demands, PASSWORD, Registry, TestEnv, USER, require_tool};

fn demanding() -> Registry {
    Registry::demanding(&Demands { login: true, ..Demands::default() })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_push_works_between_login_and_logout() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), demanding());
    let host = registry.address();
    let name = format!("{host}/team/app:1");
    small_image(&env, &name);
    let refused = env.rbuild(&["push", &name]).run().code(5);
    refused.says(&["access denied (401 Unauthorized", "team/app", &format!("rbuild login {host}")]);

    let wrong =
        env.rbuild(&["login", "-u", USER, "--password-stdin", &host]).input("hunter2\n").run().code(5);
    wrong
        .says(&[&format!("{host}: login: access denied"), "does not take this user and password"])
        .omits(&["hunter2"]);
    let file = env.path("home/.docker/config.json");
    assert!(!file.exists(), "a login that was refused is not kept");

    env.rbuild(&["login", "-u", USER, "--password-stdin", &host])
        .input(format!("{PASSWORD}\n"))
        .run()
        .success()
        .prints("Login Succeeded!\n")
        .says(&["config.json, unencrypted"]);
    assert_eq!(mode(&file), 0o600);
    env.rbuild(&["login", "--get-login", &host]).run().success().prints("me\n");
    env.rbuild(&["push", "-q", &name]).run().success();
    let built = format!("{host}/team/built:1");
    env.rbuild(&["-t", &built, "--push", "."]).run().success();
    env.rbuild(&["rmi", &name]).run().success();
    env.rbuild(&["pull", "-q", &name]).run().success();

    env.rbuild(&["logout", &host]).run().success();
    env.rbuild(&["login", "--get-login", &host]).run().code(5).says(&["not logged in"]);
    env.rbuild(&["push", &name]).run().code(5).says(&["access denied"]);
    env.rbuild(&["logout", &host]).run().success().says(&["not logged in"]);
}

#[test]
fn other_tools_read_what_login_writes_and_login_what_they_write() {
    for tool in ["docker-registry", "skopeo"] {
        require_tool!(tool);
    }
    let (env, registry) = (TestEnv::new(), demanding());
    let host = registry.address();
    let name = format!("{host}/app:1");
    small_image(&env, &name);
    env.rbuild(&["login", "-u", USER, "-p", PASSWORD, &host]).run().success().says(&["--password-stdin"]);
    env.rbuild(&["push", "-q", &name]).run().success();
    let inspect =
        || env.program("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{name}")]).run();
    inspect().success();
    env.rbuild(&["logout", "--all"]).run().success();
    inspect().code(1);

    // skopeo's own file is podman's, which is in use from then on.
    let login = ["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, &host];
    env.program("skopeo", &login).run().success();
    env.rbuild(&["pull", "-q", &name]).run().success();
    let podmans = env.path("runtime/containers/auth.json");
    env.rbuild(&["login", "-u", USER, "--password-stdin", &host]).input(PASSWORD).run().success();
    assert!(fs::read_to_string(&podmans).unwrap().contains(&host));
    env.rbuild(&["logout", &host]).run().success();
    inspect().code(1);
}

#[test]
fn what_else_is_in_the_file_stays() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), demanding());
    let file = env.path("logins.json");
    let (target, host) = (env.path("elsewhere.json"), registry.address());
    let before = r#"{"auths":{"a.example":{"auth":"eDp5"}},"detachKeys":"ctrl-e","psFormat":"table"}"#;
    fs::write(&target, before).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    let authfile = file.to_str().unwrap();
    let login = ["login", "--authfile", authfile, "-u", USER, "--password-stdin", &host];
    env.rbuild(&login).input(PASSWORD).run().success();
    let text = fs::read_to_string(&target).unwrap();
    for kept in ["a.example", "eDp5", "detachKeys", "psFormat", &host] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink(), "the link is still one");
    assert_eq!(mode(&target), 0o600);
    assert_eq!(fs::read_dir(env.path("home")).unwrap().count(), 0, "no other file was made");

    let name = format!("{host}/app:1");
    small_image(&env, &name);
    env.rbuild(&["push", "-q", "--authfile", authfile, &name]).run().success();
    env.rbuild(&["push", "-q", &name]).env("REGISTRY_AUTH_FILE", authfile).run().success();
    env.rbuild(&["push", "-q", &name]).run().code(5).says(&["access denied"]);
    env.rbuild(&["push", "-q", "--authfile", "/no/such", &name]).run().code(2).says(&["/no/such"]);
    env.rbuild(&["logout", "--authfile", authfile, &host]).run().success();
    assert_eq!(
        fs::read_to_string(&target).unwrap().replace(['\t', '\n', ' '], ""),
        before.replace(' ', ""),
        "all that was there is there again"
    );
}

#[test]
fn logins_at_the_same_time_do_not_lose_each_other() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), demanding());
    let keys: Vec<String> = (0..6).map(|number| format!("{}/team{number}", registry.address())).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            let env = &env;
            scope.spawn(move || {
                env.rbuild(&["login", "-u", USER, "--password-stdin", key]).input(PASSWORD).run().success();
            });
        }
    });
    let text = fs::read_to_string(env.path("home/.docker/config.json")).unwrap();
    assert!(keys.iter().all(|key| text.contains(key)), "{text}");
}

#[test]
fn creds_are_for_the_registry_of_the_names_alone() {
    require_tool!("docker-registry");
    let (env, registry, other) = (TestEnv::new(), demanding(), demanding());
    let (name, elsewhere) = (format!("{}/app:1", registry.address()), format!("{}/app:1", other.address()));
    small_image(&env, &name);
    env.rbuild(&["tag", &name, &elsewhere]).run().success();
    env.rbuild(&["push", "-q", "--creds", "me:secret", &name]).run().success();
    env.rbuild(&["push", "-q", "--creds", "me:wrong", &name]).run().code(5).says(&["from the command line"]);
    let both = env.rbuild(&["push", "-q", "--creds", "me:secret", &name, &elsewhere]).run().code(2);
    both.says(&["--creds is a login for one registry", "rbuild login"]).omits(&["secret"]);
    env.rbuild(&["push", "--creds", "me", &name]).run().code(2).says(&["no terminal"]);

    // The base is the other registry's, which gets no login that was not meant for it.
    env.rbuild(&["push", "-q", "--creds", "me:secret", &elsewhere]).run().success();
    env.rbuild(&["rmi", &elsewhere]).run().success();
    env.dockerfile(&format!("FROM {elsewhere}\nLABEL a=b\n"));
    let build = ["--creds", "me:secret", "-t", &name, "--push", "."];
    env.rbuild(&build).run().code(5).says(&[&format!("rbuild login {}", other.address())]);
}

#[test]
fn the_most_specific_key_of_a_file_counts() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), demanding());
    let host = registry.address();
    // me:secret and me:wrong
    let text = format!(
        r#"{{"auths":{{"{host}":{{"auth":"bWU6d3Jvbmc="}},"{host}/team":{{"auth":"bWU6c2VjcmV0"}}}}}}"#
    );
    fs::write(env.path("auth.json"), text).unwrap();
    let authfile = env.path("auth.json");
    let push = |name: &str| {
        small_image(&env, name);
        env.rbuild(&["push", "-q", "--authfile", authfile.to_str().unwrap(), name]).run()
    };
    push(&format!("{host}/team/app:1")).success();
    push(&format!("{host}/other/app:1")).code(5).says(&["auth.json was used"]);
}

/// A credential helper that keeps its logins in a directory, and writes down what it is asked.
fn helper(env: &TestEnv) -> String {
    let (programs, kept) = (env.path("programs"), env.path("kept"));
    fs::create_dir_all(&programs).unwrap();
    fs::create_dir_all(&kept).unwrap();
    let script = format!(
        "#!/bin/sh\ncd {}\nread -r input\necho \"$1 $input\" >> asked\n\
         case $1 in\n\
         store) echo \"$input\" > login ;;\n\
         erase) rm login ;;\n\
         get) if [ -e broken ]; then echo 'the keychain is locked'; exit 1; fi\n\
         [ -e login ] && cat login || {{ echo credentials not found in native keychain; exit 1; }} ;;\n\
         esac\n",
        kept.display()
    );
    let program = programs.join("docker-credential-kept");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", programs.display())
}

#[test]
fn a_helper_keeps_gives_and_forgets_logins() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), demanding());
    let (host, path) = (registry.address(), helper(&env));
    let file = env.path("home/.docker/config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, r#"{"credsStore":"kept"}"#).unwrap();
    let name = format!("{host}/app:1");
    small_image(&env, &name);
    let rbuild = |arguments: &[&str]| env.rbuild(arguments).env("PATH", &path);
    rbuild(&["push", &name]).run().code(5).says(&["access denied", "rbuild login"]);
    let login = ["login", "-u", USER, "--password-stdin", &host];
    rbuild(&login).input(PASSWORD).run().success().says(&["docker-credential-kept"]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&host) && text.contains("credsStore") && !text.contains("bWU6c2VjcmV0"), "{text}");
    rbuild(&["push", "-q", &name]).run().success();
    rbuild(&["login", "--get-login", &host]).run().success().prints("me\n");

    fs::write(env.path("kept/broken"), "").unwrap();
    rbuild(&["push", &name]).run().code(5).says(&["docker-credential-kept get: the keychain is locked"]);
    fs::remove_file(env.path("kept/broken")).unwrap();

    rbuild(&["logout", &host]).run().success();
    assert!(!env.path("kept/login").exists());
    assert!(!fs::read_to_string(&file).unwrap().contains(&host));
    rbuild(&["push", &name]).run().code(5).says(&["access denied"]);
    // Without the program, what can be had without a login is had, and the rest says why not.
    env.rbuild(&["push", &name]).run().code(5).says(&["docker-credential-kept", "not on the search path"]);
}

#[test]
fn a_token_of_a_helper_is_exchanged_and_the_helper_asked_once() {
    let (env, config) = (TestEnv::new(), "{}");
    let path = helper(&env);
    let registry = Recorder::start(move |request: &Request| match request.header("authorization") {
        _ if request.target == "/token" => Reply::new(200, r#"{"access_token":"good"}"#),
        "Bearer good" if request.target.contains("/manifests/") => Reply::new(200, config),
        "Bearer good" => Reply::new(404, ""),
        _ => {
            let realm = format!("http://{}/token", request.header("host"));
            Reply::new(401, "").header(format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\""))
        }
    });
    let host = registry.address.to_string();
    fs::write(env.path("kept/login"), r#"{"ServerURL":"x","Username":"<token>","Secret":"refresh-hunter2"}"#)
        .unwrap();
    fs::write(env.path("auth.json"), format!(r#"{{"credHelpers":{{"{host}":"kept"}}}}"#)).unwrap();
    let rbuild = |arguments: &[&str]| {
        env.rbuild(arguments).env("PATH", &path).env("REGISTRY_AUTH_FILE", env.path("auth.json"))
    };
    let (one, two) = (format!("{host}/one:1"), format!("{host}/team/two:1"));
    rbuild(&["pull", &one]).run().code(5).omits(&["hunter2"]);
    let tokens: Vec<_> =
        registry.requests().into_iter().filter(|request| request.target == "/token").collect();
    let [token] = &tokens[..] else { panic!("{tokens:?}") };
    assert!(
        token.body.contains("grant_type=refresh_token")
            && token.body.contains("refresh_token=refresh-hunter2")
    );
    assert_eq!(fs::read_to_string(env.path("kept/asked")).unwrap(), format!("get {host}\n"));
    small_image(&env, &one);
    env.rbuild(&["tag", &one, &two]).run().success();
    rbuild(&["push", &two]).run().code(5).omits(&["hunter2"]);
    assert_eq!(fs::read_to_string(env.path("kept/asked")).unwrap(), format!("get {host}\n").repeat(2));
}

#[test]
fn a_terminal_is_asked_without_showing_the_password() {
    for tool in ["docker-registry", "script"] {
        require_tool!(tool);
    }
    let (env, registry) = (TestEnv::new(), demanding());
    let line = format!("{} login {}", crate::support::binary().display(), registry.address());
    let script = env.program("script", &["-qec", &line, "/dev/null"]);
    // The answers come when they are asked for: what is typed before is thrown away.
    let output = script.typing(&[("User for", "me\r"), ("Password for", "secrex\x7ft\r")]);
    assert!(output.contains("Login Succeeded!"), "{output}");
    assert!(!output.contains("secre"), "{output}");
    env.rbuild(&["login", "--get-login", &registry.address()]).run().success().prints("me\n");
    env.rbuild(&["login", &registry.address()]).run().code(2).says(&["no terminal", "--password-stdin"]);
}

#[test]
fn an_open_registry_is_told_to_be_one() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let login = env.rbuild(&["login", "-u", "x", "--password-stdin", &registry.address()]).input("y");
    login.run().success().says(&["asks nobody for a login"]);
}
