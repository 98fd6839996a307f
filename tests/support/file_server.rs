//! A server of files on a free port of loopback, which notes what it is asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Ends with the test.
pub(crate) struct FileServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: Vec<(String, Served)>,
    requests: Vec<String>,
}

/// What is at a path.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub(crate) status: u16,
    /// Such as `ETag: "1"`. Who asks with the value of an `ETag` or a `Last-Modified` is told that nothing has changed.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// What `Authorization` has to be.
    pub(crate) wants: Option<String>,
}

impl FileServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let server = Self { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        server
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts something at a path, in place of what was there.
    pub(crate) fn serve(&self, path: &str, served: Served) {
        let mut shared = self.shared.lock().unwrap();
        shared.files.retain(|(known, _)| known != path);
        shared.files.push((path.to_owned(), served));
    }

    pub(crate) fn file(&self, path: &str, headers: &[&str], body: impl Into<Vec<u8>>) {
        let headers = headers.iter().map(ToString::to_string).collect();
        self.serve(path, Served { status: 200, headers, body: body.into(), wants: None });
    }

    /// What was asked since the last time, as `GET /x 200`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }
}

fn answer(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let asked: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let value_of = |name: &str| {
        let values = asked.iter().filter_map(|line| line.split_once(": "));
        values.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let path = first.split(' ').nth(1).unwrap_or_default();
    let mut shared = shared.lock().unwrap();
    let found = shared.files.iter().find(|(known, _)| known == path).map(|(_, served)| served.clone());
    let mut served = found.unwrap_or(Served { status: 404, ..Served::default() });
    let has = |name: &str, value: Option<&str>| {
        value.is_some_and(|value| served.headers.contains(&format!("{name}: {value}")))
    };
    if served.wants.as_deref().is_some_and(|wants| value_of("authorization") != Some(wants)) {
        served = Served { status: 401, ..Served::default() };
    } else if has("ETag", value_of("if-none-match")) || has("Last-Modified", value_of("if-modified-since")) {
        (served.status, served.body) = (304, Vec::new());
    }
    shared.requests.push(format!("{} {}", first.trim_end_matches(" HTTP/1.1"), served.status));
    drop(shared);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", served.status);
    if served.status != 304 {
        head += &format!("Content-Length: {}\r\n", served.body.len());
    }
    served.headers.iter().for_each(|header| head += &format!("{header}\r\n"));
    // Who has hung up does not want to know.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&served.body));
}
