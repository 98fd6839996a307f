//! `rbuild run`

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::confinement::{self, SecurityOption};
use super::environment::{self, Session};
use super::limits::LimitArgs;
use super::network::NamesArgs;
use super::registry::{self, CredsArgs, RegistryArgs};
use super::report::{Code, Report};
use super::{Global, signals};
use crate::build::{BaseSource, FindError, ImageName};
use crate::catalog::{self, Catalog, Pointed};
use crate::container::{self, ContainerError, Request, Tools};
use crate::event;
use crate::image::{Platform, Reference};
use crate::registry::Client;
use crate::sandbox::{Reach, Sandboxing, Settings};
use crate::store::Store;
use crate::ui::{self, Style};

/// Run a container of an image, which is pulled when it is not in the store.
///
/// The exit code is that of the container's process; 125 if it could not be started, 126 if its program cannot be
/// executed, 127 if there is no such program.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Remove the container when it ends. For now every container is, and this has to be said.
    #[arg(long)]
    rm: bool,
    /// Let the container read this command's standard input; otherwise there is nothing to read.
    #[arg(short, long)]
    interactive: bool,
    /// Set a variable; without =VALUE it is taken from the environment.
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// The working directory inside.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user inside: user[:group], by name or number.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Give the container no more confinement than its namespaces: every capability, system call and device there is.
    #[arg(long)]
    privileged: bool,
    /// Add a capability, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// seccomp=unconfined, systempaths=unconfined or no-new-privileges
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<SecurityOption>,
    /// The program to run instead of the image's; the image's command does not apply then.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
    /// The container's network [default: private, or the host's where none can be made]
    #[arg(long, value_name = "MODE")]
    network: Option<Network>,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    creds: CredsArgs,
    /// The image's name or id, and what to run instead of its command.
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// One of its own that reaches out, but not to this machine's loopback.
    #[value(alias = "pasta")]
    Private,
    /// Nothing but loopback.
    None,
    /// This machine's.
    Host,
}

impl Network {
    fn reach(network: Option<Self>) -> Reach {
        match network {
            None => Reach::PrivateOrHost,
            Some(Self::Private) => Reach::Private,
            Some(Self::None) => Reach::None,
            Some(Self::Host) => Reach::Host,
        }
    }
}

pub(super) fn main(global: &Global, args: RunArgs) -> Result<i32, Report> {
    if !args.rm {
        return Err(Report::usage(
            "containers cannot be kept yet: add --rm, and the container is removed when it ends",
        ));
    }
    let (image, command) = args.image_and_command.split_first().expect("an image is required");
    let confinement = confinement::of(args.privileged, &args.cap_add, &args.cap_drop, &args.security_opt)
        .map_err(Report::usage)?;
    let limits = args.limits.limits()?;
    // Before the first thread: only then can the process move into a namespace.
    let network = args.names.settings();
    let mut registries = registry::settings(global, &args.registry)?;
    let named: Vec<Reference> = image.parse().into_iter().collect();
    args.creds.add_to(&mut registries, &named)?;
    let Session { store, entered, settings: registries } =
        environment::enter(global, registries).map_err(Report::of_run)?;
    let sandboxing = Sandboxing::new(entered, Settings { limits, network, layering: global.layering })
        .map_err(|error| Report::from(error).of_run())?;
    let sandboxing = Arc::new(sandboxing);
    let endings = sandboxing.endings.clone();
    let name = name_of(&store, image).map_err(Report::of_run)?;
    let (events, receiver) = event::channel();
    let progress = ui::show(receiver, Style::Plain, std::io::stderr());
    let client = Client::new(registries, events.clone());
    let base = BaseSource {
        store: store.clone(),
        registry: Some(client.clone()),
        platform: Platform::host(),
        always_ask: false,
    };
    let request = Request {
        command: command.to_vec(),
        entrypoint: args.entrypoint,
        environment: variables(&args.environment),
        directory: args.workdir,
        user: args.user,
        interactive: args.interactive,
        confinement,
        reach: Network::reach(args.network),
    };
    let tools = Tools { store, client, events, sandboxing };
    let work = |signals| async {
        let found = base.find_named(&name).await?.ok_or_else(|| RunError::NoImage(image.clone()))?;
        Ok::<_, RunError>(container::run(&found.config, &request, tools, signals).await?)
    };
    let code = signals::passing_on(work, &endings);
    drop(base);
    let _ = progress.join();
    code?.map_err(|error| Report::from(error).of_run())
}

/// What can keep an image from being run.
enum RunError {
    NoImage(String),
    Find(FindError),
    Container(ContainerError),
}

impl From<FindError> for RunError {
    fn from(error: FindError) -> Self {
        Self::Find(error)
    }
}

impl From<ContainerError> for RunError {
    fn from(error: ContainerError) -> Self {
        Self::Container(error)
    }
}

impl From<RunError> for Report {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NoImage(id) => {
                Self::new(Code::ContainerFailed, format!("there is no image {id} in the store"))
            }
            RunError::Find(error) => Self::from(error),
            RunError::Container(error) => Self::from(error),
        }
    }
}

/// What is meant by a text: an image of the store by name or id, else one that a registry may have.
fn name_of(store: &Store, text: &str) -> Result<ImageName, Report> {
    let typed = text.parse::<ImageName>();
    // What is meant mostly, and does not take reading everything that is there.
    match &typed {
        Ok(ImageName::Id(id)) => return Ok(ImageName::Id(*id)),
        Ok(ImageName::Name(name)) if store.tag(name).map_err(Report::from)?.is_some() => {
            return Ok(ImageName::Name(name.clone()));
        }
        Ok(ImageName::Name(_)) | Err(_) => {}
    }
    let catalog = Catalog::read(store).map_err(Report::from)?;
    match catalog.find(text) {
        Ok(Pointed { name: Some(name), .. }) => Ok(ImageName::Name(name)),
        Ok(Pointed { image, name: None }) => Ok(ImageName::Id(image.id)),
        Err(error @ catalog::FindError::Ambiguous { .. }) => Err(Report::from(error)),
        Err(catalog::FindError::Unknown { .. } | catalog::FindError::Name(_)) => typed.map_err(Report::usage),
    }
}

fn variables(given: &[String]) -> BTreeMap<String, String> {
    let value = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), environment::text(text)?)),
    };
    given.iter().filter_map(value).collect()
}
