use std::sync::LazyLock;

use super::*;

const DISK: u64 = 7;
const OTHER: u64 = 9;
/// Some moment since the boot, the same for all of a test.
static LATELY: LazyLock<Instant> = LazyLock::new(|| booted() + 1_000_000_000);
const HERE: Origin = Origin { of_this_boot: true, device_then: DISK, device_now: DISK };

fn key(device: u64, inode: u64) -> StatKey {
    StatKey {
        device,
        file_system: FileSystem(device + 100),
        inode,
        size: 5,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: 1_000_000_000,
        changed: *LATELY,
    }
}

fn digest(inode: u64) -> Digest {
    Digest::of(&inode.to_le_bytes())
}

fn written(keys: &[StatKey]) -> Vec<u8> {
    let known = KnownDigests::nothing();
    keys.iter().for_each(|key| known.put(*key, digest(key.inode)));
    known.to_bytes().unwrap()
}

#[test]
fn what_was_learnt_is_known_later_and_nothing_else() {
    let keys: Vec<_> = (0..1000).map(|inode| key(DISK, inode * 3)).collect();
    let known = KnownDigests::from_bytes(&written(&keys), HERE);
    assert!(keys.iter().all(|key| known.get(key) == Some(digest(key.inode))));
    for inode in (0..3000).filter(|inode| inode % 3 != 0) {
        assert_eq!(known.get(&key(DISK, inode)), None);
    }
    assert_eq!(known.to_bytes(), None, "nothing was learnt");
}

#[test]
fn whatever_differs_makes_another_file() {
    let known = KnownDigests::from_bytes(&written(&[key(DISK, 1), key(OTHER, 1)]), HERE);
    assert!(known.get(&key(DISK, 1)).is_some() && known.get(&key(OTHER, 1)).is_some());
    for device in [DISK, OTHER] {
        let same = key(device, 1);
        let others = [
            StatKey { inode: 2, ..same },
            StatKey { size: 6, ..same },
            StatKey { mode: 0o755, ..same },
            StatKey { uid: 1, ..same },
            StatKey { gid: 1, ..same },
            StatKey { modified: same.modified + 1, ..same },
            StatKey { changed: same.changed + 1, ..same },
            StatKey { device: 8, ..same },
        ];
        assert!(others.iter().all(|other| known.get(other).is_none()));
    }
}

#[test]
fn its_own_device_is_known_by_any_number_in_any_boot() {
    let bytes = written(&[key(DISK, 1), key(OTHER, 2)]);
    let old = StatKey { changed: 5, ..key(DISK, 3) };
    let origin = Origin { of_this_boot: false, device_then: DISK, device_now: 30 };
    let known = KnownDigests::from_bytes(&bytes, origin);
    let renumbered = |key: StatKey| StatKey { device: 30, file_system: FileSystem(1), ..key };
    assert!(known.get(&renumbered(key(DISK, 1))).is_some());
    assert_eq!(known.get(&key(DISK, 1)), None, "what has the number now is another device");
    assert_eq!(known.get(&key(OTHER, 2)), None, "of another boot");
    // What is learnt now is written with what was known, by the numbers of now.
    known.put(renumbered(old), digest(3));
    let origin = Origin { of_this_boot: true, device_then: 30, device_now: 30 };
    let later = KnownDigests::from_bytes(&known.to_bytes().unwrap(), origin);
    assert!(later.get(&renumbered(key(DISK, 1))).is_some() && later.get(&renumbered(old)).is_some());
}

#[test]
fn other_devices_are_known_by_file_system_and_since_the_boot() {
    let before_boot = StatKey { changed: booted() - 1_000_000_000, ..key(OTHER, 2) };
    let known = KnownDigests::from_bytes(&written(&[key(OTHER, 1), before_boot]), HERE);
    assert!(known.get(&key(OTHER, 1)).is_some());
    assert_eq!(known.get(&StatKey { file_system: FileSystem(1), ..key(OTHER, 1) }), None);
    assert_eq!(known.get(&before_boot), None);
    known.put(before_boot, digest(2));
    assert_eq!(known.to_bytes(), None, "it would be read again anyhow");
}

#[test]
fn damaged_bytes_know_nothing_and_do_no_harm() {
    let bytes = written(&[key(DISK, 1), key(DISK, 2)]);
    for length in 0..bytes.len() {
        let known = KnownDigests::from_bytes(&bytes[..length], HERE);
        // One that ends between two entries is one of fewer.
        assert!(known.get(&key(DISK, 2)).is_none(), "{length}");
    }
    let endless = [&bytes[..8], &[0xff; 8], &bytes[16..]].concat();
    assert_eq!(KnownDigests::from_bytes(&endless, HERE).get(&key(DISK, 1)), None);
    let lost = [&bytes[..8], &[0; 8], &bytes[32..]].concat();
    assert_eq!(KnownDigests::from_bytes(&lost, HERE).get(&key(DISK, 1)), None, "its device is not there");
}

#[test]
fn a_changed_file_takes_the_place_of_what_it_was() {
    let known = KnownDigests::from_bytes(&written(&[key(DISK, 1), key(DISK, 2)]), HERE);
    let changed = StatKey { size: 6, ..key(DISK, 1) };
    known.put(changed, digest(6));
    assert_eq!(known.get(&changed), Some(digest(6)), "at once");
    let later = KnownDigests::from_bytes(&known.to_bytes().unwrap(), HERE);
    assert_eq!((later.get(&changed), later.get(&key(DISK, 1))), (Some(digest(6)), None));
    assert_eq!(later.entries.len(), 2);
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let mut bytes = written(&[key(DISK, 1), key(DISK, 2)]);
    for round in 0..2 * STAYS_FOR {
        let known = KnownDigests::from_bytes(&bytes, HERE);
        known.get(&key(DISK, 1)).unwrap();
        known.put(key(DISK, 1000 + round), digest(0));
        bytes = known.to_bytes().unwrap();
    }
    let known = KnownDigests::from_bytes(&bytes, HERE);
    assert!(known.get(&key(DISK, 1)).is_some());
    assert_eq!(known.get(&key(DISK, 2)), None);
    assert_eq!(u64::try_from(known.entries.len()).unwrap(), 1 + STAYS_FOR);
}
