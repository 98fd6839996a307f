//! Repositories made for a test, and servers of them: git's own over loopback, smart HTTP through git's own CGI program.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::TestEnv;
use super::env::PATH;

/// When every commit is made, in seconds since 1970.
pub(crate) const COMMITTED: u64 = 1_500_000_000;

/// A repository with files to work on, at `git/<name>` of a test's world.
pub(crate) struct Repository {
    path: PathBuf,
}

impl Repository {
    pub(crate) fn new(env: &TestEnv, name: &str) -> Self {
        Self::with_format(env, name, "sha1")
    }

    pub(crate) fn with_format(env: &TestEnv, name: &str, format: &str) -> Self {
        let repository = Self { path: env.path("git").join(name) };
        fs::create_dir_all(&repository.path).unwrap();
        repository.git(&["init", "-q", "-b", "main", "--object-format", format]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git in it; what it prints.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_with_input(arguments, "")
    }

    #[track_caller]
    pub(crate) fn git_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut command = git(&self.path);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", output.status);
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Writes a file, without committing it.
    pub(crate) fn write(&self, inner: &str, content: &str) -> &Self {
        let path = self.path.join(inner);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Commits all that is there; the commit's id.
    #[track_caller]
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Git with nothing of anybody's settings.
pub(crate) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).env_clear().env("PATH", PATH).env("HOME", "/nonexistent");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@example.org");
        command.env(format!("GIT_{who}_DATE"), format!("{COMMITTED} +0200"));
    }
    command.env("GIT_CONFIG_COUNT", "2");
    command.env("GIT_CONFIG_KEY_0", "protocol.file.allow").env("GIT_CONFIG_VALUE_0", "always");
    command.env("GIT_CONFIG_KEY_1", "safe.directory").env("GIT_CONFIG_VALUE_1", "*");
    command
}

/// Serves the repositories below a directory over HTTP. Ends with the test.
pub(crate) struct GitServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    requests: Vec<String>,
    /// What `Authorization` has to be.
    wants: Option<String>,
    /// Whether single commits are given.
    is_old: bool,
    /// Where everybody is sent on to.
    moved: Option<String>,
    /// What is said of refs, and what is said in its place, as long.
    lie: Option<(String, String)>,
}

/// A repository with a file in one commit, and who serves it.
pub(crate) fn git_world() -> (TestEnv, GitServer, Repository) {
    let env = TestEnv::new();
    let repository = Repository::new(&env, "x.git");
    repository.write("file", "text\n").commit("first");
    let server = GitServer::start(&env);
    (env, server, repository)
}

impl GitServer {
    pub(crate) fn start(env: &TestEnv) -> Self {
        let root = env.path("git");
        fs::create_dir_all(&root).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let server = Self { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, root) = (Arc::clone(&shared), root.clone());
                std::thread::spawn(move || answer(stream, &root, &shared));
            }
        });
        server
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The address of a repository, with whatever is behind its name.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(crate) fn wants(&self, authorization: Option<&str>) {
        self.shared.lock().unwrap().wants = authorization.map(str::to_owned);
    }

    /// Gives nothing but what names lead to, as old servers do.
    pub(crate) fn is_old(&self) {
        self.shared.lock().unwrap().is_old = true;
    }

    pub(crate) fn moved_to(&self, server: &Self) {
        self.shared.lock().unwrap().moved = Some(server.url(""));
    }

    /// Says something else of its refs, which has to be as long.
    pub(crate) fn lies(&self, truth: &str, lie: &str) {
        assert_eq!(truth.len(), lie.len());
        self.shared.lock().unwrap().lie = Some((truth.to_owned(), lie.to_owned()));
    }

    /// What was asked since the last time: `refs x.git` for a list of names, `files x.git` for commits.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }
}

fn answer(stream: TcpStream, root: &Path, shared: &Mutex<Shared>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    while let Some(header) = line().filter(|header| !header.is_empty()) {
        headers.push(header);
    }
    let value_of = |name: &str| {
        let mut pairs = headers.iter().filter_map(|header| header.split_once(": "));
        pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut body = Vec::new();
    match value_of("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => reader.take(length).read_to_end(&mut body).ok()?,
        None if value_of("transfer-encoding").is_some() => loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            (&mut reader).take(size).read_to_end(&mut body).ok()?;
            reader.read_line(&mut String::new()).ok()?;
            if size == 0 {
                break 0;
            }
        },
        None => 0,
    };
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut shared = shared.lock().unwrap();
    let name = path.trim_start_matches('/').split(".git").next().unwrap_or_default();
    let protocol = value_of("git-protocol").filter(|_| !shared.is_old).unwrap_or_default();
    let asks_for_refs = match method {
        "GET" => !protocol.contains("version=2"),
        _ => find(&body, b"command=ls-refs"),
    };
    if asks_for_refs {
        shared.requests.push(format!("refs {name}.git"));
    } else if method == "POST" {
        shared.requests.push(format!("files {name}.git"));
    }
    let refused = shared.wants.is_some() && shared.wants != value_of("authorization");
    let moved = shared.moved.clone();
    let lie = shared.lie.clone().filter(|_| asks_for_refs);
    drop(shared);
    let mut stream = stream;
    if let Some(moved) = moved {
        let location = format!("{moved}{}", target.trim_start_matches('/'));
        let answer = format!(
            "HTTP/1.1 301 x\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        );
        return stream.write_all(answer.as_bytes()).ok();
    }
    if refused {
        let answer = "HTTP/1.1 401 x\r\nConnection: close\r\nContent-Length: 0\r\n\
            WWW-Authenticate: Basic realm=\"x\"\r\n\r\n";
        return stream.write_all(answer.as_bytes()).ok();
    }
    let mut command = git(root);
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command.env("CONTENT_TYPE", value_of("content-type").unwrap_or_default());
    command.env("CONTENT_LENGTH", body.len().to_string()).env("REMOTE_ADDR", "127.0.0.1");
    command.env("HTTP_CONTENT_ENCODING", value_of("content-encoding").unwrap_or_default());
    command.env("HTTP_GIT_PROTOCOL", protocol);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut content = output[end + 4..].to_vec();
    if let Some((truth, lie)) = lie
        && let Some(at) = content.windows(truth.len()).position(|window| window == truth.as_bytes())
    {
        content[at..at + lie.len()].copy_from_slice(lie.as_bytes());
    }
    let length = content.len();
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n\r\n");
    // Who has hung up does not want to know.
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content)).ok()
}

fn find(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

/// Git's own server. Ends with the value.
pub(crate) struct GitDaemon {
    address: SocketAddr,
    child: Child,
}

impl GitDaemon {
    pub(crate) fn start(env: &TestEnv) -> Self {
        let root = env.path("git");
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Started by `git` it would be the child of one who is killed without it.
        let programs = git(&root).arg("--exec-path").output().unwrap().stdout;
        let daemon = Path::new(String::from_utf8(programs).unwrap().trim_end()).join("git-daemon");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(daemon);
        command.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
        command.arg(format!("--port={}", address.port())).arg(format!("--base-path={}", root.display()));
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory");
        command.env("GIT_CONFIG_VALUE_0", "*").env("PATH", PATH);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, child }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("git://{}/{name}", self.address)
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
