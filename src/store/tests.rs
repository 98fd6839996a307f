//! The store on a real file system.

use std::io::Write;

use super::*;
use crate::image::{Digest, ImageId};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::ensure(&dir.path().join("store")).unwrap();
    (dir, store)
}

#[test]
fn blobs_have_no_name_before_they_are_complete() {
    let (_dir, store) = store();
    let digest = Digest::of(b"hello");
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"hello").unwrap();
    assert_eq!(store.blobs().size(&digest).unwrap(), None);
    assert_eq!(writer.complete().unwrap(), (digest, 5));
    assert_eq!(store.blobs().size(&digest).unwrap(), Some(5));
    assert_eq!(store.blobs().read(&digest).unwrap(), b"hello");
}

#[test]
fn a_blob_that_is_not_what_was_expected_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"evil").unwrap();
    let expected = Digest::of(b"good");
    assert!(matches!(writer.complete_as(&expected), Err(StoreError::Digest { .. })));
    assert_eq!(std::fs::read_dir(store.root().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn records_of_another_boot_count_only_when_synced() {
    let (_dir, store) = store();
    let tag = "app:1".parse().unwrap();
    let image = ImageId(Digest::of(b"image"));
    store.set_tag(&tag, image).unwrap();
    assert_eq!(store.tag(&tag).unwrap(), Some(image));
    // As a later boot finds it: first without the sync, then with it.
    let mut later = Store::ensure(store.root()).unwrap();
    later.records = later.records.in_boot("another");
    assert_eq!(later.tag(&tag).unwrap(), None);
    store.sync().unwrap();
    let mut later = Store::ensure(store.root()).unwrap();
    later.records = later.records.in_boot("another");
    assert_eq!(later.tag(&tag).unwrap(), Some(image));
}

#[test]
fn damaged_records_are_none() {
    let (_dir, store) = store();
    let record = BlobRecord { size: 1 };
    store.put_record("key", &record).unwrap();
    std::fs::write(store.root().join("records/blobs/key"), "{\"boot\":").unwrap();
    assert!(store.record::<BlobRecord>("key").unwrap().is_none());
}

#[test]
fn a_newer_format_is_refused() {
    let (dir, store) = store();
    std::fs::write(store.root().join("format"), "{\"version\":2}").unwrap();
    assert!(matches!(Store::ensure(&dir.path().join("store")), Err(StoreError::Version { found: 2, .. })));
}

#[test]
fn only_sessions_of_processes_that_are_gone_are_swept() {
    let (dir, store) = store();
    let living = store.workspace().unwrap();
    let abandoned = store.root().join("tmp/0123456789abcdef");
    std::fs::create_dir_all(abandoned.join("deep/inside")).unwrap();
    store.sweeping()().unwrap();
    assert!(living.path().is_dir());
    assert!(!abandoned.exists());
    drop(living);
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_lock_is_exclusive_and_leaves_no_file() {
    let (_dir, store) = store();
    let other = Store::ensure(store.root()).unwrap();
    let held = store.lock("step").unwrap();
    assert!(other.try_lock("step").unwrap().is_none());
    let waiter = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| other.lock("step").map(drop));
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(held);
        waiter.join().unwrap()
    });
    waiter.unwrap();
    assert_eq!(std::fs::read_dir(store.root().join("locks")).unwrap().count(), 0);
}

#[test]
fn locks_that_nobody_holds_are_swept() {
    let (_dir, store) = store();
    let locks = store.root().join("locks");
    std::fs::write(locks.join("left"), "").unwrap();
    let held = store.lock("held").unwrap();
    store.sweeping()().unwrap();
    assert!(!locks.join("left").exists() && locks.join("held").exists());
    drop(held);
    // Who takes a lock while it is swept has it in the end, and alone.
    let (sweeper, store) = (store.sweeping(), &store);
    let taken = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        let taken = &taken;
        for _ in 0..3 {
            scope.spawn(move || {
                for _ in 0..200 {
                    let held = store.lock("wanted").unwrap();
                    assert_eq!(taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    taken.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(held);
                }
            });
        }
        for _ in 0..100 {
            lock::sweep(store.root()).unwrap();
        }
        sweeper().unwrap();
    });
    assert_eq!(std::fs::read_dir(&locks).unwrap().count(), 0);
}

#[test]
fn snapshots_are_taken_over_by_rename() {
    let (_dir, store) = store();
    let workspace = store.workspace().unwrap();
    let diff = workspace.directory("diff").unwrap();
    std::fs::write(diff.join("file"), "x").unwrap();
    let id = store.adopt_snapshot(&diff).unwrap();
    assert!(store.has_snapshot(&id));
    assert!(store.snapshot_path(&id).join("file").exists());
    let record = StepRecord::of(id.clone(), "");
    store.put_record("k", &record).unwrap();
    assert_eq!(store.record::<StepRecord>("k").unwrap().unwrap().snapshot, id);
}
