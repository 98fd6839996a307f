//! `rbuild pull`

use clap::Args;

use super::platform::{Wanted, platform};
use super::registry::{self, CredsArgs, RegistryArgs};
use super::report::Report;
use super::{Global, transfer};
use crate::build::{self, BaseSource, Pulled};
use crate::image::{Platform, Reference};

/// Download images, with all their layers.
///
/// The registry is asked in any case; what the store has of an image already is not downloaded again. The digest of what
/// each name leads to is printed on standard output.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// The platform to pull for [default: $DOCKER_DEFAULT_PLATFORM, else local, which is this machine's].
    ///
    /// What is for another kind of machine is found by builds for that one (--platform, FROM --platform=…), and what the name
    /// leads to otherwise stays. Its own name is its id, which is printed; `rbuild tag` gives it another one.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Wanted>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    creds: CredsArgs,
    /// Names of images; without a tag, `latest` is meant.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Reference>,
}

pub(super) fn main(global: &Global, args: PullArgs) -> Result<i32, Report> {
    let given = platform(args.platform, false)?;
    let (is_exact, platform) = (given.is_some(), given.unwrap_or_else(Platform::host));
    let mut settings = registry::settings(global, &args.registry)?;
    args.creds.add_to(&mut settings, &args.names)?;
    let opened = transfer::open(global, settings)?;
    let pulled = transfer::run(opened, args.quiet, |tools| async move {
        let base = BaseSource {
            store: tools.store.clone(),
            registry: Some(tools.client.clone()),
            platform,
            always_ask: true,
        };
        let mut pulled = Vec::new();
        for name in &args.names {
            match build::pull(&base, &tools.layers, &tools.steps, name, is_exact).await {
                Ok(image) => pulled.push((name.clone(), image)),
                Err(error) => return (pulled, Some(error)),
            }
        }
        (pulled, None)
    });
    let (pulled, failed) = pulled?;
    for (name, Pulled { image, digest }) in &pulled {
        transfer::say(args.quiet, &format!("image {image}\npulled {}\n", name.familiar()));
        super::text::print(&format!("{digest}\n"));
    }
    failed.map_or(Ok(0), |error| Err(Report::from(error)))
}
