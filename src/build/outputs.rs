//! What a build has made, written outside the store: as an image in a file, or as the files themselves.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use super::steps::Steps;
use crate::exec::Executor;
use crate::export::layout::{Layout, Named};
use crate::export::tree::{self, GivenUp, Tree};
use crate::export::{self, ExportError, Image, ImageFile, Output, Packer, Pending, Place};
use crate::layer::Stack;
use crate::sys::blocking;

/// The result of a build, and what is needed to put it somewhere.
pub(super) struct Outputs<'a> {
    pub executor: &'a Executor,
    pub steps: &'a Steps,
    pub image: &'a Image,
    pub layers: &'a Stack,
    /// Nothing in new layers is newer than this.
    pub latest: Option<i64>,
    /// The time that files get which are written without layers.
    pub epoch: Option<i64>,
}

impl Outputs<'_> {
    pub(super) async fn write(&self, output: &Output) -> Result<(), ExportError> {
        let step = self.steps.start(&output.headline());
        step.ended(match output {
            Output::Image(image) => self.image(image).await,
            Output::Directory(path) => self.directory(path).await,
            Output::Tar(place) => self.tar(place).await,
        })
    }

    async fn image(&self, to: &ImageFile) -> Result<(), ExportError> {
        let layers = &self.executor.layers;
        let packer = Packer { layers, packing: Some(to.packing), destination: None };
        let mut packed = Vec::new();
        for level in self.layers.levels().into_iter().rev() {
            packed.extend(packer.top(&level, self.latest).await?);
        }
        let image = Image { layers: packed, ..self.image.clone() };
        let named = [Named { image, names: to.names.clone() }];
        let layout = Layout::of(&named, to.description, layers).await?;
        let (store, shown) = (Arc::clone(&self.executor.store), to.to.shown());
        if let Place::Directory(path) = &to.to {
            if path.join("index.json").exists() {
                let path = path.clone();
                return blocking(move || export::directory::add(&store, &layout, &path)).await;
            }
            let pending = Pending::directory(path)?;
            let place = pending.path().to_owned();
            blocking(move || export::directory::write(&store, &layout, &place)).await?;
            return Ok(pending.finish()?);
        }
        stream(&to.to, move |stream| export::archive::write(&store, &layout, stream, &shown)).await
    }

    async fn tar(&self, to: &Place) -> Result<(), ExportError> {
        let (tree, shown) = (self.tree().await?, to.shown());
        let _waiting = tree.given_up.when_dropped();
        let name = shown.clone();
        let left_out = stream(to, move |stream| tree::tar::write(&tree, stream, &name)).await?;
        self.tell(left_out, &shown);
        Ok(())
    }

    async fn directory(&self, path: &Path) -> Result<(), ExportError> {
        let tree = self.tree().await?;
        let target = tree::directory::Target::prepare(path)?;
        let _waiting = tree.given_up.when_dropped();
        let left_out = blocking(move || target.write(&tree)).await?;
        self.tell(left_out, path);
        Ok(())
    }

    /// All layers as directories; those that nobody has looked into are fetched.
    async fn tree(&self) -> Result<Tree, ExportError> {
        let chain = self.executor.layers.directories(&self.layers.to_vec()).await?;
        Ok(Tree { chain, time: self.epoch, given_up: GivenUp::default() })
    }

    fn tell(&self, left_out: tree::LeftOut, place: &Path) {
        if let Some(text) = left_out.text(place) {
            self.executor.events.warn(text);
        }
    }
}

/// Writes a stream to a place; a file gets its name when it is whole.
async fn stream<T: Send + 'static>(
    to: &Place,
    write: impl FnOnce(BufWriter<Arc<File>>) -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    // Held here, so that it is removed when the work is given up.
    let (pending, file) = match to {
        Place::Stream(file) => (None, Arc::clone(file)),
        Place::File(path) | Place::Directory(path) => {
            let (pending, file) = Pending::stream(path)?;
            (pending, Arc::new(file))
        }
    };
    let written = blocking(move || write(BufWriter::with_capacity(1 << 20, file))).await?;
    pending.map(Pending::finish).transpose()?;
    Ok(written)
}
