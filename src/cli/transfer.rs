//! What pulling, pushing, saving and loading have in common: progress on standard error, and an end by Ctrl-C.

use std::io::Write as _;
use std::sync::Arc;

use super::environment::{self, Session};
use super::report::Report;
use super::{Global, signals};
use crate::build::{Steps, layers};
use crate::catalog::{Catalog, is_packed};
use crate::event::{self, Events};
use crate::image::ImageId;
use crate::layer::Layers;
use crate::registry::{Client, Settings};
use crate::sandbox::Endings;
use crate::store::Store;
use crate::ui::{self, Style};

/// What a transfer works with.
pub(super) struct Tools {
    pub store: Arc<Store>,
    pub client: Client,
    pub layers: Layers,
    pub steps: Steps,
}

/// Opens the store without a namespace: nothing of these verbs looks into directories of layers.
pub(super) fn open(global: &Global, settings: Settings) -> Result<(Arc<Store>, Settings), Report> {
    Ok((environment::open(global)?, settings))
}

/// Opens the store for sending images, and says which are meant: in a namespace if a layer of one has to be packed first.
pub(super) fn open_for_sending(
    global: &Global,
    settings: Settings,
    which: impl Fn(&Catalog) -> Result<Vec<ImageId>, Report>,
) -> Result<(Arc<Store>, Settings), Report> {
    let (store, settings) = open(global, settings)?;
    let catalog = Catalog::read(&store).map_err(Report::from)?;
    for id in which(&catalog)? {
        if !is_packed(&store, id).map_err(Report::from)? {
            drop(store);
            let Session { store, settings, .. } = environment::enter(global, settings)?;
            return Ok((store, settings));
        }
    }
    Ok((store, settings))
}

/// Does the work, with progress unless it is to be quiet.
pub(super) fn run<T, F: Future<Output = T>>(
    (store, settings): (Arc<Store>, Settings),
    quiet: bool,
    work: impl FnOnce(Tools) -> F,
) -> Result<T, Report> {
    let style = if quiet { Style::Quiet } else { Style::Plain };
    let (events, receiver): (Events, _) = event::channel();
    let progress = ui::show(receiver, style, std::io::stderr());
    let client = Client::new(settings, events.clone());
    let layers = layers(&store, &client, &events);
    let tools = Tools { store, client, layers, steps: Steps::new(events) };
    let (store, sweeping) = (Arc::clone(&tools.store), tools.store.sweeping());
    let work = async {
        // What a killed transfer has left may be large. Nobody waits for it.
        tokio::task::spawn_blocking(sweeping);
        work(tools).await
    };
    // No sandbox is started, so that there is none to wait for.
    let result = signals::until_interrupted(work, &Endings::default());
    environment::wait_for_the_rest(&store);
    // The senders are gone: what is still to be shown is shown now, before any error.
    let _ = progress.join();
    result
}

/// A word to the person, beside the progress.
pub(super) fn say(quiet: bool, text: &str) {
    if !quiet {
        // Whoever closed standard error does not want to know.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
