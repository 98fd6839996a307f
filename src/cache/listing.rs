//! What a content consisted of: kept so that it can be told what has changed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::explain::Difference;
use crate::image::Digest;
use crate::store::ListingRecord;

/// An entry of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEntry {
    pub path: String,
    /// As `st_mode` has it.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// The beginning of its digest, which is enough to tell.
    pub digest: String,
}

/// Contents of more entries are not listed: nobody reads that, and it takes room.
const MOST: usize = 50_000;
/// A listing that claims more is damaged.
const LARGEST: usize = 64 << 20;
/// How many differences are told of one content.
const TOLD: usize = 10;

impl ListedEntry {
    pub fn new(path: String, mode: u32, (uid, gid): (u32, u32), size: u64, digest: &Digest) -> Self {
        Self { path, mode, uid, gid, size, digest: digest.short() }
    }
}

/// As it is kept; nothing for a content that is too large.
pub fn pack(entries: &[ListedEntry]) -> Option<ListingRecord> {
    if entries.len() > MOST {
        return None;
    }
    let fields = |entry: &ListedEntry| {
        serde_json::json!([entry.path, entry.mode, entry.uid, entry.gid, entry.size, entry.digest])
    };
    let text = serde_json::to_vec(&entries.iter().map(fields).collect::<Vec<_>>()).ok()?;
    let packed = zstd::bulk::compress(&text, 1).ok()?;
    Some(ListingRecord { entries: STANDARD.encode(packed) })
}

fn unpack(record: &ListingRecord) -> Option<BTreeMap<String, ListedEntry>> {
    let packed = STANDARD.decode(&record.entries).ok()?;
    let text = zstd::bulk::decompress(&packed, LARGEST).ok()?;
    let entries: Vec<(String, u32, u32, u32, u64, String)> = serde_json::from_slice(&text).ok()?;
    let entry = |(path, mode, uid, gid, size, digest): (String, u32, u32, u32, u64, String)| {
        (path.clone(), ListedEntry { path, mode, uid, gid, size, digest })
    };
    Some(entries.into_iter().map(entry).collect())
}

/// What is in one and not in the other, or otherwise.
pub fn differences(before: &ListingRecord, after: &ListingRecord) -> Option<Vec<Difference>> {
    let (before, after) = (unpack(before)?, unpack(after)?);
    let mut found = Vec::new();
    for (path, now) in &after {
        match before.get(path) {
            None => found.push(said(format!("{path}: new"))),
            Some(then) if then == now => {}
            Some(then) => found.extend(of_entry(then, now)),
        }
    }
    found.extend(
        before.keys().filter(|path| !after.contains_key(*path)).map(|path| said(format!("{path}: gone"))),
    );
    let more = found.len().saturating_sub(TOLD);
    if more > 0 {
        found.truncate(TOLD);
        found.push(said(format!("{more} more")));
    }
    Some(found)
}

fn of_entry(then: &ListedEntry, now: &ListedEntry) -> Vec<Difference> {
    const KIND: u32 = 0o170_000;
    let path = if now.path.is_empty() { "." } else { &now.path };
    let mut found = Vec::new();
    if then.mode & KIND != now.mode & KIND {
        return vec![said(format!("{path}: something else, no longer the same kind of file"))];
    }
    if then.mode != now.mode {
        let mode = |mode: u32| Some(format!("{:04o}", mode & !KIND));
        found.push(Difference {
            what: format!("mode of {path}"),
            before: mode(then.mode),
            after: mode(now.mode),
        });
    }
    if (then.uid, then.gid) != (now.uid, now.gid) {
        let owner = |entry: &ListedEntry| Some(format!("{}:{}", entry.uid, entry.gid));
        found.push(Difference { what: format!("owner of {path}"), before: owner(then), after: owner(now) });
    }
    // The digest is of the rest, too: alone it says that the bytes differ.
    if then.size != now.size || found.is_empty() {
        found.push(said(format!("{path}: content")));
    }
    found
}

fn said(what: String) -> Difference {
    Difference { what, before: None, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, mode: u32, size: u64, digest: &str) -> ListedEntry {
        ListedEntry::new(path.to_owned(), mode, (0, 0), size, &Digest::of(digest.as_bytes()))
    }

    #[test]
    fn what_has_changed_is_told() {
        let before = [
            entry("src", 0o040_755, 0, "d"),
            entry("src/x.rs", 0o100_644, 1, "x"),
            entry("src/run.sh", 0o100_755, 1, "r"),
            entry("src/old", 0o100_644, 1, "o"),
        ];
        let after = [
            entry("src", 0o040_755, 0, "d"),
            entry("src/x.rs", 0o100_644, 1, "y"),
            entry("src/run.sh", 0o100_775, 1, "s"),
            entry("src/new", 0o100_644, 1, "n"),
        ];
        let told = differences(&pack(&before).unwrap(), &pack(&after).unwrap()).unwrap();
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["src/new: new", "mode of src/run.sh changed 0755 ▸ 0775", "src/x.rs: content", "src/old: gone"]
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let after: Vec<_> = (0..30).map(|number| entry(&format!("{number:02}"), 0o100_644, 1, "x")).collect();
        let told = differences(&pack(&[]).unwrap(), &pack(&after).unwrap()).unwrap();
        assert_eq!(told.len(), TOLD + 1);
        assert_eq!(told[TOLD].to_string(), "20 more");
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let good = pack(&[]).unwrap();
        for entries in ["", "%", "AAAA"] {
            assert!(differences(&ListingRecord { entries: entries.to_owned() }, &good).is_none());
        }
    }
}
