//! Base images: from the store when it has them, else from a registry.

use std::sync::Arc;

use super::error::{BuildError, Place};
use super::steps::Steps;
use crate::dockerfile::Dockerfile;
use crate::image::{Config, Descriptor, ImageId, Platform, Reference};
use crate::plan::BaseImage;
use crate::registry::{self, Client, RegistryError, ResolvedImage};
use crate::store::{ImageRecord, LayerRecord, Store, StoreError};

/// Finds images by name.
#[derive(Debug, Clone)]
pub struct BaseSource {
    pub store: Arc<Store>,
    pub client: Client,
    pub platform: Platform,
    /// Ask the registry even when the store has the name.
    pub always_ask: bool,
}

/// An image whose config is known; its layers may still be in a registry.
#[derive(Debug, Clone)]
pub struct Found {
    pub id: ImageId,
    pub config: Config,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BaseSource {
    /// The image that a FROM or `--from` names, with a complaint at the stage that names it.
    pub(super) async fn find_base(
        &self,
        name: &str,
        file: &Dockerfile,
        steps: &Steps,
    ) -> Result<(String, BaseImage), BuildError> {
        let stage = file.stages.iter().find(|stage| stage.from.node.image.text.contains(name));
        let place = || Place::new(file, stage.map(|stage| stage.from.span));
        let reference: Reference =
            name.parse().map_err(|error| BuildError::BaseName { error, place: place() })?;
        let step = steps.start(&format!("[internal] load metadata for {reference}"));
        let found = self.find(&reference).await.map_err(|error| match error {
            FindError::Registry(error) => BuildError::BaseImage { error: Box::new(error), place: place() },
            FindError::Store(error) => BuildError::Store(error),
        })?;
        step.done();
        Ok((name.to_owned(), BaseImage { name: reference.to_string(), config: found.config }))
    }

    /// Finds an image, and notes where its layers can be had.
    pub async fn find(&self, reference: &Reference) -> Result<Found, FindError> {
        if !self.always_ask
            && let Some(found) = self.in_store(reference)?
        {
            return Ok(found);
        }
        let resolved = registry::resolve(&self.client, reference, &self.platform).await?;
        let id = self.remember(reference, &resolved)?;
        Ok(Found { id, config: resolved.config })
    }

    fn in_store(&self, reference: &Reference) -> Result<Option<Found>, StoreError> {
        let Some(id) = self.store.tag(reference)? else { return Ok(None) };
        let bytes = match self.store.blobs().read(&id.0) {
            // A damaged config is as good as none: the registry is asked.
            Err(StoreError::NoBlob(_) | StoreError::Digest { .. }) => return Ok(None),
            answer => answer?,
        };
        let config = serde_json::from_slice::<Config>(&bytes).ok();
        let config = config.filter(|config| config.platform().satisfies(&self.platform));
        Ok(config.map(|config| Found { id, config }))
    }

    fn remember(&self, reference: &Reference, image: &ResolvedImage) -> Result<ImageId, StoreError> {
        let blobs = self.store.blobs();
        let id = ImageId(blobs.put(&image.config_bytes)?);
        let manifest = blobs.put(&image.manifest_bytes)?;
        let size = image.manifest_bytes.len() as u64;
        let manifest = Some(Descriptor::new(image.manifest_media_type, manifest, size));
        for (diff_id, layer) in image.config.rootfs.diff_ids.iter().zip(&image.manifest.layers) {
            let key = diff_id.0.hex();
            let mut record = self.store.record::<LayerRecord>(&key)?.unwrap_or_default();
            if !record.blobs.iter().any(|known| known.digest == layer.digest) {
                record.blobs.insert(0, layer.clone());
            }
            let source = image.reference.to_string();
            record.sources.retain(|known| *known != source);
            record.sources.push(source);
            self.store.put_record(&key, &record)?;
        }
        self.store.put_record(&id.0.hex(), &ImageRecord { manifest })?;
        self.store.set_tag(reference, id)?;
        Ok(id)
    }
}
