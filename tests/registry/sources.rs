//! Logins that CI systems and clouds put into the environment: each is used, and never for another host.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::recorder::{Recorder, Reply, Request};
use crate::support::{Rbuild, TestEnv};

const GITLAB: &str = "gitlab.registry.example:5050";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// Everything that CI may have set, all at once.
const VARIABLES: [(&str, &str); 10] = [
    ("CI_REGISTRY", GITLAB),
    ("CI_JOB_TOKEN", "gitlab-hunter2"),
    ("GITHUB_TOKEN", "github-hunter2"),
    ("GITHUB_ACTOR", "octo"),
    ("GOOGLE_OAUTH_ACCESS_TOKEN", "google-hunter2"),
    ("AZURE_CLIENT_ID", "app"),
    ("AZURE_CLIENT_SECRET", "azure-hunter2"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "aws-hunter2"),
    ("AWS_SESSION_TOKEN", "session-hunter2"),
];

/// Every registry that there is, in plain HTTP: all demand a login and have nothing. Under /token they have a token service.
fn world(bearer: bool) -> Recorder {
    Recorder::start(move |request: &Request| {
        let (scheme_and_host, path) =
            request.target.split_at(request.target[7..].find('/').map_or(request.target.len(), |at| at + 7));
        if path.starts_with("/token") {
            return Reply::new(200, r#"{"token":"granted-hunter2"}"#);
        }
        if !request.header("authorization").is_empty() {
            return Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
        }
        let challenge = if bearer {
            format!("WWW-Authenticate: Bearer realm=\"{scheme_and_host}/token\",service=\"s\"")
        } else {
            "WWW-Authenticate: Basic realm=\"r\"".to_owned()
        };
        Reply::new(401, "").header(challenge)
    })
}

fn pull(env: &TestEnv, world: &Recorder, name: &str) -> Rbuild {
    let mut rbuild = env.rbuild(&["pull", "--tls-verify=false", name]);
    for (variable, value) in VARIABLES {
        rbuild = rbuild.env(variable, value);
    }
    // No name is looked up: plain requests go to the world, and TLS is spoken by nobody.
    rbuild.env("http_proxy", format!("http://{}", world.address)).env("https_proxy", "http://127.0.0.1:1")
}

fn sent(world: &Recorder) -> Vec<(String, String)> {
    let sent = |request: &Request| {
        let authorization = request.header("authorization");
        let host = request.target.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let shown = match authorization.strip_prefix("Basic ") {
            Some(pair) => String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap(),
            None => authorization.to_owned(),
        };
        (!authorization.is_empty()).then(|| (host.to_owned(), shown))
    };
    world.requests().iter().filter_map(sent).collect()
}

#[test]
fn each_login_goes_to_its_host() {
    let env = TestEnv::new();
    for (host, login) in [
        (GITLAB, "gitlab-ci-token:gitlab-hunter2"),
        ("ghcr.io", "octo:github-hunter2"),
        ("eu.gcr.io", "oauth2accesstoken:google-hunter2"),
        ("europe-docker.pkg.dev", "oauth2accesstoken:google-hunter2"),
        ("mine.azurecr.io", "app:azure-hunter2"),
    ] {
        for bearer in [false, true] {
            let world = world(bearer);
            let finished = pull(&env, &world, &format!("{host}/team/app:1")).run().code(5);
            let mut wanted = vec![(host.to_owned(), login.to_owned())];
            if bearer {
                wanted.push((host.to_owned(), "Bearer granted-hunter2".to_owned()));
            }
            assert_eq!(sent(&world), wanted, "{host} {bearer}");
            finished.says(&["not found", "has no TLS"]).omits(&["hunter2"]);
        }
    }
}

#[test]
fn no_login_goes_to_a_host_that_looks_alike() {
    let env = TestEnv::new();
    for host in [
        "registry.gitlab.com",
        "gitlab.registry.example",
        "ghcr.io.evil.example",
        "evil-ghcr.io",
        "eu.gcr.io.evil.example",
        "mine.azurecr.io.evil.example",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "quay.io",
    ] {
        let world = world(false);
        let refused = pull(&env, &world, &format!("{host}/team/app:1")).run().code(5);
        refused.says(&["access denied", &format!("rbuild login {host}")]).omits(&["hunter2"]);
        assert!(!world.requests().is_empty(), "{host}");
        for request in world.requests() {
            assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
        }
    }
}

#[test]
fn a_file_goes_before_the_environment() {
    let (env, world) = (TestEnv::new(), world(false));
    let file = env.path("auth.json");
    std::fs::write(&file, r#"{"auths":{"ghcr.io":{"username":"own","password":"file-hunter2"}}}"#).unwrap();
    pull(&env, &world, "ghcr.io/team/app:1").env("REGISTRY_AUTH_FILE", &file).run().code(5);
    assert_eq!(sent(&world), [("ghcr.io".to_owned(), "own:file-hunter2".to_owned())]);
}

#[test]
fn keys_of_aws_become_a_password_of_its_registry() {
    let (env, world) = (TestEnv::new(), world(false));
    let token = STANDARD.encode("AWS:password-hunter2");
    let answer = format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}"}}]}}"#);
    let aws = Recorder::start(move |_| Reply::new(200, answer.clone()));
    let endpoint = format!("http://{}", aws.address);
    let name = format!("{ECR}/team/app:1");
    let finished = pull(&env, &world, &name).env("AWS_ENDPOINT_URL_ECR", &endpoint).run().code(5);
    finished.says(&["not found"]).omits(&["hunter2"]);
    assert_eq!(sent(&world), [(ECR.to_owned(), "AWS:password-hunter2".to_owned())]);
    let asked = aws.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let [asked] = &asked[..] else { unreachable!() };
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/"));
    assert_eq!(asked.header("x-amz-target"), "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
    assert_eq!(asked.header("x-amz-security-token"), "session-hunter2");
    let signature = asked.header("authorization");
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{signature}");
    assert!(
        signature.contains("/eu-west-1/ecr/aws4_request, SignedHeaders=content-type;host;"),
        "{signature}"
    );
    assert!(!format!("{asked:?}").contains("aws-hunter2"));

    let refusing = Recorder::start(|_| {
        Reply::new(400, r#"{"__type":"UnrecognizedClientException","message":"bad key"}"#)
    });
    let endpoint = format!("http://{}", refusing.address);
    let refused = pull(&env, &world, &name).env("AWS_ENDPOINT_URL_ECR", &endpoint).run().code(5);
    refused.says(&["AWS gives no password", "bad key", "eu-west-1"]).omits(&["hunter2"]);
}

#[test]
fn a_proxy_gets_its_own_login_and_is_left_out_where_it_should_be() {
    let env = TestEnv::new();
    let proxy = Recorder::start(|_| Reply::new(404, ""));
    let pull = |no_proxy: &str| {
        let rbuild = env.rbuild(&["pull", "--tls-verify=false", "reg.example:81/app:1"]);
        let address = format!("http://who:proxy-hunter2@{}", proxy.address);
        rbuild.env("ALL_PROXY", address).env("https_proxy", "http://127.0.0.1:1").env("NO_PROXY", no_proxy)
    };
    pull("10.0.0.0/8,other.example,reg.example:82").run().code(5).omits(&["hunter2"]);
    let login = format!("Basic {}", STANDARD.encode("who:proxy-hunter2"));
    assert!(!proxy.requests().is_empty());
    assert!(proxy.requests().iter().all(|request| request.header("proxy-authorization") == login));
    let before = proxy.requests().len();
    pull(".example").run().code(5).omits(&["hunter2"]);
    pull("reg.example:81").run().code(5);
    assert_eq!(proxy.requests().len(), before);

    let socks =
        env.rbuild(&["pull", "reg.example/app:1"]).env("ALL_PROXY", "socks5://who:hunter2@127.0.0.1:1");
    socks.run().code(5).says(&["http proxy, the only kind supported"]).omits(&["hunter2"]);
    let own =
        env.rbuild(&["pull", &format!("{}/app:1", proxy.address)]).env("ALL_PROXY", "socks5://127.0.0.1:1");
    own.run().code(5).says(&["not found"]);
}
