//! `rbuild cache`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::quantity::{Bytes, ago};
use super::report::{Code, Report};
use super::text::{print, table};
use super::{Global, behind, environment};
use crate::export::Pending;
use crate::image::Timestamp;
use crate::layer::{self, LayerError};
use crate::store::{CacheFound, CacheKey, CacheKind, CacheUse, Store};

/// Look after the caches that RUN --mount=type=cache keeps.
///
/// A cache goes by its id, which is its target unless the Dockerfile gives another one. Caches of one id that begin with
/// different things (from, uid, gid, mode) are different caches; then the digits of the key tell them apart.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the caches, the last used first.
    #[command(visible_alias = "du")]
    Ls(ListArgs),
    /// Remove caches that no process works with.
    Rm(RemoveArgs),
    /// Write what is in a cache as a tar.
    Export(ExportArgs),
    /// Let a cache hold what is in a tar, instead of what it held.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How the list is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: sizes in bytes, times in UTC.
    Json,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Ids, or at least four digits of keys.
    #[arg(value_name = "CACHE", required_unless_present = "all")]
    caches: Vec<String>,
    /// Every cache.
    #[arg(short, long, conflicts_with = "caches")]
    all: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Its id, or at least four digits of its key.
    #[arg(value_name = "CACHE")]
    cache: String,
    /// The file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Its id.
    #[arg(value_name = "ID")]
    id: String,
    /// The tar, which may be compressed [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// All digits of its key, for a cache that begins with something, such as an owner of its own.
    #[arg(long, value_name = "DIGITS")]
    key: Option<String>,
}

pub(super) fn main(global: &Global, args: CacheArgs) -> Result<i32, Report> {
    match args.what {
        What::Ls(args) => list(global, &args),
        What::Rm(args) => remove(global, &args),
        What::Export(args) => export(global, &args),
        What::Import(args) => import(global, &args),
    }
}

/// What commands keep: repositories are nobody's but rbuild's own.
fn mounts(store: &Store) -> Result<Vec<CacheFound>, Report> {
    let mut caches = store.list_caches().map_err(Report::from)?;
    caches.retain(|cache| cache.kind() == CacheKind::Mount);
    Ok(caches)
}

fn list(global: &Global, args: &ListArgs) -> Result<i32, Report> {
    let store = environment::enter_store(global)?;
    let mut caches = mounts(&store)?;
    caches.sort_by_key(|cache| std::cmp::Reverse(cache.last_used));
    print(&match args.format {
        Format::Json => format!("{:#}\n", json!(caches.iter().map(in_json).collect::<Vec<_>>())),
        Format::Text => as_text(&caches),
    });
    Ok(0)
}

/// How many digits of a key are shown.
const SHORT: usize = 12;

fn as_text(caches: &[CacheFound]) -> String {
    let now = SystemTime::now();
    let head = ["ID", "KEY", "SIZE", "LAST USED", "IN USE"].map(str::to_owned).to_vec();
    let row = |cache: &CacheFound| {
        let mut id = printable(cache.id());
        if cache.is_given_up() {
            id += " (given up)";
        }
        if cache.foreign {
            id += " (of another id map)";
        }
        vec![
            id,
            cache.digits().get(..SHORT).unwrap_or(cache.digits()).to_owned(),
            cache.size.map_or_else(|| "?".to_owned(), |size| Bytes(size).to_string()),
            ago(now.duration_since(cache.last_used).unwrap_or_default()),
            if cache.in_use { "yes" } else { "no" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(caches.iter().map(row)).collect();
    let words: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    let total: u64 = caches.iter().filter_map(|cache| cache.size).sum();
    let free: u64 = caches.iter().filter(|cache| !cache.in_use).filter_map(|cache| cache.size).sum();
    format!("{}Reclaimable:  {}\nTotal:        {}\n", table(&words), Bytes(free), Bytes(total))
}

fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn in_json(cache: &CacheFound) -> serde_json::Value {
    json!({
        "id": cache.id(),
        "key": cache.digits(),
        "size": cache.size,
        "createdAt": cache.about.as_ref().map(|about| about.created.to_string()),
        "lastUsedAt": utc(cache.last_used).to_string(),
        "inUse": cache.in_use,
        "seeded": cache.about.as_ref().is_some_and(|about| about.seeded),
        "givenUp": cache.is_given_up(),
        "foreign": cache.foreign,
    })
}

fn utc(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Whether somebody means a cache by a word.
fn is_meant(cache: &CacheFound, text: &str) -> bool {
    const LEAST: usize = 4;
    cache.id() == text || (text.len() >= LEAST && cache.digits().starts_with(text))
}

fn none(text: &str) -> Report {
    Report::new(Code::Input, format!("there is no cache {text}"))
        .hint(Some("`rbuild cache ls` lists what is there".to_owned()))
}

fn remove(global: &Global, args: &RemoveArgs) -> Result<i32, Report> {
    let store = environment::enter_store(global)?;
    let collection = store.collect().map_err(Report::from)?;
    let caches = mounts(&store)?;
    let mine: Vec<&CacheFound> = caches.iter().filter(|cache| !cache.foreign).collect();
    let mut chosen: Vec<&CacheFound> = Vec::new();
    if args.all {
        chosen = mine;
    } else {
        for text in &args.caches {
            let meant: Vec<&CacheFound> =
                mine.iter().copied().filter(|cache| is_meant(cache, text)).collect();
            if meant.is_empty() {
                return Err(none(text));
            }
            chosen.extend(meant);
        }
        chosen.sort_by(|one, other| one.name.cmp(&other.name));
        chosen.dedup_by(|one, other| one.name == other.name);
    }
    let removed = collection.remove_caches(&chosen).map_err(Report::from)?;
    drop(collection);
    let (root, left) = (store.root().to_owned(), chosen.len() - removed);
    drop(store);
    behind::start(&root, None);
    print(&format!("removed {removed}\n"));
    if left > 0 {
        return Err(Report::new(Code::Store, format!("{left} more are in use and stay")));
    }
    Ok(0)
}

/// The cache that is meant: of several of one key the last used.
fn find(store: &Store, text: &str) -> Result<CacheFound, Report> {
    let caches = mounts(store)?;
    let is_candidate = |cache: &CacheFound| is_meant(cache, text) && !cache.foreign && !cache.is_given_up();
    let mut meant: Vec<CacheFound> = caches.into_iter().filter(is_candidate).collect();
    meant.sort_by_key(|cache| cache.last_used);
    let last = meant.pop().ok_or_else(|| none(text))?;
    if meant.iter().any(|other| other.digits() != last.digits()) {
        let mut keys: Vec<&str> = meant.iter().chain([&last]).map(CacheFound::digits).collect();
        keys.sort_unstable();
        keys.dedup();
        return Err(Report::usage(format!("{text} means several caches that begin with different things"))
            .hint(Some(format!("name one by its key: {}", keys.join(", ")))));
    }
    Ok(last)
}

fn export(global: &Global, args: &ExportArgs) -> Result<i32, Report> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Report::usage("a tar is nothing for a terminal: add -o FILE, or send it into a pipe"));
    }
    let store = environment::enter_store(global)?;
    let found = find(&store, &args.cache)?;
    let held = store.hold_cache(&found, CacheUse::Shared).map_err(Report::from)?;
    let Some(held) = held else {
        return Err(Report::new(Code::Store, format!("a step works with the cache {} alone", args.cache))
            .hint(Some("try again when that build is over".to_owned())));
    };
    let sockets = match &args.output {
        None => pack(held.data(), io::stdout())?,
        Some(path) => {
            let (pending, file) = Pending::file(path).map_err(Report::from)?;
            let sockets = pack(held.data(), file)?;
            pending.finish().map_err(Report::from)?;
            sockets
        }
    };
    if sockets > 0 {
        let _ = writeln!(io::stderr(), "warning: {sockets} sockets are left out: a tar has none");
    }
    Ok(0)
}

fn pack(data: &Path, to: impl Write) -> Result<u64, Report> {
    let mut to = BufWriter::with_capacity(1 << 20, to);
    let sockets = layer::pack(data, &[], None, &mut to).map_err(Report::from)?;
    to.flush().map_err(|error| Report::new(Code::Store, format!("write the tar: {error}")))?;
    Ok(sockets)
}

fn import(global: &Global, args: &ImportArgs) -> Result<i32, Report> {
    let from: Box<dyn Read> = match &args.file {
        None => Box::new(io::stdin()),
        Some(path) => Box::new(
            File::open(path)
                .map_err(|error| Report::new(Code::Input, format!("{}: {error}", path.display())))?,
        ),
    };
    let (root, _entered) = environment::enter_namespace(global)?;
    let store = Store::ensure(&root).map_err(Report::from)?;
    let key = match &args.key {
        Some(digits) => CacheKey::of_digits(&args.id, digits).ok_or_else(|| {
            Report::usage("--key needs the 32 digits that `rbuild cache ls --format json` shows")
        })?,
        None => key_of(&store, &args.id)?,
    };
    let from = std::cell::RefCell::new(Some(
        layer::decompressed(from)
            .map_err(|error| Report::new(Code::Input, format!("the tar cannot be read: {error}")))?,
    ));
    let made = store.replace_cache::<LayerError>(&key, |data| match from.take() {
        Some(from) => layer::unpack(from, data),
        None => Ok(()),
    });
    made.map_err(Report::from)?;
    print(&format!("imported {}\n", printable(key.id())));
    Ok(0)
}

/// The key of the only cache of an id, or of one that begins with nothing.
fn key_of(store: &Store, id: &str) -> Result<CacheKey, Report> {
    let caches = mounts(store)?;
    let mut digits: Vec<&str> =
        caches.iter().filter(|cache| cache.id() == id).map(CacheFound::digits).collect();
    digits.sort_unstable();
    digits.dedup();
    match digits[..] {
        [] => Ok(CacheKey::new(id, None)),
        [one] => Ok(CacheKey::of_digits(id, one).unwrap_or_else(|| CacheKey::new(id, None))),
        _ => Err(Report::usage(format!("{id} means several caches that begin with different things"))
            .hint(Some(format!("name one with --key: {}", digits.join(", "))))),
    }
}
