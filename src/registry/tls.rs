//! HTTP clients: one that never speaks TLS, one that trusts the host's authorities, one that trusts anybody.
//!
//! Each is made when it is first needed: loading the host's certificates takes longer than a small request, and who
//! talks only to a registry on loopback shall not pay for it.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RegistryError;
use super::settings::{Settings, Trust};

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
}

type Made = Result<reqwest::Client, (&'static str, String)>;

impl HttpClients {
    pub(super) fn get(&self, tls: Tls, settings: &Settings) -> Result<&reqwest::Client, RegistryError> {
        let cell = match tls {
            Tls::None => &self.plain,
            Tls::Verified => &self.verified,
            Tls::Unverified => &self.unverified,
        };
        let made = cell.get_or_init(|| {
            let config = match tls {
                Tls::None => trusting(RootCertStore::empty()),
                Tls::Verified => trusting(roots(&settings.trust)),
                Tls::Unverified => trusting_anybody(),
            };
            make(config.map_err(|error| ("TLS", error.to_string()))?, settings)
        });
        made.as_ref().map_err(|(what, problem)| RegistryError::Setup { what, problem: problem.clone() })
    }
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
    let exceptions =
        format!("localhost,127.0.0.0/8,::1,{}", settings.proxies.no_proxy.as_deref().unwrap_or_default());
    let wanted = [
        (&settings.proxies.http, "the proxy for http", Scheme::Http),
        (&settings.proxies.https, "the proxy for https", Scheme::Https),
    ];
    for (url, what, scheme) in wanted {
        let Some(url) = url else { continue };
        let proxy = match scheme {
            Scheme::Http => reqwest::Proxy::http(url.reveal()),
            Scheme::Https => reqwest::Proxy::https(url.reveal()),
        };
        // The library's message could repeat the address, which may hold a password.
        let proxy = proxy.map_err(|_| (what, "not a valid address".to_owned()))?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&exceptions)));
    }
    builder.build().map_err(|error| ("HTTP", error.without_url().to_string()))
}

enum Scheme {
    Http,
    Https,
}

fn roots(trust: &Trust) -> RootCertStore {
    let found = if trust.file.is_some() || trust.directory.is_some() {
        rustls_native_certs::load_certs_from_paths(trust.file.as_deref(), trust.directory.as_deref())
    } else {
        rustls_native_certs::load_native_certs()
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        // An image `FROM scratch` has no certificates; registries shall be reachable from there too.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn trusting_anybody() -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = Arc::new(Anybody(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
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
