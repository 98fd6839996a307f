//! Base images: from the store when it has them, else from a registry.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::contexts::{LayoutImage, NamedSource};
use super::error::{BuildError, Place};
use super::layout;
use super::steps::Steps;
use crate::dockerfile::{Dockerfile, Span, nearest};
use crate::image::{Config, Descriptor, Digest, ImageId, Platform, Reference, ReferenceError};
use crate::plan::{self, BaseImage, WantedImage};
use crate::registry::{self, Client, RegistryError, ResolvedImage};
use crate::store::{ImageRecord, LayerRecord, Store, StoreError};
use crate::sys::blocking;

/// What people mean most often.
const COMMON: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// Finds images by name.
#[derive(Debug, Clone)]
pub struct BaseSource {
    pub store: Arc<Store>,
    /// None where only the store is asked.
    pub registry: Option<Client>,
    pub platform: Platform,
    /// Ask the registry even when the store has the name.
    pub always_ask: bool,
}

/// What a plan asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// As a Dockerfile names it.
    Image(&'a str),
    /// What a named context is.
    Named(&'a Reference),
    Layout {
        context: &'a str,
        image: &'a LayoutImage,
    },
}

impl<'a> Asked<'a> {
    pub(super) fn new(name: &'a str, contexts: &'a BTreeMap<String, NamedSource>) -> Self {
        let named = contexts.iter().find(|(context, _)| plan::context_key(context) == name);
        match named {
            Some((_, NamedSource::Image(reference))) => Self::Named(reference),
            Some((context, NamedSource::Layout(image))) => Self::Layout { context, image },
            Some((_, NamedSource::Files(_))) | None => Self::Image(name),
        }
    }
}

/// An image whose config is known; its layers may still be in a registry.
#[derive(Debug, Clone)]
pub struct Found {
    pub id: ImageId,
    /// Of what the name leads to in a registry, or of the manifest that the image came with.
    pub digest: Option<Digest>,
    pub config: Config,
}

/// An image as people point at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    Name(Reference),
    /// One of the store's, by the id that a build has printed.
    Id(ImageId),
}

impl FromStr for ImageName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.parse() {
            Ok(digest) => Ok(Self::Id(ImageId(digest))),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store does not have the image, and nobody else is asked")]
    NotHere,
}

impl BaseSource {
    /// The image that a FROM or `--from` names, with a complaint at the place that names it.
    pub(super) async fn find_base(
        &self,
        wanted: &WantedImage,
        contexts: &BTreeMap<String, NamedSource>,
        span: Span,
        file: &Dockerfile,
        steps: &Steps,
    ) -> Result<(WantedImage, BaseImage), BuildError> {
        let asked = Asked::new(&wanted.name, contexts);
        let source = Self { platform: wanted.platform.clone(), ..self.clone() };
        let place = || Place::new(file, Some(span));
        let (name, reference) = match asked {
            Asked::Image(name) => {
                let parsed = name.parse().map_err(|error| BuildError::BaseName { error, place: place() });
                (name.to_owned(), parsed?)
            }
            Asked::Named(reference) => (reference.to_string(), reference.clone()),
            Asked::Layout { context, image } => {
                let image = source.find_in_layout(context, image, place(), steps).await?;
                return Ok((wanted.clone(), image));
            }
        };
        let step = steps.start(&format!("[internal] load metadata for {reference}"));
        let found = source.find(&reference).await.map_err(|error| match error {
            FindError::Registry(error) => {
                BuildError::BaseImage { error: Box::new(error), near: near(&name, file), place: place() }
            }
            FindError::Store(error) => BuildError::Store(error),
            FindError::NotHere => BuildError::NotHere,
        })?;
        step.done();
        let image = BaseImage { name: reference.to_string(), digest: found.digest, config: found.config };
        Ok((wanted.clone(), image))
    }

    async fn find_in_layout(
        &self,
        context: &str,
        image: &LayoutImage,
        place: Place,
        steps: &Steps,
    ) -> Result<BaseImage, BuildError> {
        // What is found there is noted, which is no matter of those who only look.
        if self.registry.is_none() {
            return Err(BuildError::NotHere);
        }
        let step = steps.start(&format!("[internal] load metadata for {image}"));
        let (store, wanted, platform) = (Arc::clone(&self.store), image.clone(), self.platform.clone());
        let found = step.ended(blocking(move || layout::find(&store, &wanted, &platform)).await);
        let config = found.map_err(|error| {
            let error = Box::new(error);
            BuildError::Layout { name: format!("--build-context {context}={image}"), error, place }
        })?;
        Ok(BaseImage { name: image.to_string(), digest: None, config })
    }

    /// Finds an image by name, or by id if the store has it. What the store has under that name is meant, whatever it is
    /// for.
    pub async fn find_named(&self, name: &ImageName) -> Result<Option<Found>, FindError> {
        match name {
            ImageName::Name(reference) => {
                let tagged = self.store.tag(reference)?.filter(|_| !self.always_ask);
                let here = tagged.map(|id| self.by_id(id, Some(&reference.name()))).transpose()?.flatten();
                match here {
                    Some(found) => Ok(Some(found)),
                    None => self.find(reference).await.map(Some),
                }
            }
            ImageName::Id(id) => Ok(self.by_id(*id, None)?),
        }
    }

    /// Finds an image, and notes where its layers can be had.
    pub async fn find(&self, reference: &Reference) -> Result<Found, FindError> {
        if !self.always_ask
            && let Some(found) = self.in_store(reference)?
        {
            return Ok(found);
        }
        let image = self.ask(reference).await?;
        let id = self.adopt(reference, &image)?;
        self.name(reference, id)?;
        let digest = Some(image.reference.digest.unwrap_or(image.manifest_digest));
        Ok(Found { id, digest, config: image.config })
    }

    /// Asks a registry for an image, and notes where its layers can be had.
    pub(super) async fn ask(&self, reference: &Reference) -> Result<ResolvedImage, FindError> {
        let client = self.registry.as_ref().ok_or(FindError::NotHere)?;
        let resolved = registry::resolve(client, reference, &self.platform).await?;
        if resolved.config.rootfs.diff_ids.len() != resolved.manifest.layers.len() {
            let (at, repository) = (reference.registry.clone(), reference.repository.clone());
            let asked = Box::new(registry::Asked {
                registry: at,
                repository,
                what: format!("image {}", reference.version()),
            });
            let problem = "the manifest has another number of layers than the config";
            return Err(RegistryError::Protocol { asked, problem }.into());
        }
        for (diff_id, layer) in resolved.config.rootfs.diff_ids.iter().zip(&resolved.manifest.layers) {
            self.store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
                record.claim(layer, Some(resolved.reference.to_string()));
            })?;
        }
        Ok(resolved)
    }

    fn in_store(&self, reference: &Reference) -> Result<Option<Found>, StoreError> {
        let found = |id: Option<ImageId>| -> Result<Option<Found>, StoreError> {
            let Some(id) = id else { return Ok(None) };
            let found = self.by_id(id, Some(&reference.name()))?;
            Ok(found.filter(|found| found.config.platform().satisfies(&self.platform)))
        };
        match found(self.store.tag(reference)?)? {
            None if !self.is_of_here() => found(self.store.platform_tag(reference, &self.platform)?),
            answer => Ok(answer),
        }
    }

    /// Has a name lead to an image, as those who look for one of this platform look for it.
    pub(super) fn name(&self, reference: &Reference, id: ImageId) -> Result<(), StoreError> {
        if self.is_of_here() {
            self.store.set_tag(reference, id)
        } else {
            self.store.set_platform_tag(reference, &self.platform, id)
        }
    }

    /// Whether images are wanted that this machine can run. Names lead to such, unless the user says otherwise: what is only
    /// built on has names of its own.
    fn is_of_here(&self) -> bool {
        Platform::host().satisfies(&self.platform)
    }

    fn by_id(&self, id: ImageId, repository: Option<&str>) -> Result<Option<Found>, StoreError> {
        // Read first: from then on nobody takes the image away.
        let Some(record) = self.store.record::<ImageRecord>(&id.0.hex())? else { return Ok(None) };
        let place = repository.and_then(|repository| record.place_in(repository));
        let digest = place.or(record.manifest.as_ref().map(|manifest| manifest.digest));
        let bytes = match self.store.blobs().read(&id.0) {
            // A damaged config is as good as none: the registry is asked.
            Err(StoreError::NoBlob(_) | StoreError::Digest { .. }) => return Ok(None),
            answer => answer?,
        };
        let config = serde_json::from_slice::<Config>(&bytes).ok();
        Ok(config.map(|config| Found { id, digest, config }))
    }

    /// Keeps an image of a registry, without a name.
    pub(super) fn adopt(&self, reference: &Reference, image: &ResolvedImage) -> Result<ImageId, StoreError> {
        let blobs = self.store.blobs();
        let id = ImageId(blobs.put(&image.config_bytes)?);
        let manifest = blobs.put(&image.manifest_bytes)?;
        let size = image.manifest_bytes.len() as u64;
        let manifest = Some(Descriptor::new(image.manifest_media_type, manifest, size));
        let place = image.reference.digest.unwrap_or(image.manifest_digest);
        self.store.update_record(&id.0.hex(), |record: &mut ImageRecord| {
            record.manifest = manifest;
            record.found_at(&reference.name(), &place);
        })?;
        Ok(id)
    }
}

/// A stage or a common image whose name is nearly this one.
fn near(name: &str, file: &Dockerfile) -> Option<String> {
    let stages: Vec<String> = file.stages.iter().filter_map(|stage| stage.from.node.stage_name()).collect();
    let plain = name.strip_suffix(":latest").unwrap_or(name);
    let known = stages.iter().map(String::as_str).chain(COMMON);
    nearest(&plain.to_lowercase(), known).map(str::to_owned)
}
