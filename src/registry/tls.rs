//! HTTP clients: one that never speaks TLS, one that trusts the host's authorities, one that trusts anybody.
//!
//! Each is made when it is first needed: loading the host's certificates takes longer than a small request, and who
//! talks only to a registry on loopback shall not pay for it.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificates::Certificates;
use super::error::RegistryError;
use super::settings::{Settings, Trust, proxy_address};

/// What a connection demands of the other end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Tls {
    None,
    Verified,
    Unverified,
}

#[derive(Default)]
pub(super) struct HttpClients {
    plain: OnceLock<Made>,
    verified: OnceLock<Made>,
    unverified: OnceLock<Made>,
    /// For hosts with certificates of their own.
    special: Mutex<HashMap<(Tls, Certificates), Made>>,
}

type Made = Result<reqwest::Client, (&'static str, String)>;

impl HttpClients {
    pub(super) fn get(
        &self,
        tls: Tls,
        certificates: Option<&Certificates>,
        settings: &Settings,
    ) -> Result<reqwest::Client, RegistryError> {
        let made = match (tls, certificates) {
            (Tls::None, _) => self.plain.get_or_init(|| made(tls, None, settings)).clone(),
            (Tls::Verified, None) => self.verified.get_or_init(|| made(tls, None, settings)).clone(),
            (Tls::Unverified, None) => self.unverified.get_or_init(|| made(tls, None, settings)).clone(),
            (Tls::Verified | Tls::Unverified, Some(certificates)) => {
                let mut special = self.special.lock().expect("nobody panics while holding it");
                let made = || made(tls, Some(certificates), settings);
                special.entry((tls, certificates.clone())).or_insert_with(made).clone()
            }
        };
        made.map_err(|(what, problem)| RegistryError::Setup { what, problem })
    }
}

fn made(tls: Tls, certificates: Option<&Certificates>, settings: &Settings) -> Made {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ("TLS", error.to_string()))?;
    let builder = match tls {
        Tls::None => builder.with_root_certificates(RootCertStore::empty()),
        Tls::Verified => builder.with_root_certificates(roots(&settings.trust, certificates)?),
        Tls::Unverified => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        }
    };
    let config = match certificates.and_then(|certificates| certificates.client.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let unusable = |path: &Path, error: &dyn Display| {
                ("the client certificate", format!("{}: {error}", path.display()))
            };
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unusable(certificate, &error))?;
            let key_bytes = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(chain, key_bytes).map_err(|error| unusable(certificate, &error))?
        }
    };
    make(config, settings)
}

fn make(config: ClientConfig, settings: &Settings) -> Made {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(config)
        // One window of HTTP/2 shared by all blobs would cap them all; HTTP/1 takes a connection for each.
        .http1_only()
        // Redirects are followed by the transport, which knows whom credentials are for.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.timeouts.connect);
    let exceptions = settings.proxies.exceptions();
    for (proxy, scheme) in [(&settings.proxies.http, "http"), (&settings.proxies.https, "https")] {
        // One that cannot be used is complained about when it is needed.
        let Some(address) = proxy.as_ref().and_then(proxy_address) else { continue };
        let exceptions = exceptions.clone();
        builder = builder.proxy(reqwest::Proxy::custom(move |url| {
            (url.scheme() == scheme && !exceptions.cover(url)).then(|| address.clone())
        }));
    }
    builder.build().map_err(|error| ("HTTP", error.without_url().to_string()))
}

fn roots(trust: &Trust, own: Option<&Certificates>) -> Result<RootCertStore, (&'static str, String)> {
    let found = if trust.file.is_some() || trust.directory.is_some() {
        rustls_native_certs::load_certs_from_paths(trust.file.as_deref(), trust.directory.as_deref())
    } else {
        rustls_native_certs::load_native_certs()
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() && (trust.file.is_some() || trust.directory.is_some()) {
        let why = found.errors.first().map_or("there are none in it".to_owned(), ToString::to_string);
        let problem = format!("none can be read from where SSL_CERT_FILE or SSL_CERT_DIR says: {why}");
        return Err(("the certificate authorities", problem));
    }
    if store.is_empty() {
        // An image `FROM scratch` has no certificates; registries shall be reachable from there too.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in own.map(|own| own.authorities.as_slice()).unwrap_or_default() {
        let unusable =
            |error: &dyn Display| ("the certificate authority", format!("{}: {error}", path.display()));
        let found = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(&error))?;
        if found.is_empty() {
            return Err(unusable(&"there is no certificate in it"));
        }
        for certificate in found {
            store.add(certificate).map_err(|error| unusable(&error))?;
        }
    }
    Ok(store)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Accepts every certificate, for registries that are declared insecure; the handshake itself is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
