//! Keys of steps.
//!
//! A *record digest* stands for an operation, or for content, wherever BuildKit keeps or exports its cache. A *key* stands for a
//! step as a whole: its record digest and, input by input, a key or a content. A step that reads content is known by two
//! keys: by what its inputs are, which takes no look at any file, and by what is in them.

use std::fmt;

use crate::image::{Digest, Hasher};

/// The digest of an operation's result as caches list it.
pub fn record_digest(operation: &Digest) -> Digest {
    Digest::of(format!("{operation}@0").as_bytes())
}

/// The digest of what an input contains as caches list it. `content` is what [`crate::context::fingerprint`] gives.
pub fn content_digest(content: &Digest) -> Digest {
    Digest::of(format!("{content}@-1").as_bytes())
}

/// Identifies what a step yields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StepKey(pub Digest);

/// How an input counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ingredient {
    /// As what it is, and which part of it is read.
    Definition { key: StepKey, selector: Option<Digest> },
    /// As the files that are read: a record digest.
    Content(Digest),
}

impl StepKey {
    /// Every part has a fixed length, so no two lists of parts give the same bytes.
    pub fn new(record: Digest, ingredients: &[Ingredient]) -> Self {
        Self::with_order(record, ingredients, None)
    }

    /// With what record digests and contents leave open: which of several sources of one input goes where, or whose commit it is.
    pub fn with_order(record: Digest, ingredients: &[Ingredient], order: Option<Digest>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"rbuild step 2\0");
        if let Some(order) = order {
            hasher.update(b"\x03");
            hasher.update(order.as_bytes());
        }
        hasher.update(record.as_bytes());
        for ingredient in ingredients {
            match ingredient {
                Ingredient::Content(content) => {
                    hasher.update(b"\x00");
                    hasher.update(content.as_bytes());
                }
                Ingredient::Definition { key, selector: None } => {
                    hasher.update(b"\x01");
                    hasher.update(key.0.as_bytes());
                }
                Ingredient::Definition { key, selector: Some(selector) } => {
                    hasher.update(b"\x02");
                    hasher.update(key.0.as_bytes());
                    hasher.update(selector.as_bytes());
                }
            }
        }
        Self(hasher.finish())
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let [a, b] = [b"a", b"b"].map(|text| Digest::of(text));
        let input = |key, selector| Ingredient::Definition { key: StepKey(key), selector };
        let keys = [
            StepKey::new(a, &[]),
            StepKey::new(b, &[]),
            StepKey::new(a, &[Ingredient::Content(b)]),
            StepKey::new(a, &[input(b, None)]),
            StepKey::new(a, &[input(b, Some(a))]),
            StepKey::new(a, &[input(b, Some(b))]),
            StepKey::new(a, &[input(a, None), Ingredient::Content(b)]),
            StepKey::new(a, &[Ingredient::Content(b), input(a, None)]),
            StepKey::with_order(a, &[], Some(b)),
            StepKey::with_order(a, &[Ingredient::Content(b)], Some(b)),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    /// From a cache that BuildKit wrote.
    #[test]
    fn content_is_listed_as_buildkit_lists_it() {
        let content: Digest =
            "sha256:9482d408b62f5c19332e1a7a0773ce76bc50f2c7b0afb4a5a45655b703c85b03".parse().unwrap();
        let expected = "sha256:c1966ecfe2047db5c3cc319ead42fe8ce32ea73b19cd0f68c2c9c90c724fa886";
        // The file's digest is that of a selection of one, which is hashed once more.
        let listed = content_digest(&Digest::of(content.to_string().as_bytes()));
        assert_eq!(listed.to_string(), expected);
    }
}
