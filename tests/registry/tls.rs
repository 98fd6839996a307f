//! Certificates: authorities of one's own, and certificates of clients.

use std::fs;
use std::path::Path;

use crate::small_image;
use crate::support::{Demands, PASSWORD, Registry, TestEnv, USER, require_tool};

/// The directory of a registry's certificates, for this user.
fn certificates_of(env: &TestEnv, registry: &Registry, below: &str) -> std::path::PathBuf {
    let directory = env.path("home/.config").join(below).join(registry.address());
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[test]
fn an_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    for tool in ["docker-registry", "openssl"] {
        require_tool!(tool);
    }
    let env = TestEnv::new();
    let registry = Registry::demanding(&Demands { tls: true, login: true, ..Demands::default() });
    let name = format!("{}/app:1", registry.address());
    small_image(&env, &name);
    // On loopback nothing is verified unless it is asked for.
    let push = ["push", "-q", "--tls-verify", "--creds", "me:secret", &name];
    env.rbuild(&push).run().code(5).says(&["no trusted TLS connection", "certs.d", "SSL_CERT_FILE"]);

    env.rbuild(&push).env("SSL_CERT_FILE", registry.file("ca.crt")).run().success();
    let directory = env.path("authorities");
    fs::create_dir(&directory).unwrap();
    copy(&registry.file("ca.crt"), &directory.join("own.crt"));
    // A directory of authorities has links by the hash of their subjects.
    let hash = env
        .program("openssl", &["x509", "-hash", "-noout", "-in", registry.file("ca.crt").to_str().unwrap()]);
    let hash = hash.run().success().stdout().trim().to_owned();
    std::os::unix::fs::symlink("own.crt", directory.join(format!("{hash}.0"))).unwrap();
    env.rbuild(&push).env("SSL_CERT_DIR", &directory).run().success();
    env.rbuild(&push).run().code(5).says(&["no trusted TLS connection"]);

    for below in ["docker/certs.d", "containers/certs.d"] {
        let directory = certificates_of(&env, &registry, below);
        copy(&registry.file("ca.crt"), &directory.join("ca.crt"));
        env.rbuild(&push).run().success();
        let login = ["login", "--tls-verify", "-u", USER, "--password-stdin", &registry.address()];
        env.rbuild(&login).input(PASSWORD).run().success();
        fs::remove_dir_all(directory).unwrap();
    }
    env.rbuild(&push)
        .env("SSL_CERT_FILE", "/no/such.pem")
        .run()
        .code(5)
        .says(&["SSL_CERT_FILE", "/no/such.pem"]);
    // Another port is another host.
    let elsewhere = env.path("home/.config/docker/certs.d/127.0.0.1");
    fs::create_dir_all(&elsewhere).unwrap();
    copy(&registry.file("ca.crt"), &elsewhere.join("ca.crt"));
    env.rbuild(&push).run().code(5).says(&["no trusted TLS connection"]);
    env.rbuild(&["push", "-q", "--tls-verify=false", "--creds", "me:secret", &name]).run().success();
}

#[test]
fn a_registry_that_wants_a_client_certificate_gets_it() {
    for tool in ["docker-registry", "openssl"] {
        require_tool!(tool);
    }
    let env = TestEnv::new();
    let registry =
        Registry::demanding(&Demands { tls: true, client_certificate: true, ..Demands::default() });
    let name = format!("{}/app:1", registry.address());
    small_image(&env, &name);
    let directory = certificates_of(&env, &registry, "containers/certs.d");
    copy(&registry.file("ca.crt"), &directory.join("ca.crt"));
    let push = ["push", "-q", "--tls-verify", &name];
    env.rbuild(&push).run().code(5);
    copy(&registry.file("client.cert"), &directory.join("client.cert"));
    env.rbuild(&push).run().code(5).says(&["client.cert has no key", "client.key is missing"]);
    copy(&registry.file("client.key"), &directory.join("client.key"));
    env.rbuild(&push).run().success();
    env.rbuild(&["push", "-q", &name]).run().success();
    fs::write(directory.join("client.key"), "no key\n").unwrap();
    env.rbuild(&push).run().code(5).says(&["client.key"]);
}

#[test]
fn a_hosts_file_says_who_serves_and_how_it_is_trusted() {
    for tool in ["docker-registry", "openssl"] {
        require_tool!(tool);
    }
    let env = TestEnv::new();
    let (mirror, origin) = (
        Registry::demanding(&Demands { tls: true, client_certificate: true, ..Demands::default() }),
        Registry::start(),
    );
    let (mirrored, name) =
        (format!("{}/team/app:1", mirror.address()), format!("{}/team/app:1", origin.address()));
    let directory = env.path("home/.config/containerd/certs.d");
    let write = |host: &str, text: &str| {
        let directory = directory.join(host);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("hosts.toml"), text).unwrap();
        directory
    };
    let own = write(
        &mirror.address(),
        &format!(
            "server = \"https://{}\"\nca = \"ca.crt\"\nclient = [[\"client.cert\", \"client.key\"]]\n",
            mirror.address()
        ),
    );
    for file in ["ca.crt", "client.cert", "client.key"] {
        copy(&mirror.file(file), &own.join(file));
    }
    small_image(&env, &mirrored);
    env.rbuild(&["push", "-q", &mirrored]).run().success();
    let login = ["login", "--tls-verify", "-u", USER, "--password-stdin", &mirror.address()];
    env.rbuild(&login).input(PASSWORD).run().success();
    env.rbuild(&["rmi", &mirrored]).run().success();

    write(
        &origin.address(),
        &format!(
            "[host.\"https://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{2}/ca.crt\"\n\
             client = [[\"{2}/client.cert\", \"{2}/client.key\"]]\n[host.\"http://{1}\"]\ncapabilities = [\"push\"]\n",
            mirror.address(),
            origin.address(),
            own.display()
        ),
    );
    env.rbuild(&["pull", "-q", &name]).run().success();
    assert_eq!(origin.requests(), [] as [String; 0], "the mirror has it all");
    assert!(
        mirror.requests().iter().any(|request| request.contains("ns=127.0.0.1")),
        "{:?}",
        mirror.requests()
    );
    let before = mirror.requests().len();
    env.rbuild(&["push", "-q", &name]).run().success();
    assert_eq!(mirror.requests().len(), before, "a mirror is not written to");
    assert!(origin.has("/v2/team/app/manifests/1"));

    write(
        "_default",
        "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:1\".header]\nx = \"hunter2\"\n",
    );
    let refused = env.rbuild(&["pull", "other.example/app:1"]).run().code(5);
    refused.says(&["_default/hosts.toml", "header"]).omits(&["hunter2"]);
}

#[test]
fn mirrors_of_the_command_line_come_first_and_are_only_read() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let (first, second) = (Registry::start(), Registry::start());
    env.registries_conf(&format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        second.address()
    ));
    for (registry, tag) in [(&first, "one"), (&second, "one"), (&second, "two")] {
        let name = format!("{}/library/app:{tag}", registry.address());
        small_image(&env, &name);
        env.rbuild(&["push", "-q", &name]).run().success();
    }
    let mirror = format!("http://{}", first.address());
    let (before_first, before_second) = (first.requests().len(), second.requests().len());
    env.rbuild(&["pull", "-q", "--registry-mirror", &mirror, "app:one"]).run().success();
    assert!(first.requests().len() > before_first);
    assert_eq!(second.requests().len(), before_second, "the first had it");
    let both = ["pull", "-q", "--registry-mirror", "127.0.0.1:1", "--registry-mirror", &mirror, "app:two"];
    env.rbuild(&both).run().success();
    assert!(second.requests().len() > before_second, "the first does not have it");
    let (before_first, before_second) = (first.requests().len(), second.requests().len());
    env.rbuild(&["push", "--registry-mirror", &mirror, "app:one"]).run().code(5).says(&["127.0.0.1:1"]);
    assert_eq!((first.requests().len(), second.requests().len()), (before_first, before_second));
    env.rbuild(&["pull", "--registry-mirror", "ftp://x", "app:one"])
        .run()
        .code(2)
        .says(&["http or https, not ftp"]);
}
