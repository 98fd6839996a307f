use std::path::Path;

use super::*;

fn store(dir: &Path) -> Store {
    Store::ensure(dir).unwrap()
}

fn take(store: &Store, key: &CacheKey, sharing: CacheUse) -> Option<HeldCache> {
    store.try_cache::<StoreError>(key, sharing, |_| Ok(())).unwrap()
}

#[test]
fn those_who_share_meet_and_the_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let key = CacheKey::new("a", None);
    let one = take(&store, &key, CacheUse::Shared).unwrap();
    let two = take(&store, &key, CacheUse::Shared).unwrap();
    assert_eq!(one.data(), two.data());
    let alone = take(&store, &key, CacheUse::Private).unwrap();
    assert_ne!(alone.data(), one.data());
    std::fs::write(alone.data().join("kept"), "x").unwrap();
    assert!(take(&store, &key, CacheUse::Locked).is_none());
    drop((one, two));
    // The one that is free is taken.
    let locked = take(&store, &key, CacheUse::Locked).unwrap();
    assert!(take(&store, &key, CacheUse::Locked).is_none());
    drop(alone);
    let again = take(&store, &key, CacheUse::Private).unwrap();
    assert!(again.data().join("kept").exists());
    drop((locked, again));
    assert_eq!(store.list_caches().unwrap().len(), 2);
    assert!(take(&store, &CacheKey::new("a", Some("other")), CacheUse::Locked).is_some());
}

#[test]
fn what_is_given_up_is_begun_anew_and_left_to_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let key = CacheKey::new("a", None);
    let old = take(&store, &key, CacheUse::Shared).unwrap();
    std::fs::write(old.data().join("old"), "x").unwrap();
    store.give_up_cache(&key).unwrap();
    let new = take(&store, &key, CacheUse::Shared).unwrap();
    assert!(!new.data().join("old").exists());
    let both = store.list_caches().unwrap();
    assert!(both.len() == 2 && both.iter().all(|cache| cache.in_use), "{both:?}");
    let collection = store.collect().unwrap();
    assert_eq!(collection.remove_caches(&both.iter().collect::<Vec<_>>()).unwrap(), 0);
    drop((collection, old, new));
    store.give_up_cache(&key).unwrap();
    let left = store.list_caches().unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].is_given_up() && !left[0].in_use);
    let collection = store.collect().unwrap();
    assert_eq!(collection.remove_caches(&left.iter().collect::<Vec<_>>()).unwrap(), 1);
    assert!(store.list_caches().unwrap().is_empty());
}

#[test]
fn what_cannot_be_begun_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let broken = |_: &Path| Err(StoreError::NoBlob(Digest::of(b"x")));
    assert!(store.try_cache(&CacheKey::new("a", None), CacheUse::Shared, broken).is_err());
    assert!(store.list_caches().unwrap().is_empty());
}
