//! The layers of a root file system as values.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::{DiffId, Digest};
use crate::store::SnapshotId;

/// One layer of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerRef {
    /// A layer of an image, perhaps not here yet.
    Image(DiffId),
    /// What a step has made.
    Made(SnapshotId),
    /// What a step has made on nothing, put on other layers as it is.
    Linked(SnapshotId),
}

impl LayerRef {
    /// Of a layer that an image has brought along.
    pub fn diff_id(&self) -> Option<DiffId> {
        match self {
            Self::Image(diff_id) => Some(*diff_id),
            Self::Made(_) | Self::Linked(_) => None,
        }
    }
}

impl fmt::Display for LayerRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(diff_id) => write!(out, "image {diff_id}"),
            Self::Made(snapshot) => write!(out, "made {snapshot}"),
            Self::Linked(snapshot) => write!(out, "linked {snapshot}"),
        }
    }
}

/// Layers on top of each other. Those that share what is below share it in memory, too: a step more costs the same
/// however many there are.
#[derive(Debug, Clone, Default)]
pub struct Stack(Option<Arc<Level>>);

#[derive(Debug)]
struct Level {
    layer: LayerRef,
    below: Stack,
    id: Digest,
}

impl Stack {
    pub fn with(&self, layer: LayerRef) -> Self {
        let below = self.id().map(|id| id.to_string()).unwrap_or_default();
        let id = Digest::of(format!("{below} {layer}").as_bytes());
        Self(Some(Arc::new(Level { layer, below: self.clone(), id })))
    }

    /// What tells it from all other stacks: the uppermost layer alone does not, as what is put on others as it is, and what
    /// changes nothing, is the same on all of them.
    pub fn id(&self) -> Option<Digest> {
        self.0.as_ref().map(|level| level.id)
    }

    pub fn top(&self) -> Option<&LayerRef> {
        self.0.as_ref().map(|level| &level.layer)
    }

    /// All but the top.
    pub fn below(&self) -> Self {
        self.0.as_ref().map(|level| level.below.clone()).unwrap_or_default()
    }

    /// Tells stacks apart as values in memory: those with the same are the same. Others may be equal all the same.
    pub fn address(&self) -> usize {
        self.0.as_ref().map_or(0, |level| Arc::as_ptr(level) as usize)
    }

    /// From the top down.
    pub fn iter(&self) -> impl Iterator<Item = &LayerRef> {
        std::iter::successors(self.0.as_deref(), |level| level.below.0.as_deref()).map(|level| &level.layer)
    }

    /// This one and what is left of it without each further layer, down to the lowest.
    pub fn levels(&self) -> Vec<Self> {
        let mut levels = Vec::new();
        let mut stack = self.clone();
        while stack.0.is_some() {
            let below = stack.below();
            levels.push(stack);
            stack = below;
        }
        levels
    }

    /// From the lowest up, as images list them.
    pub fn to_vec(&self) -> Vec<LayerRef> {
        let mut layers: Vec<LayerRef> = self.iter().cloned().collect();
        layers.reverse();
        layers
    }
}

impl FromIterator<LayerRef> for Stack {
    /// From the lowest up.
    fn from_iter<I: IntoIterator<Item = LayerRef>>(layers: I) -> Self {
        layers.into_iter().fold(Self::default(), |stack, layer| stack.with(layer))
    }
}

impl Drop for Stack {
    /// Level by level: a chain of thousands would take as many calls within each other.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(level) = next {
            next = Arc::into_inner(level).and_then(|mut level| level.below.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u32) -> LayerRef {
        LayerRef::Image(DiffId(Digest::of(&number.to_le_bytes())))
    }

    #[test]
    fn a_stack_is_listed_from_below_and_ends_without_recursion() {
        let base: Stack = [layer(0), layer(1)].into_iter().collect();
        let one = base.with(layer(2));
        assert_eq!(one.to_vec(), [layer(0), layer(1), layer(2)]);
        assert_eq!((one.top(), base.top()), (Some(&layer(2)), Some(&layer(1))));
        let high: Stack = (0..200_000).map(layer).collect();
        drop((one, high));
        assert_eq!(base.iter().count(), 2);
    }
}
