//! Keys of steps.

use std::fmt;

use crate::image::{Digest, Hasher};

/// Identifies what a step yields: its operation, what that reads, and the keys of its inputs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StepKey(pub Digest);

impl StepKey {
    /// Every part has a fixed length or stands last, so no two lists of parts give the same bytes.
    pub fn new(operation: Digest, content: Option<Digest>, inputs: &[StepKey]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"rbuild step 1\0");
        hasher.update(operation.as_bytes());
        match content {
            Some(content) => {
                hasher.update(b"\x01");
                hasher.update(content.as_bytes());
            }
            None => hasher.update(b"\x00"),
        }
        inputs.iter().for_each(|input| hasher.update(input.0.as_bytes()));
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
        let keys = [
            StepKey::new(a, None, &[]),
            StepKey::new(b, None, &[]),
            StepKey::new(a, Some(b), &[]),
            StepKey::new(a, None, &[StepKey(b)]),
            StepKey::new(a, Some(b), &[StepKey(a)]),
            StepKey::new(a, Some(b), &[StepKey(a), StepKey(b)]),
            StepKey::new(a, Some(b), &[StepKey(b), StepKey(a)]),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
