//! `rbuild build`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::annotation::{self, Annotation};
use super::caching::{CachingArgs, Explanations};
use super::call::Call;
use super::contexts::{self, BuildContext};
use super::environment::{self, Session};
use super::fields::DEFAULT_PACKING;
use super::given::GivenArgs;
use super::limits::LimitArgs;
use super::network::NamesArgs;
use super::output::{self, Output};
use super::platform::{Wanted, platform};
use super::quantity::Bytes;
use super::registry::{self, CredsArgs, RegistryArgs};
use super::report::Report;
use super::{Global, behind, signals};
use crate::build::{self, BuildError, Built, FoundContext, Request, Tools};
use crate::dockerfile::Dockerfile;
use crate::event;
use crate::exec::Explain;
use crate::export;
use crate::graph::NetworkMode;
use crate::image::{Form, Platform, Reference};
use crate::plan::{self, Anew, EPOCH_ARG, Entitlement, parse_epoch};
use crate::registry::Client;
use crate::sandbox::{NetworkSettings, Sandboxing, Settings};
use crate::store::Store;
use crate::sys::process;
use crate::ui::{self, Style};

/// Build an image from a Dockerfile.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The build context: the directory that COPY takes files from, an http(s) address, a git repository, or - for standard
    /// input.
    ///
    /// At an address or on standard input an archive (tar, also with gzip, bzip2, xz or zstd) is the context; what is none is a
    /// Dockerfile, and the context is empty. A repository is an address that ends with .git, git://…, ssh://… or user@HOST:PATH;
    /// behind it may stand #REF and :DIRECTORY.
    #[arg(value_name = "PATH | URL | -")]
    context: PathBuf,
    /// The Dockerfile: a path, an http(s) address, or - for standard input [default: Dockerfile in the context]
    ///
    /// A relative path is one in the context if that is an archive or a repository. A pipe or a device, such as of
    /// -f <(generate), is read once, to its end.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A further context, for FROM, --from and mounts; may be given several times.
    ///
    /// It stands for the image of that name, and for a stage that has it. VALUE is a directory, docker-image://NAME,
    /// oci-layout://DIRECTORY[:TAG][@DIGEST], or the address of an archive or a git repository.
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    contexts: Vec<BuildContext>,
    /// A name for the image; may be given several times.
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<Reference>,
    /// Push the image under each of its names.
    #[arg(long)]
    push: bool,
    /// Where the result goes besides the store; may be given several times.
    ///
    /// type=image or registry: name, push. type=oci or docker: an archive of the image in dest (- for standard output),
    /// or a directory with tar=false; name. All of these: compression (gzip, zstd, uncompressed), compression-level,
    /// force-compression, oci-mediatypes, rewrite-timestamp. type=local: the files of the result in the directory dest;
    /// DIR alone is the same. type=tar: the same files as one tar in dest; - alone sends it to standard output.
    #[arg(short, long = "output", value_name = "type=TYPE[,KEY=VALUE...]")]
    outputs: Vec<Output>,
    /// Ask the registries for base images, even for those that are in the store.
    #[arg(long)]
    pull: bool,
    /// Build this stage, given by name or number, and what it needs.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// The value of an ARG; without =VALUE it is taken from the environment.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// A label for the image, over those of the Dockerfile.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Something to be noted of the image in its manifest; may be given several times.
    ///
    /// LEVEL is manifest or manifest-descriptor (the entry in the index of a layout), with [OS/ARCH] behind it if wanted.
    #[arg(long = "annotation", value_name = "[LEVEL[,LEVEL...]:]NAME=VALUE")]
    annotations: Vec<Annotation>,
    /// Let steps ask for this: network.host (RUN --network=host), security.insecure (RUN --security=insecure), device or
    /// device=NAME (RUN --device).
    #[arg(long, value_name = "ENTITLEMENT")]
    allow: Vec<Entitlement>,
    /// The platform to build for [default: $DOCKER_DEFAULT_PLATFORM, else local, which is this machine's].
    ///
    /// Base images are chosen by it, and the image says that it is of it. RUN needs this machine's own, or an interpreter
    /// that the kernel knows of.
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Wanted>,
    /// The network of RUN steps that do not name one themselves; `host` also lets steps of the Dockerfile ask for it.
    #[arg(long, value_name = "MODE", default_value = "default")]
    network: Network,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    names: NamesArgs,
    /// Check the Dockerfile and build nothing; short for --call=check.
    #[arg(long, conflicts_with = "call")]
    check: bool,
    /// What to do instead of building: check, outline or targets, each with ,format=json if wanted.
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: Call,
    /// Print what becomes of the Dockerfile instead of building.
    #[arg(long, value_name = "FORM", conflicts_with_all = ["check", "call"])]
    dump: Option<Dump>,
    /// Keep the store below this size: behind the build, what was least recently used and no name keeps is removed
    /// [default: $RBUILD_MAX_USED_SPACE, else no limit]
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<Bytes>,
    /// How many steps run at the same time [default: one for each core and each 512 MiB of memory, at least 2 if there is
    /// memory for them]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    caching: CachingArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    creds: CredsArgs,
    /// How progress is shown, on standard error.
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    progress: ProgressStyle,
    /// Show no progress; print the digest of the image, after --push that of its manifest.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressStyle {
    /// What suits standard error; for now, always plain.
    Auto,
    /// Numbered lines.
    Plain,
    /// Nothing.
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// A private network that reaches out, but not to this machine's loopback.
    Default,
    /// Nothing but loopback.
    None,
    /// This machine's.
    Host,
}

impl From<Network> for NetworkMode {
    fn from(network: Network) -> Self {
        match network {
            Network::Default => Self::Default,
            Network::None => Self::None,
            Network::Host => Self::Host,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dump {
    /// The typed instructions, unexpanded.
    Ast,
    /// The stages that are built, the config and the history.
    Plan,
    /// The operations.
    Graph,
    /// What the steps are known by.
    Keys,
}

pub(super) fn main(global: &Global, args: BuildArgs) -> Result<i32, Report> {
    let style = if args.quiet || args.progress == ProgressStyle::Quiet { Style::Quiet } else { Style::Plain };
    let quiet = args.quiet;
    let dump = args.dump;
    let call = if args.check { Call::check() } else { args.call };
    let limits = args.limits.limits()?;
    let (from_registries, creds) = (args.registry.clone(), args.creds.clone());
    let max_used_space =
        args.max_used_space.map_or_else(environment::max_used_space, |limit| Ok(Some(limit)))?;
    let (explain, explanations) = args.caching.explain();
    let insecure: Vec<String> = args.caching.insecure().into_iter().map(str::to_owned).collect();
    let (mut request, network) = request(args, explain)?;
    // What needs nothing but a text that is at hand happens here, without any isolation.
    let only_reads = !call.is_build() || dump == Some(Dump::Ast);
    if only_reads && build::is_at_hand(&request) {
        let read = signals::on_this_thread(build::read(&request, None));
        return answer(call, &request, read.unwrap_or(Err(BuildError::NotHere)));
    }
    let mut registries = registry::settings(global, &from_registries)?;
    creds.add_to(&mut registries, &request.tags)?;
    insecure.iter().for_each(|registry| registries.registries.allow_insecure(registry));
    if dump.is_none()
        && let Some(built) = built_before(global, &request, &registries, style)
    {
        print_result(&request, &built, quiet);
        return Ok(0);
    }
    // Before the first thread: only then can the process move into a namespace.
    let Session { store, entered, settings: registries } = environment::enter(global, registries)?;
    let settings = Settings { limits, network, layering: global.layering };
    let sandboxing = Arc::new(Sandboxing::new(entered, settings)?);
    let (events, receiver) = event::channel();
    let progress = ui::show(receiver, style, std::io::stderr());
    let client = Client::new(registries, events.clone());
    let endings = sandboxing.endings.clone();
    let tools = Tools { store, client, events, sandboxing };
    if only_reads {
        let read = signals::until_interrupted(build::read(&request, Some(&tools)), &endings);
        drop(tools);
        let _ = progress.join();
        return answer(call, &request, read?);
    }
    if let Some(dump) = dump {
        let dumped = async {
            Ok(match dump {
                Dump::Keys => build::keys(&request, &tools).await?,
                Dump::Graph => build::plan(&request, &tools).await?.graph.to_string(),
                Dump::Plan | Dump::Ast => build::plan(&request, &tools).await?.to_string(),
            })
        };
        let dumped = signals::until_interrupted(dumped, &endings);
        drop(tools);
        let _ = progress.join();
        return Ok(print(&dumped?.map_err(|error: BuildError| Report::from(error))?));
    }
    let store = Arc::clone(&tools.store);
    let built = signals::until_interrupted(build::build(&request, tools), &endings);
    if !matches!(built, Ok(Ok(_))) {
        environment::wait_for_the_rest(&store);
    }
    keep_within(max_used_space, store);
    // The senders are gone: what is still to be shown is shown now, before any error. After an interrupt a reader that
    // does not read is no reason to stay: the default action of a further signal ends the process.
    let _ = progress.join();
    // It keeps the channels of explanations open.
    request.explain = None;
    explanations.into_iter().for_each(Explanations::print);
    let built = built?.map_err(Report::from)?;
    print_result(&request, &built, quiet);
    Ok(0)
}

/// What is said about a Dockerfile without planning it.
fn answer(
    call: Call,
    request: &Request,
    read: Result<(Dockerfile, FoundContext), BuildError>,
) -> Result<i32, Report> {
    if call.is_build() {
        let (file, _) = read.map_err(Report::from)?;
        return Ok(print(&file.dump()));
    }
    call.main(request, read)
}

/// The result of a build of which nothing has to be made, told without a namespace. Whatever else there is to be said is left
/// to a build that is begun as any other.
fn built_before(
    global: &Global,
    request: &Request,
    registries: &crate::registry::Settings,
    style: Style,
) -> Option<Built> {
    let has_more_to_do =
        request.push || request.pull || !request.cache_to.is_empty() || !request.outputs.is_empty();
    if has_more_to_do || !build::is_at_hand(request) || request.wanted.anew == Anew::Everything {
        return None;
    }
    let store = environment::foresee(global)?;
    let (events, receiver) = event::channel();
    let client = Client::new(registries.clone(), events.clone());
    let built = signals::on_this_thread(build::build_known(request, &store, &client, &events));
    drop((events, client, store));
    let built = built?.ok().flatten()?;
    let _ = ui::show(receiver, style, std::io::stderr()).join();
    Some(built)
}

/// Starts what keeps the store within its limit, unless this build has added nothing.
fn keep_within(limit: Option<Bytes>, store: Arc<Store>) {
    let (root, has_grown) = (store.root().to_owned(), store.has_written());
    // What this build has pinned may be looked at like anything else.
    drop(store);
    if limit.is_some_and(|limit| limit.0 > 0) && has_grown {
        behind::start(&root, limit);
    }
}

/// What is to be built, and which machines its steps know.
fn request(args: BuildArgs, explain: Option<Explain>) -> Result<(Request, NetworkSettings), Report> {
    let builds = args.call.is_build() && !args.check;
    let given = platform(args.platform, builds)?;
    let (is_platform_given, platform) = (given.is_some(), given.unwrap_or_else(Platform::host));
    let (mut tags, mut push) = (args.tags, args.push);
    let (mut packing, mut form, mut rewrite_timestamps) = (DEFAULT_PACKING, Form::Oci, false);
    if builds {
        output::check(&args.outputs)?;
    }
    let mut has_image = false;
    for output in &args.outputs {
        match output {
            Output::Image(_) if has_image => {
                return Err(Report::usage(
                    "one output of type=image or registry is enough: name takes several names",
                ));
            }
            Output::Image(image) => {
                has_image = true;
                push |= image.push;
                packing = image.packing;
                form = image.form;
                rewrite_timestamps |= image.rewrite_timestamps;
                tags.extend_from_slice(&image.names);
            }
            // It changes the image, of which there is one.
            Output::File(file) => rewrite_timestamps |= file.rewrite_timestamps,
            Output::Directory(_) | Output::Tar(_) => {}
        }
    }
    if push && tags.is_empty() {
        return Err(Report::usage("an image is pushed under its names: give it one with --tag"));
    }
    if let Some(name) = tags.iter().find(|name| name.digest.is_some()) {
        return Err(Report::usage(format!("a tag cannot contain a digest: {name}")));
    }
    let extra_hosts = args.names.extra_names();
    let mut entitlements: BTreeSet<Entitlement> = args.allow.into_iter().collect();
    // As with buildx, who gives it to every step allows it to those that ask for it.
    if args.network == Network::Host {
        entitlements.insert(Entitlement::NetworkHost);
    }
    let annotations = annotation::together(args.annotations, &platform).map_err(Report::usage)?;
    if !annotations.is_empty()
        && (form == Form::Docker || args.outputs.iter().any(Output::is_in_dockers_form))
    {
        let hint = "add oci-mediatypes=true to the output".to_owned();
        return Err(Report::usage("docker's media types have no annotations").hint(Some(hint)));
    }
    let outputs = output::places(args.outputs, &tags)?;
    let (context, dockerfile) = contexts::main_source(&args.context, args.file)?;
    let contexts = contexts::named(args.contexts)?;
    let kinds = contexts.iter().map(|(name, source)| (name.clone(), source.kind())).collect();
    let wanted = plan::Request {
        build_args: build_args(&args.build_args)?,
        target: args.target,
        platform,
        is_platform_given,
        build_platform: Platform::host(),
        labels: args.labels.iter().map(|label| name_and_value(label)).collect(),
        entitlements,
        contexts: kinds,
        ulimits: args.limits.ulimits(),
        network: args.network.into(),
        extra_hosts,
        anew: args.caching.anew(),
    };
    wanted.check_hostname().map_err(Report::usage)?;
    let request = Request {
        context,
        dockerfile,
        contexts,
        tags,
        push,
        packing,
        annotations,
        outputs,
        form,
        rewrite_timestamps,
        pull: args.pull,
        given: args.given.given()?,
        jobs: args.jobs.map_or_else(jobs, usize::from),
        explain,
        cache_to: args.caching.targets(wanted.wants_inline_cache()),
        cache_from: args.caching.cache_from,
        wanted,
    };
    Ok((request, args.names.settings()))
}

/// As many steps at a time as have a core and some memory each.
fn jobs() -> usize {
    const MEMORY: u64 = 512 << 20;
    let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let room = usize::try_from(process::memory() / MEMORY).unwrap_or(usize::MAX).max(1);
    cores.min(room)
}

/// Prints a result; the exit code is that of success.
fn print(text: &str) -> i32 {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// Those given, and the one that the environment gives by itself.
fn build_args(given: &[String]) -> Result<BTreeMap<String, String>, Report> {
    let value = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), environment::text(text)?)),
    };
    let mut args: BTreeMap<_, _> = given.iter().filter_map(value).collect();
    if let Some(epoch) = environment::text(EPOCH_ARG) {
        args.entry(EPOCH_ARG.to_owned()).or_insert(epoch);
    }
    args.get(EPOCH_ARG).map(|epoch| parse_epoch(epoch)).transpose().map_err(Report::usage)?;
    Ok(args)
}

fn name_and_value(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Quiet: only the digest, for scripts. Otherwise a word to the person, beside the progress. Where an archive goes to standard
/// output there is nothing else in it.
fn print_result(request: &Request, built: &Built, quiet: bool) {
    let digest = built.pushed.map_or_else(|| built.image.to_string(), |digest| digest.to_string());
    if quiet {
        let is_taken = request.outputs.iter().any(export::Output::is_stream);
        let _ = match is_taken {
            true => writeln!(std::io::stderr(), "{digest}"),
            false => writeln!(std::io::stdout(), "{digest}"),
        };
        return;
    }
    let mut text = format!("image {}\n", built.image);
    for tag in &request.tags {
        let how = if request.push { "pushed" } else { "tagged" };
        text.push_str(&format!("{how} {}\n", tag.familiar()));
    }
    if let Some(manifest) = built.pushed {
        text.push_str(&format!("manifest {manifest}\n"));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
