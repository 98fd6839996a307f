//! Tags: names that lead to images.

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::record::Record;
use crate::image::{Digest, ImageId, Platform, Reference};

/// What a name leads to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tag {
    /// The full name; the file is named by its digest, because names can be longer than file names.
    pub name: String,
    pub image: ImageId,
}

impl Record for Tag {
    const KIND: &'static str = "tags";
    // The image that it leads to is pinned when it is looked at.
    const PINNED: bool = false;
}

/// What a name leads to for machines of another kind than this one. Builds and `pull` note it, only builds ask for it, and
/// they ask the registry again if it is gone: it keeps no image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlatformTag {
    /// The full name, a blank, and the platform.
    pub name: String,
    pub image: ImageId,
}

impl Record for PlatformTag {
    const KIND: &'static str = "platform-tags";
    const PINNED: bool = false;
}

impl Store {
    pub fn set_platform_tag(
        &self,
        reference: &Reference,
        platform: &Platform,
        image: ImageId,
    ) -> Result<(), StoreError> {
        let name = format!("{reference} {platform}");
        self.put_record(&Digest::of(name.as_bytes()).hex(), &PlatformTag { name, image })
    }

    pub fn platform_tag(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<ImageId>, StoreError> {
        let name = format!("{reference} {platform}");
        let tag = self.record::<PlatformTag>(&Digest::of(name.as_bytes()).hex())?;
        Ok(tag.filter(|tag| tag.name == name).map(|tag| tag.image))
    }

    pub fn set_tag(&self, reference: &Reference, image: ImageId) -> Result<(), StoreError> {
        let name = reference.to_string();
        self.put_record(&Digest::of(name.as_bytes()).hex(), &Tag { name, image })
    }

    /// Takes a name away; says whether it led anywhere.
    pub fn remove_tag(&self, reference: &Reference) -> Result<bool, StoreError> {
        self.remove_record::<Tag>(&Digest::of(reference.to_string().as_bytes()).hex())
    }

    pub fn tag(&self, reference: &Reference) -> Result<Option<ImageId>, StoreError> {
        let name = reference.to_string();
        let tag = self.record::<Tag>(&Digest::of(name.as_bytes()).hex())?;
        Ok(tag.filter(|tag| tag.name == name).map(|tag| tag.image))
    }
}
