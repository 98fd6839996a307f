//! The protocol of `pins`, with real files and real processes. Every [`Store`] opens its files anew, so several in one
//! process lock each other out as several processes do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use super::super::{
    Filter, ImageRecord, Inventory, Kind, LayerRecord, MergedRecord, PruneRequest, SealRecord, SnapshotId,
    StepRecord, choose,
};
use super::*;
use crate::image::{Digest, ImageId, Reference};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::ensure(&dir.path().join("store")).unwrap()
}

fn key(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()
}

fn snapshot(store: &Store) -> SnapshotId {
    let workspace = store.workspace().unwrap();
    let diff = workspace.directory("diff").unwrap();
    std::fs::write(diff.join("file"), vec![1; 10_000]).unwrap();
    store.adopt_snapshot(&diff).unwrap()
}

fn step(store: &Store, name: &str) -> SnapshotId {
    let snapshot = snapshot(store);
    let record = StepRecord::of(snapshot, name);
    store.put_record(&key(name), &record).unwrap();
    record.snapshot
}

/// An image of one layer.
fn image(store: &Store, name: &str) -> (ImageId, SnapshotId) {
    let snapshot = step(store, name);
    let diff_id = crate::image::DiffId(Digest::of(name.as_bytes()));
    let layer = LayerRecord { snapshot: Some(snapshot.clone()), ..LayerRecord::default() };
    store.put_record(&diff_id.0.hex(), &layer).unwrap();
    store.put_record(&snapshot.to_string(), &SealRecord { diff_id, packed: true }).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        diff_id.0
    );
    let id = ImageId(store.blobs().put(config.as_bytes()).unwrap());
    store.put_record(&id.0.hex(), &ImageRecord::default()).unwrap();
    (id, snapshot)
}

fn everything(inventory: &Inventory) -> Vec<usize> {
    let request = PruneRequest { all: true, filter: Filter::default(), ..PruneRequest::default() };
    choose(inventory, &request, SystemTime::now(), u64::MAX)
}

#[test]
fn what_nobody_needs_goes_and_frees_what_it_takes() {
    let dir = directory();
    let made = step(&open(&dir), "a");
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    let removed = collection.remove(&inventory, &everything(&inventory)).unwrap();
    assert_eq!((removed.items.len(), removed.spared), (1, 0));
    assert!(removed.bytes > 10_000, "{removed:?}");
    drop(collection);
    assert!(!store.snapshot_path(&made).exists());
    assert!(store.record::<StepRecord>(&key("a")).unwrap().is_none());
    assert_eq!(std::fs::read_dir(store.root().join("records/sizes")).unwrap().count(), 0);
    // What was taken away lies in the trash until somebody sweeps.
    store.sweeping()().unwrap();
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("store/pins")).unwrap().count(), 0);
}

#[test]
fn what_was_made_by_a_living_process_is_in_use() {
    let dir = directory();
    let maker = open(&dir);
    // Not even a record leads to the second.
    step(&maker, "a");
    let lone = snapshot(&maker);
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    assert_eq!(inventory.items.len(), 2);
    assert!(inventory.items.iter().all(|item| item.in_use) && everything(&inventory).is_empty());
    drop(collection);
    drop(maker);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    assert_eq!(collection.remove(&inventory, &everything(&inventory)).unwrap().items.len(), 2);
    assert!(!store.has_snapshot(&lone));
}

#[test]
fn what_is_found_after_stock_was_taken_is_spared_even_if_its_finder_has_ended() {
    let dir = directory();
    let made = step(&open(&dir), "a");
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    let choice = everything(&inventory);
    let finder = open(&dir);
    assert!(finder.record::<StepRecord>(&key("a")).unwrap().is_some());
    drop(finder);
    let removed = collection.remove(&inventory, &choice).unwrap();
    assert_eq!((removed.items.len(), removed.spared), (0, 1));
    assert!(store.has_snapshot(&made));
    drop(collection);
    // The next one does not know of it any more.
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    assert_eq!(collection.remove(&inventory, &everything(&inventory)).unwrap().items.len(), 1);
}

#[test]
fn an_image_that_gets_a_name_meanwhile_keeps_its_layers() {
    let dir = directory();
    let (id, layer) = image(&open(&dir), "a");
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    let choice = everything(&inventory);
    assert_eq!(choice.len(), 2);
    let tagger = open(&dir);
    let name: Reference = "app:1".parse().unwrap();
    assert!(tagger.record::<ImageRecord>(&id.0.hex()).unwrap().is_some());
    tagger.set_tag(&name, id).unwrap();
    drop(tagger);
    let removed = collection.remove(&inventory, &choice).unwrap();
    assert_eq!((removed.items.len(), removed.spared), (0, 2));
    drop(collection);
    assert!(store.has_snapshot(&layer) && store.tag(&name).unwrap() == Some(id));
    let inventory = store.inventory().unwrap();
    assert!(everything(&inventory).is_empty(), "a name keeps the image and its layer");
}

#[test]
fn a_step_that_was_made_again_does_not_lose_its_first_result_to_who_uses_it() {
    let dir = directory();
    let first = step(&open(&dir), "a");
    let user = open(&dir);
    assert_eq!(user.record::<StepRecord>(&key("a")).unwrap().unwrap().snapshot, first);
    let second = step(&open(&dir), "a");
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    collection.remove(&inventory, &everything(&inventory)).unwrap();
    assert!(store.has_snapshot(&first));
    assert!(store.has_snapshot(&second), "its record is pinned by its key");
}

#[test]
fn what_two_items_have_stays_with_the_one_that_stays() {
    let dir = directory();
    let maker = open(&dir);
    let blob = maker.blobs().put(b"a layer that two diff ids are said to be").unwrap();
    let descriptor = crate::image::Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", blob, 40);
    for name in ["one", "two"] {
        let mut layer = LayerRecord::default();
        layer.claim(&descriptor, Some("registry.example/a".to_owned()));
        maker.put_record(&key(name), &layer).unwrap();
    }
    drop(maker);
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    assert!(inventory.items.iter().all(|item| item.kind == Kind::Layer) && inventory.items.len() == 2);
    collection.remove(&inventory, &[0]).unwrap();
    assert!(store.blobs().path(&blob).exists());
    let inventory = collection.inventory().unwrap();
    collection.remove(&inventory, &[0]).unwrap();
    assert!(!store.blobs().path(&blob).exists());
}

#[test]
fn merged_layers_are_cache_and_their_links_are_counted_once() {
    let dir = directory();
    let maker = open(&dir);
    let lower = step(&maker, "a");
    let workspace = maker.workspace().unwrap();
    let diff = workspace.directory("diff").unwrap();
    std::fs::hard_link(maker.snapshot_path(&lower).join("file"), diff.join("file")).unwrap();
    let merged = maker.adopt_snapshot(&diff).unwrap();
    maker.put_record(&key("merged"), &MergedRecord { snapshot: merged.clone() }).unwrap();
    drop(workspace);
    drop(maker);
    let store = open(&dir);
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    let sizes: Vec<_> = inventory.items.iter().map(|item| item.size.unwrap()).collect();
    assert!(inventory.total() < 40_000 && sizes.iter().any(|size| *size < 13_000), "{sizes:?}");
    let depth = crate::store::Depth { blobs: true, repack: None };
    assert!(store.check(&collection, &depth).unwrap().findings.is_empty());
    assert_eq!(collection.remove(&inventory, &everything(&inventory)).unwrap().items.len(), 2);
    assert!(store.record::<MergedRecord>(&key("merged")).unwrap().is_none() && !store.has_snapshot(&merged));
}

#[test]
fn a_use_is_noted_at_most_once_an_hour() {
    let dir = directory();
    step(&open(&dir), "a");
    let path = dir.path().join("store/records/steps").join(key("a"));
    let used = |ago: u64| {
        let at = SystemTime::now() - Duration::from_secs(ago);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        assert!(open(&dir).record::<StepRecord>(&key("a")).unwrap().is_some());
        std::fs::metadata(&path).unwrap().modified().unwrap() != at
    };
    assert!(used(7200));
    assert!(!used(1800));
}

// --- with processes ---------------------------------------------------------------------------------------------------

/// Not a test of its own: what the processes of the next tests do. It finds a step and waits to be killed.
#[test]
fn a_process_that_finds_a_step() {
    let Some(root) = std::env::var_os("RBUILD_TEST_STORE_OF_CHILD") else { return };
    let store = Store::ensure(Path::new(&root)).unwrap();
    assert!(store.record::<StepRecord>(&key("a")).unwrap().is_some());
    std::fs::write(Path::new(&root).join("found"), "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

fn finder(store: &Store) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::collect::tests::a_process_that_finds_a_step", "--nocapture"]);
    command.env("RBUILD_TEST_STORE_OF_CHILD", store.root()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let mark = store.root().join("found");
    let began = Instant::now();
    while !mark.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the process has not found the step");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::fs::remove_file(mark).unwrap();
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_keeps_what_it_uses_until_it_is_killed() {
    let dir = directory();
    let made = step(&open(&dir), "a");
    let store = open(&dir);
    let child = finder(&store);
    {
        let collection = store.collect().unwrap();
        let inventory = collection.inventory().unwrap();
        assert!(inventory.items[0].in_use);
        assert_eq!(collection.remove(&inventory, &[0]).unwrap().spared, 1);
        // Killed during a collection: it may have written what leads there.
        kill(child);
        assert_eq!(collection.remove(&inventory, &[0]).unwrap().spared, 1);
    }
    let collection = store.collect().unwrap();
    let inventory = collection.inventory().unwrap();
    assert!(!inventory.items[0].in_use);
    assert_eq!(collection.remove(&inventory, &[0]).unwrap().items.len(), 1);
    assert!(!store.has_snapshot(&made));
}

#[test]
fn pins_of_killed_processes_are_swept_but_not_during_a_collection() {
    let dir = directory();
    step(&open(&dir), "a");
    let store = open(&dir);
    let pins = || std::fs::read_dir(store.root().join("pins")).unwrap().count();
    let collection = store.collect().unwrap();
    kill(finder(&store));
    store.sweeping()().unwrap();
    assert_eq!(pins(), 1);
    drop(collection);
    assert_eq!(pins(), 0);
    kill(finder(&store));
    assert_eq!(pins(), 1);
    store.sweeping()().unwrap();
    assert_eq!(pins(), 0);
}

/// Many find and make the same few steps while others remove whatever they can: what somebody has found is there.
#[test]
fn nothing_disappears_while_it_is_used() {
    let dir = directory();
    drop(open(&dir));
    let (over, found, removed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..4)
            .map(|user| {
                let (dir, found) = (&dir, &found);
                scope.spawn(move || {
                    for round in 0..60 {
                        let store = open(dir);
                        let name = format!("step {}", (user + round) % 5);
                        let id = match store.record::<StepRecord>(&key(&name)).unwrap() {
                            Some(record) => {
                                found.fetch_add(1, Ordering::Relaxed);
                                record.snapshot
                            }
                            None => step(&store, &name),
                        };
                        for _ in 0..3 {
                            assert!(store.snapshot_path(&id).join("file").exists(), "{name} was taken away");
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let store = open(&dir);
                    let collection = store.collect().unwrap();
                    let inventory = collection.inventory().unwrap();
                    let gone = collection.remove(&inventory, &everything(&inventory)).unwrap();
                    removed.fetch_add(gone.items.len(), Ordering::Relaxed);
                    drop(collection);
                    store.sweeping()().unwrap();
                }
            });
        }
        let ends: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        // Also after a failure: otherwise the collectors would never end.
        over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    assert!(found.into_inner() > 0 && removed.into_inner() > 0, "nothing was found, or nothing was removed");
}
