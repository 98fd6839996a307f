//! A small registry in this process that can be made to misbehave.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::image::{Descriptor, Digest, Reference, media_type};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// By `repository@digest`.
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// By `repository:tag` and `repository:digest`.
    pub(crate) manifests: HashMap<String, (String, Vec<u8>)>,
    pub(crate) uploads: HashMap<String, Vec<u8>>,
    pub(crate) log: Vec<Request>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Reply {
    /// Zero: close the connection without a word.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Send only so many bytes of the body, then close.
    pub(crate) cut: Option<usize>,
    /// Send the body so many bytes at a time, with a moment in between.
    pub(crate) drip: Option<usize>,
}

struct Rule {
    method: &'static str,
    path: &'static str,
    times: usize,
    act: Act,
}

type Instead = Box<dyn Fn(&Request, &mut State) -> Option<Reply> + Send>;
type After = Box<dyn Fn(&Request, &mut Reply) + Send>;

enum Act {
    Instead(Instead),
    After(After),
}

pub(crate) const ALWAYS: usize = usize::MAX;

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state }
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add_blob(&self, repository: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.state().blobs.insert(format!("{repository}@{digest}"), bytes.to_vec());
        Descriptor::new(media_type::OCI_LAYER, digest, bytes.len() as u64)
    }

    pub(crate) fn add_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for version in [tag, &digest.to_string()] {
            let entry = (kind.to_owned(), bytes.to_vec());
            self.state().manifests.insert(format!("{repository}:{version}"), entry);
        }
        digest
    }

    /// Answers matching requests instead of the registry, where `act` gives an answer.
    pub(crate) fn instead(
        &self,
        method: &'static str,
        path: &'static str,
        times: usize,
        act: impl Fn(&Request, &mut State) -> Option<Reply> + Send + 'static,
    ) {
        self.state().rules.push(Rule { method, path, times, act: Act::Instead(Box::new(act)) });
    }

    /// Changes the registry's answer to matching requests.
    pub(crate) fn after(
        &self,
        method: &'static str,
        path: &'static str,
        times: usize,
        act: impl Fn(&Request, &mut Reply) + Send + 'static,
    ) {
        self.state().rules.push(Rule { method, path, times, act: Act::After(Box::new(act)) });
    }

    /// How many requests had this method and this in their path.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.seen(method, path).len()
    }

    pub(crate) fn seen(&self, method: &str, path: &str) -> Vec<Request> {
        let log = &self.state().log;
        log.iter().filter(|seen| seen.method == method && seen.path.contains(path)).cloned().collect()
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn body(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let reply = state.lock().unwrap().answer(&request);
        if reply.status == 0 {
            return;
        }
        let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
        if !reply.headers.iter().any(|(name, _)| name == "Transfer-Encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
        }
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let body = if request.method == "HEAD" { &[][..] } else { &reply.body[..] };
        let body = &body[..reply.cut.unwrap_or(body.len()).min(body.len())];
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        for piece in body.chunks(reply.drip.unwrap_or(usize::MAX)) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            if reply.drip.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        stream.flush().await.ok();
        if reply.cut.is_some() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") {
        while read_chunk(stream, &mut body).await? {}
    } else {
        body.resize(headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0), 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(Request { method, path, headers, body })
}

/// One piece of a body that does not say how long it is; false after the last.
async fn read_chunk(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<bool> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let begin = body.len();
    body.resize(begin + length, 0);
    stream.read_exact(&mut body[begin..]).await.ok()?;
    stream.read_exact(&mut [0; 2]).await.ok()?;
    Some(length > 0)
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        self.log.push(request.clone());
        let mut rules = std::mem::take(&mut self.rules);
        let fits =
            |rule: &Rule| rule.times > 0 && rule.method == request.method && request.path.contains(rule.path);
        let mut reply = None;
        for rule in rules.iter_mut().filter(|rule| fits(rule)) {
            if let Act::Instead(act) = &rule.act
                && let Some(found) = act(request, self)
            {
                rule.times -= 1;
                reply = Some(found);
                break;
            }
        }
        let mut reply = reply.unwrap_or_else(|| self.registry(request));
        for rule in rules.iter_mut().filter(|rule| fits(rule)) {
            if let Act::After(act) = &rule.act {
                rule.times -= 1;
                act(request, &mut reply);
            }
        }
        self.rules = rules;
        reply
    }

    /// What a well-behaved registry answers.
    fn registry(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/v2/" {
            return Reply::status(200);
        }
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":")).next()
        };
        let path = path.trim_start_matches("/v2/");
        if let Some((repository, version)) = path.split_once("/manifests/") {
            return self.manifest(request, repository, version);
        }
        let Some((repository, rest)) = path.split_once("/blobs/") else { return Reply::status(404) };
        match (request.method.as_str(), rest.strip_prefix("uploads/")) {
            ("GET" | "HEAD", None) => match self.blobs.get(&format!("{repository}@{rest}")) {
                Some(blob) => part(request, blob),
                None => Reply::body(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"no blob"}]}"#),
            },
            ("POST", Some("")) => {
                if let (Some(digest), Some(from)) = (parameter("mount"), parameter("from"))
                    && let Some(blob) = self.blobs.get(&format!("{from}@{digest}")).cloned()
                {
                    self.blobs.insert(format!("{repository}@{digest}"), blob);
                    return Reply::status(201);
                }
                let id = format!("u{}", self.log.len());
                self.uploads.insert(id.clone(), Vec::new());
                let location = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Bb");
                Reply::status(202).header("Location", location)
            }
            (method, Some(id)) => self.upload(method, request, repository, id, parameter("digest")),
            _ => Reply::status(405),
        }
    }

    fn upload(
        &mut self,
        method: &str,
        request: &Request,
        repository: &str,
        id: &str,
        digest: Option<String>,
    ) -> Reply {
        let Some(upload) = self.uploads.get_mut(id) else {
            return Reply::body(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"no upload"}]}"#);
        };
        let location = format!("/v2/{repository}/blobs/uploads/{id}");
        match (method, digest) {
            ("GET", _) => Reply::status(204)
                .header("Range", format!("0-{}", upload.len().max(1) - 1))
                .header("Location", location),
            ("PATCH", _) => {
                upload.extend_from_slice(&request.body);
                Reply::status(202).header("Location", location)
            }
            ("PUT", Some(digest)) => {
                upload.extend_from_slice(&request.body);
                if Digest::of(upload).to_string() != digest {
                    return Reply::body(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"other"}]}"#);
                }
                let bytes = self.uploads.remove(id).unwrap();
                self.blobs.insert(format!("{repository}@{digest}"), bytes);
                Reply::status(201)
            }
            _ => Reply::status(405),
        }
    }

    fn manifest(&mut self, request: &Request, repository: &str, version: &str) -> Reply {
        if request.method == "PUT" {
            let digest = Digest::of(&request.body);
            let entry = (request.header("content-type").to_owned(), request.body.clone());
            self.manifests.insert(format!("{repository}:{version}"), entry.clone());
            self.manifests.insert(format!("{repository}:{digest}"), entry);
            return Reply::status(201).header("Docker-Content-Digest", digest);
        }
        match self.manifests.get(&format!("{repository}:{version}")) {
            Some((kind, bytes)) => Reply::body(200, bytes.clone())
                .header("Content-Type", kind)
                .header("Docker-Content-Digest", Digest::of(bytes)),
            None => Reply::body(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no manifest"}]}"#),
        }
    }
}

fn part(request: &Request, blob: &[u8]) -> Reply {
    match request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')) {
        Some(start) => {
            let start: usize = start.parse().unwrap();
            let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
            Reply::body(206, &blob[start..]).header("Content-Range", range)
        }
        None => Reply::body(200, blob),
    }
}
