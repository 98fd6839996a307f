use tempfile::TempDir;

use super::*;
use crate::event;
use crate::image::{Digest, media_type};
use crate::layer::tar_writer::{Entry, Kind, TarWriter};
use crate::registry::Settings;

/// A store, and two layouts beside it.
struct World {
    directory: TempDir,
    layers: Layers,
    tar: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layers = layers(&directory);
        let mut tar = TarWriter::new(Vec::new());
        let kind = Kind::File { size: 3 };
        tar.entry(&Entry { path: b"file", kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: &[] })
            .unwrap();
        tar.content(&mut &b"abc"[..], 3).unwrap();
        Self { layers, tar: tar.finish().unwrap(), directory }
    }

    fn blob(&self) -> Descriptor {
        Descriptor::new(media_type::OCI_LAYER, Digest::of(&self.tar), self.tar.len() as u64)
    }

    fn diff_id(&self) -> DiffId {
        DiffId(Digest::of(&self.tar))
    }

    /// Puts bytes under the name of the blob into a layout, which the layer is said to be in.
    fn layout(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let layout = self.directory.path().join(name);
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let place = layout.join(LayoutDirectory::place(&self.blob().digest));
        std::fs::write(&place, bytes).unwrap();
        let source = LayerSource::Layout(layout).to_string();
        let claim = |record: &mut LayerRecord| record.claim(&self.blob(), Some(source));
        self.layers.store().update_record(&self.diff_id().0.hex(), claim).unwrap();
        place
    }

    async fn file(&self) -> Result<Vec<u8>, LayerError> {
        let directories = self.layers.directories(&[LayerRef::Image(self.diff_id())]).await?;
        Ok(std::fs::read(directories[0].join("file")).unwrap())
    }
}

fn layers(directory: &TempDir) -> Layers {
    let store = Arc::new(Store::ensure(&directory.path().join("store")).unwrap());
    let events = event::channel().0;
    Layers::new(store, Client::new(Settings::default(), events.clone()), events, StepId(0))
}

#[test]
fn a_directory_counts_where_it_is_uppermost() {
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(without_repeats(paths(&["l", "x", "l", "base"])), paths(&["l", "x", "base"]));
}

#[tokio::test]
async fn layers_are_read_where_they_lie() {
    let mut world = World::new();
    let place = world.layout("cache", &world.tar);
    // Another process finds what this one has noted.
    world.layers = layers(&world.directory);
    let record = world.layers.record(world.diff_id()).unwrap();
    assert!(record.blobs[0].is_elsewhere() && !record.blobs[0].verified);
    assert!(world.layers.store().blobs().size(&world.blob().digest).unwrap().is_none());
    assert_eq!(world.file().await.unwrap(), b"abc");
    // From now on the store has it.
    std::fs::remove_file(place).unwrap();
    world.layers.keep(world.diff_id()).await.unwrap();
    let record = world.layers.record(world.diff_id()).unwrap();
    assert!(record.blobs[0].verified && !record.blobs[0].is_elsewhere());
}

#[tokio::test]
async fn a_blob_is_kept_from_a_layout() {
    let world = World::new();
    world.layout("cache", &world.tar);
    let sources = world.layers.record(world.diff_id()).unwrap().blobs[0].sources.clone();
    world.layers.ensure_blob(&world.blob(), &sources).await.unwrap();
    assert_eq!(world.layers.store().blobs().read(&world.blob().digest).unwrap(), world.tar);
    let elsewhere = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"else"), 4);
    assert!(matches!(world.layers.ensure_blob(&elsewhere, &sources).await, Err(LayerError::Layout(_))));
    assert!(matches!(world.layers.ensure_blob(&elsewhere, &[]).await, Err(LayerError::Lost { .. })));
}

#[tokio::test]
async fn what_is_wrong_in_one_place_is_taken_from_another() {
    for wrong in [&b"too short"[..], &[0; 2048]] {
        let world = World::new();
        assert_eq!(world.tar.len(), 2048);
        world.layout("first", &world.tar);
        let gone = world.layout("gone", b"");
        std::fs::remove_file(gone).unwrap();
        world.layout("second", wrong);
        assert_eq!(world.file().await.unwrap(), b"abc");
    }
}

#[tokio::test]
async fn what_is_wrong_everywhere_is_not_taken() {
    let world = World::new();
    world.layout("cache", &[0; 2048]);
    let error = world.file().await.unwrap_err();
    assert!(error.to_string().contains("content does not match its digest"), "{error}");
    assert!(world.layers.keep(world.diff_id()).await.is_err());
    assert!(world.layers.store().blobs().size(&world.blob().digest).unwrap().is_none());
}
