//! A round trip with the registry everybody runs, where it is installed.

use std::fs;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;

use super::*;
use crate::image::{Config, Digest, Manifest, Platform, media_type};
use crate::registry::tls::Tls;
use crate::registry::transport::reason;

const BINARY: &str = "/usr/bin/docker-registry";

struct Running {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(tls: bool) -> Option<Running> {
    if !Path::new(BINARY).exists() {
        eprintln!("skipped: {BINARY} is not installed (package docker-registry)");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let certificate = directory.path().join("certificate.pem");
    let key = directory.path().join("key.pem");
    if tls && !make_certificate(&certificate, &key) {
        eprintln!("skipped: openssl is not installed");
        return None;
    }
    let tls = match tls {
        true => format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display()),
        false => String::new(),
    };
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"{tls}}}\n",
        directory.path().join("data").display()
    );
    let path = directory.path().join("config.yml");
    fs::write(&path, config).unwrap();
    let child = Command::new(BINARY)
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..500 {
        if std::net::TcpStream::connect(&address).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(Running { child, address, directory })
}

fn make_certificate(certificate: &Path, key: &Path) -> bool {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).arg("-out").arg(certificate).arg("-keyout").arg(key);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[tokio::test]
async fn an_image_survives_a_real_registry() {
    let Some(registry) = start(false) else { return };
    let reference: Reference = format!("{}/group/app:1", registry.address).parse().unwrap();
    let client = client(Settings::default());
    let layer_bytes = noise(5 << 20);
    let config_bytes = Config::scratch(&Platform::host()).to_bytes();
    let layer = Descriptor::new(media_type::OCI_LAYER, Digest::of(&layer_bytes), layer_bytes.len() as u64);
    let config =
        Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config_bytes), config_bytes.len() as u64);

    let file = registry.directory.path().join("layer");
    fs::write(&file, &layer_bytes).unwrap();
    let placed = client.place_blob(&reference, &layer, &[]).await.unwrap();
    let Placed::Missing(opening) = placed else { panic!("{placed:?}") };
    client.upload_blob(&reference, &layer, &FileSource(file), opening, &unheard()).await.unwrap();
    client.push_blob(&reference, &config, &Bytes::from(config_bytes), &unheard()).await.unwrap();
    let manifest = Manifest::oci(config, vec![layer.clone()]).to_bytes();
    let digest = client.push_manifest(&reference, media_type::OCI_MANIFEST, &manifest).await.unwrap();

    let other: Reference = format!("{}/group/other:1", registry.address).parse().unwrap();
    let mounted = client.place_blob(&other, &layer, &["group/app"]).await.unwrap();
    assert!(matches!(mounted, Placed::There(Pushed::Mounted)), "{mounted:?}");

    let image = resolve(&client, &reference, &Platform::host()).await.unwrap();
    assert_eq!(image.manifest_digest, digest);
    let (sent, read) = download(&client, &image.reference, &layer).await;
    sent.unwrap();
    assert!(read.unwrap() == layer_bytes);
    let error =
        client.fetch_document(&format!("{}/none", registry.address).parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn tls_is_found_out_on_loopback_and_verified_elsewhere() {
    let Some(registry) = start(true) else { return };
    let reference: Reference = format!("{}/app:1", registry.address).parse().unwrap();
    let bytes = Bytes::from_static(b"blob");
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(&bytes), 4);
    let client = client(Settings::default());
    client.push_blob(&reference, &blob, &bytes, &unheard()).await.unwrap();
    assert_eq!(client.fetch_blob_bytes(&reference, &blob).await.unwrap(), bytes);

    // What a registry elsewhere would have to show.
    let url = format!("https://{}/v2/", registry.address);
    let error = client.http(Tls::Verified, None).unwrap().get(&url).send().await.unwrap_err();
    assert_eq!(reason(&error), Reason::Tls);
    let mut settings = Settings::default();
    settings.trust.file = Some(registry.directory.path().join("certificate.pem"));
    let trusting = self::client(settings);
    assert!(
        trusting.http(Tls::Verified, None).unwrap().get(&url).send().await.unwrap().status().is_success()
    );
}
