//! An authority and what it signs, made by `openssl`.

use std::fs;
use std::path::Path;
use std::process::Command;

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
