//! A chain of layers as the root file system of a sandbox, put together in whichever way works here.

use std::path::PathBuf;

use super::error::LayerError;
use crate::sandbox::{Assembly, Layering, MountPointKind, RootFs, Spec, mount_points};
use crate::snapshot::{Draft, Place, Writable};
use crate::store::Store;

/// The root of a sandbox that is going to be mounted by the kernel.
pub fn root_of(draft: &Draft, lowers: Vec<PathBuf>) -> RootFs {
    RootFs {
        assembly: Assembly::Overlay,
        lowers,
        upper: draft.upper(),
        work: draft.work(),
        staging: draft.staging(),
        stubs: draft.stubs(),
    }
}

/// Puts the layers of a spec together as `layering` does. What comes of it has to be kept until the sandbox is gone, and its
/// changes collected then. Blocks the thread.
pub fn assemble(
    spec: &mut Spec,
    layering: Layering,
    draft: &Draft,
    store: &Store,
) -> Result<Option<Writable>, LayerError> {
    let kernel = |assembly| Ok((assembly, None));
    let places = || places(spec);
    let ready = |writable: Writable| Ok((Assembly::Ready(writable.tree().to_owned()), Some(writable)));
    let lowers = &spec.root.lowers;
    let assembled: Result<_, LayerError> = match layering {
        Layering::Kernel => kernel(Assembly::Overlay),
        Layering::Mount => kernel(Assembly::OverlayAtOnce),
        Layering::Fuse => ready(Writable::fuse(draft, lowers, &places(), store.root())?),
        Layering::Copy => ready(Writable::copy(draft, lowers, &places())?),
    };
    let (assembly, writable) = assembled?;
    if let (Layering::Copy, Assembly::Ready(tree)) = (layering, &assembly) {
        // The copy is all there is, also for whoever has to know owners of links.
        (spec.root.lowers, spec.root.upper) = (vec![tree.clone()], tree.clone());
    }
    spec.root.assembly = assembly;
    Ok(writable)
}

fn places(spec: &Spec) -> Vec<Place> {
    let place =
        |path: String, kind| Place { path: path.into(), is_directory: kind == MountPointKind::Directory };
    mount_points(spec).into_iter().map(|point| place(point.path, point.kind)).collect()
}
