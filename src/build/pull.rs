//! Images from registries, whole: what can be run and built on when there is no network any more.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::base::{BaseSource, FindError};
use super::steps::Steps;
use crate::image::{Digest, ImageId, Platform, Reference};
use crate::layer::{LayerError, Layers};
use crate::store::StoreError;
use crate::sys::blocking;

/// What came of a name.
#[derive(Debug, Clone, Copy)]
pub struct Pulled {
    pub image: ImageId,
    /// Of what the name leads to in the registry: an index where there is one.
    pub digest: Digest,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{name}: no match for platform {wanted}; it is an image for {found} alone")]
    Platform { name: Box<Reference>, wanted: Platform, found: Platform },
}

/// Asks the registry for an image and downloads what the store lacks of its layers, all at the same time. They are
/// unpacked when something has to look into them. Where `is_exact`, an image that is for another platform and for no other
/// is not what was asked for.
pub async fn pull(
    from: &BaseSource,
    layers: &Layers,
    steps: &Steps,
    name: &Reference,
    is_exact: bool,
) -> Result<Pulled, PullError> {
    let step = steps.start(&format!("load metadata for {name}"));
    let found = from.ask(name).await?;
    let platform = found.config.platform();
    // An index has been asked already, and knows it better than the config, which may leave out the variant.
    if is_exact && found.index_digest.is_none() && !platform.satisfies(&from.platform) {
        let (name, wanted) = (Box::new(name.clone()), from.platform.clone());
        return Err(PullError::Platform { name, wanted, found: platform });
    }
    step.done();
    let kept = found.config.rootfs.diff_ids.iter().map(|diff_id| layers.keep(*diff_id));
    try_join_all(kept).await?;
    // Not before it is whole: until then the name leads where it led.
    let image = from.adopt(name, &found)?;
    from.name(name, image)?;
    let store = Arc::clone(&from.store);
    blocking(move || store.sync()).await?;
    Ok(Pulled { image, digest: found.reference.digest.unwrap_or(found.manifest_digest) })
}
