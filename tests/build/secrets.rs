//! `RUN --mount=type=secret`: who sees a secret, and who does not.

use std::fs;
use std::path::Path;

use crate::support::{TestEnv, require_busybox};

const VALUE: &str = "correct-horse-battery";

fn world(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    fs::write(env.path("secret.txt"), format!("{VALUE}\n")).unwrap();
    env.dockerfile(dockerfile);
    env
}

fn given(env: &TestEnv) -> String {
    format!("id=s,src={}", env.path("secret.txt").display())
}

#[test]
fn a_secret_is_a_file_of_roots_by_default() {
    require_busybox!();
    let env = world(
        "FROM base:1\n\
         RUN --mount=type=secret,id=s stat -c 'it is %u:%g %a %s' /run/secrets/s && ! echo x > /run/secrets/s; \
         grep ' /run/secrets/s ' /proc/mounts\n\
         RUN --mount=type=secret,id=s,target=/etc/token,uid=1000,gid=7,mode=0440 stat -c 'it is %u:%g %a' /etc/token\n\
         RUN --mount=type=secret,id=s,dst=rel/token sha256sum /rel/token rel/token\n\
         RUN --mount=type=secret,target=/x/s cat /x/s | wc -c\n\
         RUN --mount=type=secret,source=s wc -c /run/secrets/s\n\
         RUN ls -A /run /rel /etc/token /x 2>&1 | grep -c 'No such file'\n",
    );
    let built = env.rbuild(&["--secret", &given(&env), "."]).run().success();
    built.says(&["it is 0:0 400 22", "it is 1000:7 440", "22 /run/secrets/s", "Read-only file system"]);
    let built = env.rbuild(&["--no-cache", "--secret", &given(&env), "."]).run().success();
    built.says(&["tmpfs ro,nosuid,nodev,noexec"]);
}

#[test]
fn a_user_sees_what_is_its_own() {
    require_busybox!();
    let env = world(
        "FROM base:1\nUSER 1000:1000\n\
         RUN --mount=type=secret,id=s,uid=1000 wc -c /run/secrets/s\n",
    );
    env.rbuild(&["--secret", &given(&env), "."]).run().success().says(&["22 /run/secrets/s"]);
}

#[test]
fn a_secret_may_be_a_variable_or_both() {
    require_busybox!();
    let env = world(
        "FROM base:1\n\
         RUN --mount=type=secret,id=s,env=TOKEN test ${#TOKEN} = 21 && ! test -e /run/secrets/s\n\
         RUN --mount=type=secret,id=s,env=TOKEN,target=/t test ${#TOKEN} = 21 && wc -c /t\n\
         RUN env | grep -c TOKEN || true\n",
    );
    let secret = ["--secret", "id=s,env=GIVEN", "."];
    env.rbuild(&secret).env("GIVEN", VALUE).run().success().says(&["21 /t", " 0\n"]);
}

#[test]
fn a_value_comes_from_a_file_or_the_environment() {
    require_busybox!();
    let env =
        world("FROM base:1\nARG N\nRUN --mount=type=secret,id=name echo $N && wc -c < /run/secrets/name\n");
    env.write("name", "four");
    let length = |secret: &str, n: &str, value: Option<&str>| {
        let arg = format!("N={n}");
        let build = env.rbuild(&["--secret", secret, "--build-arg", &arg, "."]);
        let build = value.into_iter().fold(build, |build, value| build.env("name", value));
        build.run().success()
    };
    length("id=name", "1", Some("seven77")).says(&[" 7\n"]);
    length("id=name", "2", None).says(&[" 4\n"]);
    length("type=file,id=name", "3", Some("seven77")).says(&[" 4\n"]);
    length("type=env,id=name,src=name", "4", Some("seven77")).says(&[" 7\n"]);
    for (secret, complaint) in [
        ("id=gone", "secret gone: gone: No such file"),
        ("id=name,src=/no/such", "/no/such: No such file"),
        ("src=name", "an id is missing"),
        ("id=name,srk=x", "unexpected key \"srk\""),
        ("type=vault,id=name", "type vault is not supported"),
    ] {
        let built = env.rbuild(&["--secret", secret, "."]).run();
        assert!(!built.succeeded() && built.to_string().contains(complaint), "{built}");
    }
    env.write("large", &"x".repeat(501 << 10));
    env.rbuild(&["--secret", "id=large", "."]).run().code(3).says(&["larger than the 500 KiB"]);
}

#[test]
fn what_is_not_given_is_left_out_or_an_error() {
    require_busybox!();
    let env = world(
        "FROM base:1\nRUN --mount=type=secret,id=s,env=TOKEN,target=/t ! test -e /t && echo \"<$TOKEN>\"\n",
    );
    env.rbuild(&["."]).run().success().says(&["<>"]);
    env.rbuild(&["--no-cache", "--secret", "id=s,env=NOT_SET", "."]).run().success().says(&["<>"]);
    for mount in ["id=s,required", "id=s,env=S,required=true"] {
        env.dockerfile(&format!("FROM base:1\nRUN --mount=type=secret,{mount} true\n"));
        let built = env.rbuild(&["."]).run().code(3);
        built.says(&["secret s: not found", "--secret id=s,src=FILE", "Dockerfile:2"]);
    }
}

#[test]
fn a_value_is_nowhere_but_in_the_step() {
    require_busybox!();
    let env = world(
        "FROM base:1\n\
         RUN --mount=type=secret,id=s cat /run/secrets/s && echo \"<$(cat /run/secrets/s)>\" >&2\n\
         RUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN && cp /proc/self/environ /dev/shm/x\n",
    );
    let built = env.rbuild(&["--secret", &given(&env), "-t", "app:1", "."]).run().success();
    built.says(&["****", "<****>"]).omits(&[VALUE]);
    env.dockerfile("FROM base:1\nRUN --mount=type=secret,id=s,env=TOKEN echo told $TOKEN; exit 3\n");
    let built = env.rbuild(&["--secret", &given(&env), "."]).run().code(1);
    built.says(&["told ****", "exit code: 3"]).omits(&[VALUE]);
    assert_eq!(mentions(&env.store(), VALUE.as_bytes()), Vec::<String>::new());
}

#[test]
fn every_line_of_a_value_is_masked() {
    require_busybox!();
    let env = world("FROM base:1\nRUN --mount=type=secret,id=s cat /run/secrets/s && echo { plain }\n");
    fs::write(env.path("secret.txt"), "{\n  \"key\": \"hidden-one\",\n  \"hidden-two\"\n}\n").unwrap();
    let built = env.rbuild(&["--secret", &given(&env), "."]).run().success();
    built.says(&["****", "{ plain }"]).omits(&["hidden-one", "hidden-two"]);
}

/// The files below a directory that hold a text.
fn mentions(directory: &Path, text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(mentions(&path, text));
        } else if kind.is_file()
            && fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
        {
            found.push(path.display().to_string());
        }
    }
    found
}
