//! The client against registries that behave, and against those that do not.

mod auth;
mod faults;
mod pull;
mod push;
mod quirks;
mod real;
pub(crate) mod server;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::event;
use crate::image::{Descriptor, Reference};

/// Settings that do not wait long.
pub(crate) fn quick() -> Settings {
    Settings {
        retries: Retries {
            tries: 5,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(300),
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            stall: Duration::from_millis(500),
            commit: Duration::from_secs(2),
        },
        ..Settings::default()
    }
}

fn client(settings: Settings) -> Client {
    Client::new(settings, event::channel().0)
}

fn mirrored(text: &str) -> Settings {
    let mut settings = quick();
    settings.registries.add(Path::new("registries.conf"), text).unwrap();
    settings
}

fn unheard() -> Progress {
    Arc::new(|_| {})
}

/// Downloads a blob as an unpacker would: read by a blocking thread.
async fn download(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> (Result<(), RegistryError>, std::io::Result<Vec<u8>>) {
    let (sender, mut reader) = blob_channel(2);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    // Spawned, so that the test proves that the future may move between threads.
    let (client, reference, descriptor) = (client.clone(), reference.clone(), descriptor.clone());
    let sent =
        tokio::spawn(async move { client.fetch_blob(&reference, &descriptor, sender, &unheard()).await });
    (sent.await.unwrap(), read.await.unwrap())
}

/// Compiles only for what may move between the runtime's threads.
fn movable<T: Send>(future: T) -> T {
    future
}

/// Bytes that compress and repeat badly, so that a wrong piece in the wrong place is noticed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
