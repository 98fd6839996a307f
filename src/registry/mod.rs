//! Registries: pulling and pushing over the OCI distribution protocol.
//!
//! Flow: a [`Client`] turns a name into endpoints (`registries`: mirrors, then the origin), sends requests to one of
//! them (`transport`: scheme, redirects; `auth`: challenges and tokens, `login`: who we are), tries again what is temporary (`retry`), and
//! verifies every byte against its digest (`document`, `download`). `push` sees that blobs are there, `upload` and `outgoing`
//! send what is not, `publish` puts manifests above them (`referrers`: what they are about). `pull` chooses a platform.
//!
//! Invariants: credentials go to the host they are for and nowhere else; neither they nor the queries of signed
//! addresses appear in a message or a debug print; nothing foreign is read without a limit.
//!
//! Not here: reading files, variables or home directories ([`Settings`] comes ready-made); keeping blobs (`store`).

mod answer;
mod auth;
mod call;
mod certificates;
mod challenge;
mod client;
mod credentials;
mod document;
mod download;
mod download_file;
mod endpoint;
mod error;
mod exceptions;
mod hosts_toml;
mod limits;
mod login;
mod mirror;
mod outgoing;
mod publish;
mod pull;
mod push;
mod referrers;
mod registries;
mod registries_conf;
mod retry;
mod settings;
mod tls;
mod transport;
mod upload;

#[cfg(test)]
pub(crate) mod tests;

pub use client::Client;
pub use credentials::{
    AuthDocument, Credentials, EnvironmentLogins, HelperError, Holder, Origin, erase, normal_key, store,
    written_key,
};
pub use document::Fetched;
pub use download::{BlobReader, BlobSender, Progress, blob_channel};
pub use download_file::{DownloadError, Downloaded, FileRequest, Validators, hosts_of};
pub use error::{Answer, Asked, Reason, RegistryError};
pub use mirror::MirrorAddress;
pub use outgoing::{BlobSource, FileSource};
pub use pull::{ResolvedImage, resolve};
pub use push::{Opening, Placed, Pushed};
pub use registries::Registries;
pub use settings::{Proxies, Retries, Secret, Settings, SettingsError, Timeouts, Trust};
