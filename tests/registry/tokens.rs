//! A registry that takes tokens alone, and the service that gives them out.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::recorder::{Recorder, Reply, Request};
use crate::small_image;
use crate::support::certificates::openssl;
use crate::support::{Demands, Registry, TestEnv, require_tool};

/// Gives `me` with `secret` everything but what lies below `locked/`, and nobody reading below `public/`.
fn token_service(directory: PathBuf) -> Recorder {
    let key = ["req", "-x509", "-subj", "/CN=tokens", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
    openssl(&directory, &[key.as_slice(), &["-keyout", "token.key", "-out", "token.crt"]].concat());
    let certificate = fs::read_to_string(directory.join("token.crt")).unwrap();
    let certificate: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
    Recorder::start(move |request: &Request| {
        let known = format!("Basic {}", STANDARD.encode("me:secret"));
        let is_known = request.header("authorization") == known;
        if !is_known && !request.header("authorization").is_empty() {
            return Reply::new(401, r#"{"details":"incorrect username or password"}"#);
        }
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(decoded);
        let access: Vec<String> = scopes.filter_map(|scope| granted(&scope, is_known)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{certificate}"]}}"#);
        let claims = format!(
            r#"{{"iss":"tests","sub":"me","aud":"registry","iat":{now},"nbf":{},"exp":{},"jti":"1","access":[{}]}}"#,
            now - 60,
            now + 600,
            access.join(",")
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(&directory, signed.as_bytes()));
        Reply::new(200, format!(r#"{{"token":"{signed}.{signature}","expires_in":600}}"#))
    })
}

fn granted(scope: &str, is_known: bool) -> Option<String> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let may = |action: &&str| {
        if is_known { !name.starts_with("locked/") } else { name.starts_with("public/") && *action == "pull" }
    };
    let actions: Vec<String> = actions.split(',').filter(may).map(|action| format!("\"{action}\"")).collect();
    let actions = actions.join(",");
    Some(format!(r#"{{"type":"repository","name":"{name}","actions":[{actions}]}}"#))
}

fn sign(directory: &Path, text: &[u8]) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign", "token.key"]).current_dir(directory);
    let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// Without its percent signs.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        decoded.push_str(rest);
    }
    decoded
}

#[test]
fn tokens_are_fetched_for_what_is_done_and_refusals_are_told() {
    for tool in ["docker-registry", "openssl"] {
        require_tool!(tool);
    }
    let env = TestEnv::new();
    let directory = env.path("tokens");
    fs::create_dir(&directory).unwrap();
    let service = token_service(directory.clone());
    let token = format!(
        "    realm: http://{}/token\n    service: registry\n    issuer: tests\n    rootcertbundle: {}\n",
        service.address,
        directory.join("token.crt").display()
    );
    let registry = Registry::demanding(&Demands { token: Some(token), ..Demands::default() });
    let host = registry.address();
    let (open, locked) = (format!("{host}/public/app:1"), format!("{host}/locked/app:1"));
    small_image(&env, &open);
    env.rbuild(&["tag", &open, &locked]).run().success();
    env.rbuild(&["push", &open]).run().code(5).says(&["public/app", "access denied", "rbuild login"]);

    let login = ["login", "-u", "me", "--password-stdin", &host];
    let wrong = env.rbuild(&login).input("hunter2").run().code(5);
    wrong.says(&["incorrect username or password", "token from 127.0.0.1"]).omits(&["hunter2"]);
    env.rbuild(&login).input("secret").run().success();
    env.rbuild(&["push", "-q", &open]).run().success();
    let refused = env.rbuild(&["push", &locked]).run().code(5);
    refused.says(&["locked/app", "access denied", "config.json was used", "may not do this in locked/app"]);
    // A mount takes leave to read the one repository and to write the other.
    let other = format!("{host}/team/app:1");
    env.dockerfile(&format!("FROM {open}\nLABEL a=b\n"));
    env.rbuild(&["-t", &other, "--push", "."]).run().success();

    env.rbuild(&["logout", &host]).run().success();
    env.rbuild(&["rmi", &open, &other]).run().success();
    env.rbuild(&["pull", "-q", &open]).run().success();
    env.rbuild(&["pull", &other]).run().code(5).says(&["team/app", "access denied"]);
    let asked = service.requests();
    let last = &asked.last().unwrap().target;
    assert!(
        last.contains("service=registry") && last.contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{last}"
    );
    // Four pushes, of which the one that mounts wants leave to read another repository as well.
    let pushes = asked.iter().filter(|request| request.target.contains("push")).count();
    assert!(pushes <= 6, "a token serves a whole push: {asked:#?}");
}

#[test]
fn nothing_that_is_secret_is_shown_whatever_is_asked_for() {
    let env = TestEnv::new();
    // A registry that answers with what it was sent, and leads to a signed address that fails.
    let storage = Recorder::start(|_| Reply::new(403, "<Error>SignatureDoesNotMatch</Error>"));
    let signed =
        format!("http://{}/blob?X-Amz-Signature=signature-hunter2&X-Amz-Credential=key", storage.address);
    let config = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[],"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}"#;
    let registry = Recorder::start(move |request: &Request| {
        if request.header("authorization").is_empty() {
            return Reply::new(401, "").header("WWW-Authenticate: Basic realm=\"r\"");
        }
        if request.target.contains("/blobs/") {
            return Reply::new(307, "").header(format!("Location: {signed}"));
        }
        Reply::new(200, config).header("Content-Type: application/vnd.oci.image.manifest.v1+json")
    });
    let name = format!("{}/app:1", registry.address);
    env.dockerfile(&format!("FROM {name}\nRUN true\n"));
    for arguments in [
        vec!["pull", "--creds", "me:password-hunter2", &name],
        vec!["build", "--progress", "plain", "--creds", "me:password-hunter2", "-t", &name, "."],
        vec!["run", "--rm", "--creds", "me:password-hunter2", &name, "true"],
    ] {
        let mut rbuild = env.rbuild(&arguments);
        for (variable, value) in [("RUST_LOG", "trace"), ("RBUILD_LOG", "debug"), ("RUST_BACKTRACE", "full")]
        {
            rbuild = rbuild.env(variable, value);
        }
        let output = rbuild.run();
        assert!(!output.succeeded(), "{arguments:?}");
        let shown = output.to_string();
        assert!(shown.contains("403"), "{shown}");
        // The command line itself is part of what a test shows.
        assert!(!shown.replace("me:password-hunter2", "").contains("hunter2"), "{shown}");
    }
    assert!(storage.requests().iter().any(|request| request.target.contains("signature-hunter2")));
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_empty()));
}
