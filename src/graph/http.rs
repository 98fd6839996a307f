//! What identifies a file that comes from an address.

use serde::Serialize;

use super::definition::{go_json, source_digest};
use super::op::HttpOp;
use crate::image::Digest;

impl HttpOp {
    /// Known beforehand only where a checksum says what the bytes are.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.checksum.iter().map(|checksum| self.digest(checksum, None)).collect()
    }

    /// What the file is known by once its bytes are. Where no checksum was demanded, the time the server gave counts, too:
    /// it is the file's.
    pub fn digest_of(&self, body: &Digest, last_modified: Option<&str>) -> Digest {
        match &self.checksum {
            Some(checksum) => self.digest(checksum, None),
            None => self.digest(&body.to_string(), last_modified),
        }
    }

    fn digest(&self, checksum: &str, last_modified: Option<&str>) -> Digest {
        let source = HttpSource {
            name: &self.name,
            mode: 0,
            user: 0,
            group: 0,
            checksum,
            last_modified: last_modified.unwrap_or_default(),
        };
        source_digest(&Digest::of(go_json(&source).as_bytes()).to_string())
    }

    /// For people, and to tell one download from another.
    pub(super) fn definition(&self) -> String {
        let checksum = self.checksum.as_ref().map(|checksum| format!(" {checksum}")).unwrap_or_default();
        format!("http {} as {}{checksum}", self.url, self.name)
    }
}

/// Mode and owner are those that every file has: others are made by who copies it.
#[derive(Serialize)]
struct HttpSource<'a> {
    #[serde(rename = "Filename")]
    name: &'a str,
    #[serde(rename = "Perm")]
    mode: u32,
    #[serde(rename = "UID")]
    user: u32,
    #[serde(rename = "GID")]
    group: u32,
    #[serde(rename = "Checksum")]
    checksum: &'a str,
    #[serde(rename = "LastModTime", skip_serializing_if = "str::is_empty")]
    last_modified: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_all_that_counts_where_it_is_given() {
        let op = |url: &str, checksum: Option<&str>, name: &str| HttpOp {
            url: url.to_owned(),
            checksum: checksum.map(str::to_owned),
            name: name.to_owned(),
        };
        let body = Digest::of(b"x");
        let pin = body.to_string();
        let pinned = op("http://a/x", Some(&pin), "x");
        assert_eq!(pinned.digests(), [pinned.digest_of(&body, Some("Wed, 21 Oct 2015 07:28:00 GMT"))]);
        assert_eq!(pinned.digests(), op("http://b/x", Some(&pin), "x").digests());
        assert_ne!(pinned.digests(), op("http://a/x", Some(&pin), "y").digests());
        let open = op("http://a/x", None, "x");
        assert!(open.digests().is_empty());
        assert_eq!(vec![open.digest_of(&body, None)], pinned.digests());
        assert_ne!(vec![open.digest_of(&body, Some("Wed, 21 Oct 2015 07:28:00 GMT"))], pinned.digests());
    }

    /// The document is BuildKit's, fields in its order.
    #[test]
    fn the_document_is_as_buildkit_writes_it() {
        let op = HttpOp { url: "http://a/x".to_owned(), checksum: None, name: "a&b".to_owned() };
        let body = Digest::of(b"");
        let text = format!(
            r#"{{"Filename":"a\u0026b","Perm":0,"UID":0,"GID":0,"Checksum":"{body}","LastModTime":"then"}}"#
        );
        let source = format!("buildkit.source.v0:{}", Digest::of(text.as_bytes()));
        assert_eq!(op.digest_of(&body, Some("then")), Digest::of(source.as_bytes()));
    }
}
