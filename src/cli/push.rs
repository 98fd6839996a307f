//! `rbuild push`

use std::sync::Arc;

use clap::Args;

use super::registry::{self, CredsArgs, RegistryArgs};
use super::report::{Code, Report};
use super::{Global, transfer};
use crate::catalog::{self, Catalog};
use crate::export::ExportError;
use crate::export::registry::Destination;
use crate::image::{Digest, Form, ImageId, Reference};

/// Send images of the store to the registries that their names say.
///
/// What a registry has already is not sent again. An image that came from elsewhere keeps its manifest. The digest of each
/// manifest is printed on standard output.
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// Push every tag of the repository; the names are then to have none.
    #[arg(short, long)]
    all_tags: bool,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    creds: CredsArgs,
    /// Names of images; without a tag, `latest` is meant. `rbuild tag` gives an image the name to push it under.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn main(global: &Global, args: PushArgs) -> Result<i32, Report> {
    let names: Result<Vec<Reference>, _> = args.names.iter().map(|name| name.parse()).collect();
    let mut settings = registry::settings(global, &args.registry)?;
    args.creds.add_to(&mut settings, &names.map_err(Report::usage)?)?;
    let which = |catalog: &Catalog| wanted(catalog, &args.names, args.all_tags);
    let ids = |catalog: &Catalog| Ok(which(catalog)?.into_iter().map(|(_, id)| id).collect());
    let opened = transfer::open_for_sending(global, settings, ids)?;
    let catalog = Catalog::read(&opened.0).map_err(Report::from)?;
    let wanted = which(&catalog)?;
    let pushed = transfer::run(opened, args.quiet, |tools| async move {
        let mut pushed: Vec<(Reference, Digest)> = Vec::new();
        for (name, id) in wanted {
            match push(&tools, &name, id).await {
                Ok(digest) => pushed.push((name, digest)),
                Err(error) => return (pushed, Some(error)),
            }
        }
        (pushed, None)
    });
    let (pushed, failed) = pushed?;
    for (name, digest) in &pushed {
        transfer::say(args.quiet, &format!("pushed {}\n", name.familiar()));
        super::text::print(&format!("{digest}\n"));
    }
    failed.map_or(Ok(0), |error| Err(Report::from(error)))
}

async fn push(tools: &transfer::Tools, name: &Reference, id: ImageId) -> Result<Digest, ExportError> {
    let names = std::slice::from_ref(name);
    let destination = Arc::new(Destination::new(&tools.client, names, Form::Oci));
    let image = catalog::whole(&tools.layers, id, Some(&destination)).await?;
    let step = tools.steps.start(&format!("pushing {}", name.familiar()));
    let digest = destination.push(&tools.layers, &image, &step.watch()).await?;
    tools.store.sync()?;
    step.done();
    Ok(digest)
}

fn wanted(catalog: &Catalog, names: &[String], all_tags: bool) -> Result<Vec<(Reference, ImageId)>, Report> {
    let mut wanted = Vec::new();
    for text in names {
        let reference: Reference = text.parse().map_err(Report::usage)?;
        let names = if all_tags { tags(catalog, text, &reference)? } else { vec![reference] };
        for name in names {
            let pointed = catalog.find(&name.to_string()).map_err(|error| {
                // An id is where to push to for nobody.
                match catalog.find(text) {
                    Ok(_) => Report::usage(format!("{text} is an id, and an image is pushed by its name"))
                        .hint(Some("give it one with `rbuild tag`".to_owned())),
                    Err(_) => Report::from(error),
                }
            })?;
            if name.digest.is_some() {
                return Err(Report::usage(format!("a name with a digest cannot be pushed: {text}")));
            }
            wanted.push((name, pointed.image.id));
        }
    }
    Ok(wanted)
}

/// Every name of a repository.
fn tags(catalog: &Catalog, text: &str, reference: &Reference) -> Result<Vec<Reference>, Report> {
    let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag {
        return Err(Report::usage(format!(
            "--all-tags pushes every tag: give the name without one, not {text}"
        )));
    }
    let names = catalog.names_in(&reference.name());
    if names.is_empty() {
        let message = format!("there is no image of the repository {text} in the store");
        return Err(Report::new(Code::Input, message));
    }
    Ok(names)
}
