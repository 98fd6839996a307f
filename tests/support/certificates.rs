//! An authority and what it signs, made by `openssl`.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::TestEnv;

/// A directory with all of it, for a server's files, too.
pub(crate) fn in_new_directory(env: &TestEnv) -> PathBuf {
    let directory = env.path("tls");
    fs::create_dir(&directory).unwrap();
    make(&directory);
    directory
}

/// Writes `ca.crt`, `ca.key`, and for `server` and `client` each `.cert` and `.key`. The server is 127.0.0.1.
pub(crate) fn make(directory: &Path) {
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let mut authority =
        vec!["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt"];
    authority.extend(new_key);
    openssl(directory, &authority);
    fs::write(directory.join("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["server", "client"] {
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.request"), format!("{name}.cert"));
        let subject = format!("/CN={name}");
        let mut ask = vec!["req", "-subj", &subject, "-keyout", &key, "-out", &request];
        ask.extend(&new_key[..5]);
        openssl(directory, &ask);
        let sign = ["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        let more = ["-days", "2", "-extfile", "extensions", "-out", &certificate];
        openssl(directory, &[sign.as_slice(), &more].concat());
    }
}

pub(crate) fn openssl(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
}

/// Serves the files of a directory that [`make`] has made. Ends with the value.
pub(crate) struct FilesByTls {
    address: SocketAddr,
    server: Child,
}

impl FilesByTls {
    pub(crate) fn serve(directory: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "openssl", "s_server", "-WWW", "-quiet", "-accept"]);
        command.arg(address.to_string()).args(["-cert", "server.cert", "-key", "server.key"]);
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        while TcpStream::connect(address).is_err() {
            assert!(server.try_wait().unwrap().is_none(), "the server has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, server }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for FilesByTls {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
