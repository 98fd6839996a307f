//! Debian's `docker-registry` on a free port of loopback, for one test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::image::ACCEPT;
use super::{certificates, http};

/// What a registry demands of who comes.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// Logged in as [`USER`] with [`PASSWORD`].
    pub(crate) login: bool,
    /// Over TLS, with a certificate for 127.0.0.1 by an authority of its own.
    pub(crate) tls: bool,
    /// With a client certificate of the same authority.
    pub(crate) client_certificate: bool,
    /// With tokens, by the lines of a `token:` section.
    pub(crate) token: Option<String>,
}

pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "secret";
/// bcrypt of the password.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Stopped on drop, and with the test that started it in any case.
pub(crate) struct Registry {
    address: SocketAddr,
    directory: TempDir,
    server: Child,
}

impl Registry {
    /// Starts it and waits until it answers; `require_tool!("docker-registry")` comes first.
    pub(crate) fn start() -> Self {
        Self::demanding(&Demands::default())
    }

    /// The same; with TLS, `require_tool!("openssl")` comes first, too.
    pub(crate) fn demanding(demands: &Demands) -> Self {
        // Between finding a port and serving on it another test may take it: then the next port is tried.
        let started = (0..5).find_map(|_| Self::try_start(demands));
        started.expect("docker-registry did not start on any of five ports")
    }

    /// A file that belongs to it: `ca.crt`, `client.cert` and `client.key` where it speaks TLS.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `127.0.0.1:40123`
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The bytes at a path such as `/v2/app/manifests/1`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let response = http::get(self.address, path, ACCEPT).unwrap();
        assert_eq!(response.status, 200, "GET {path}: {}", String::from_utf8_lossy(&response.body));
        response.body
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        http::get(self.address, path, ACCEPT).is_ok_and(|response| response.status == 200)
    }

    /// Every request so far, as `GET /v2/app/manifests/1`, but for the bare `/v2/` that only asks who is there.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        // The access log is in Apache's form: the request stands between the first two quotation marks.
        let requests = log.lines().filter(|line| line.contains("\" ") && line.contains(" HTTP/1."));
        let requests = requests.filter_map(|line| line.split('"').nth(1)?.rsplit_once(" HTTP/"));
        requests
            .map(|(request, _)| request.to_owned())
            .filter(|request| !request.ends_with(" /v2/"))
            .collect()
    }

    fn try_start(demands: &Demands) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let parent = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
        let directory = tempfile::Builder::new().prefix("rbuild-registry-").tempdir_in(parent).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        fs::write(directory.path().join("config.yml"), configuration(directory.path(), address, demands))
            .unwrap();
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        if demands.tls {
            certificates::make(directory.path());
        }
        // The parent death signal ends the server even when the test is killed.
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(directory.path().join("config.yml"))
            .env_clear()
            .env("PATH", super::env::PATH)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut registry = Self { address, directory, server };
        registry.answers().then_some(registry)
    }

    fn answers(&mut self) -> bool {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience && self.server.try_wait().unwrap().is_none() {
            // A registry that wants more than a request says so, which is an answer, too.
            if http::get(self.address, "/v2/", ACCEPT).is_ok_and(|response| response.status < 500) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn configuration(directory: &Path, address: SocketAddr, demands: &Demands) -> String {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: error}}\n\
         storage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http:\n  addr: '{address}'\n  secret: test\n",
        file("data")
    );
    if demands.tls {
        text +=
            &format!("  tls:\n    certificate: {}\n    key: {}\n", file("server.cert"), file("server.key"));
    }
    if demands.client_certificate {
        text += &format!("    clientcas: ['{}']\n", file("ca.crt"));
    }
    if demands.login {
        text += &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file("htpasswd"));
    }
    if let Some(token) = &demands.token {
        text += &format!("auth:\n  token:\n{token}");
    }
    text
}
