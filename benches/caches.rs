//! Remote caches of a thousand steps: putting the document together, pushing, importing, claiming what was found.
//!
//! `cargo bench --bench caches`; it needs `docker-registry`. The best of some runs counts; one over its limit is said, not failed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbuild::cache::{
    CacheSource, Imported, OutLayer, OutLink, OutRecord, OutResult, Outgoing, Which, import,
};
use rbuild::event::{self, StepId};
use rbuild::export::cache::{CacheDirectory, CacheForm, CacheShape, PackedCache, push, write};
use rbuild::export::registry::Watch;
use rbuild::image::{Descriptor, DiffId, Digest, Form, Timestamp, media_type};
use rbuild::layer::Layers;
use rbuild::registry::{Client, Settings};
use rbuild::store::{LayerRecord, Store};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Registry, TestEnv, is_installed};

const STEPS: usize = 1000;
const RUNS: usize = 5;
const FORM: CacheForm = CacheForm { form: Form::Oci, shape: CacheShape::Manifest };

struct Deaf;

impl Watch for Deaf {
    fn sent(&self, _: &str, _: u64, _: u64, _: bool) {}
}

#[tokio::main]
async fn main() -> ExitCode {
    if !is_installed("docker-registry") {
        eprintln!("docker-registry is needed");
        return ExitCode::FAILURE;
    }
    let (env, registry) = (TestEnv::new(), Registry::start());
    let store = Arc::new(Store::ensure(&env.path("store")).unwrap());
    let (events, _heard) = event::channel();
    let client = Client::new(Settings::default(), events.clone());
    let layers = Layers::new(store, client.clone(), events, StepId(0));
    println!("{:<52} {:>9} {:>9}", "figure, for 1000 steps of 1000 layers", "best", "limit");

    let outgoing = outgoing(layers.store());
    let mut packing = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        PackedCache::of(&outgoing).unwrap();
        packing.push(begun.elapsed());
    }
    say("document and manifest", &packing, 100);
    let cache = PackedCache::of(&outgoing).unwrap();
    let watch: Arc<dyn Watch> = Arc::new(Deaf);
    let name = format!("{}/cache:1", registry.address());
    let mut again = Vec::new();
    for _ in 0..=RUNS {
        let begun = Instant::now();
        push(&client, &name.parse().unwrap(), FORM, &cache, &layers, &watch).await.unwrap();
        again.push(begun.elapsed());
    }
    say("push, all layers missing", &again[..1], 20_000);
    say("push of what is there", &again[1..], 2000);

    let directory = env.path("cache");
    let to = CacheDirectory { path: directory.clone(), tag: "latest".to_owned(), reset: false };
    let begun = Instant::now();
    write(&to, FORM, &cache, &layers, &watch).await.unwrap();
    say("into a directory", &[begun.elapsed()], 2000);

    say("import from a registry", &imports(&CacheSource::Registry(name.parse().unwrap())).await, 150);
    let local = CacheSource::Local { layout: directory, which: Which::Tag("latest".to_owned()) };
    say("import from a directory", &imports(&local).await, 150);
    claims(&env.path("other"), &import(&client, &local).await.unwrap());
    ExitCode::SUCCESS
}

/// With a new client each time, as every process has.
async fn imports(from: &CacheSource) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let client = Client::new(Settings::default(), event::channel().0);
        assert_eq!(import(&client, from).await.unwrap().len(), STEPS);
        times.push(begun.elapsed());
    }
    times
}

/// What a build does with every layer of the longest chain.
fn claims(root: &Path, found: &Imported) {
    let store = Store::ensure(root).unwrap();
    let longest = (0..found.len()).map(|place| found.layers(&found.record(place).results[0]));
    let longest = longest.max_by_key(Vec::len).unwrap();
    assert_eq!(longest.len(), STEPS);
    let begun = Instant::now();
    for layer in longest {
        let claim = |record: &mut LayerRecord| record.claim(&layer.blob, Some(layer.source.clone()));
        store.update_record(&layer.diff_id.0.hex(), claim).unwrap();
    }
    say("claiming all layers", &[begun.elapsed()], 1000);
}

fn outgoing(store: &Store) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for step in 0..STEPS {
        let digest = store.blobs().put(step.to_string().as_bytes()).unwrap();
        let blob = Descriptor::new(media_type::OCI_LAYER, digest, step.to_string().len() as u64);
        outgoing.layers.push(OutLayer { diff_id: DiffId(digest), blob, created: None, sources: Vec::new() });
        let links = |record: usize| vec![OutLink { selector: Some(digest), record }];
        outgoing.records.push(OutRecord {
            digest: Digest::of(format!("step {step}").as_bytes()),
            inputs: step.checked_sub(1).map(links).into_iter().collect(),
            result: Some(OutResult { created: Timestamp::now(), chain: (0..=step).collect() }),
        });
    }
    outgoing
}

fn say(figure: &str, times: &[Duration], limit: u64) {
    let best = times.iter().min().unwrap().as_secs_f64() * 1000.0;
    let verdict = if best <= Duration::from_millis(limit).as_secs_f64() * 1000.0 { "ok" } else { "over" };
    println!("{figure:<52} {best:>6.1} ms {limit:>6} ms  {verdict}");
}
