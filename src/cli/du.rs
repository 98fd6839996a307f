//! `rbuild du`

use std::fmt::Write as _;
use std::io::Write as _;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::quantity::{Bytes, Span, ago};
use super::report::Report;
use super::{Global, environment};
use crate::image::Timestamp;
use crate::store::{Filter, Inventory, Kind};

/// Say what the store takes on disk, and how much of that could be had back.
///
/// A snapshot is what a step has made, with its compressed form; an image is its config and manifest, and its layers are
/// snapshots or layers of their own; an exec.cachemount is what RUN --mount=type=cache keeps, a source.git.checkout a repository. Reclaimable is what no image with a name needs and no process works with.
#[derive(Debug, Args)]
pub(super) struct DuArgs {
    /// Everything that is known of each item.
    #[arg(long)]
    verbose: bool,
    /// Which items: id=ID, type=regular|layer|image|blob|exec.cachemount|source.git.checkout|source.local, unused-for=DURATION, inuse, shared,
    /// private; several, also separated by commas, have to hold together.
    #[arg(long = "filter", value_name = "FILTER", value_delimiter = ',')]
    filters: Vec<Condition>,
    /// How it is said.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs: sizes in bytes, times in UTC.
    Json,
}

/// One thing that an item has to be.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Id(String),
    Kind(Kind),
    UnusedFor(Span),
    InUse(bool),
    Shared(bool),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.strip_prefix('=').unwrap_or(value))),
            None => (text, None),
        };
        let is_so = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{name} is true or false, not {other:?}")),
        };
        match (name, value) {
            ("id", Some(id)) => Ok(Self::Id(id.strip_prefix("sha256:").unwrap_or(id).to_owned())),
            ("type", Some(kind)) => {
                Kind::ALL.into_iter().find(|known| known.name() == kind).map(Self::Kind).ok_or_else(|| {
                    format!("there is no type {kind:?}: regular, layer, image, blob, exec.cachemount, source.git.checkout and source.local are")
                })
            }
            ("unused-for" | "until", Some(duration)) => Ok(Self::UnusedFor(duration.parse()?)),
            ("inuse", _) => Ok(Self::InUse(is_so()?)),
            ("shared", _) => Ok(Self::Shared(is_so()?)),
            ("private", _) => Ok(Self::Shared(!is_so()?)),
            ("id" | "type" | "unused-for" | "until", None) => Err(format!("{name} needs a value: {name}=…")),
            _ => Err(format!(
                "there is no filter {name:?}: id, type, unused-for, until, inuse, shared and private are"
            )),
        }
    }
}

pub(super) fn filter(conditions: &[Condition]) -> Filter {
    let mut filter = Filter::default();
    for condition in conditions {
        match condition {
            Condition::Id(id) => filter.ids.push(id.clone()),
            Condition::Kind(kind) => filter.kinds.push(*kind),
            Condition::UnusedFor(span) => filter.unused_for = filter.unused_for.max(Some(span.0)),
            Condition::InUse(wanted) => filter.in_use = Some(*wanted),
            Condition::Shared(wanted) => filter.shared = Some(*wanted),
        }
    }
    filter
}

pub(super) fn main(global: &Global, args: DuArgs) -> Result<i32, Report> {
    let store = environment::enter_store(global)?;
    let inventory = store.inventory().map_err(Report::from)?;
    let now = SystemTime::now();
    let filter = filter(&args.filters);
    let matching = |index: &usize| filter.matches(&inventory.items[*index], now);
    let mut shown: Vec<usize> = (0..inventory.items.len()).filter(matching).collect();
    shown.sort_by_key(|index| std::cmp::Reverse(inventory.items[*index].last_used));
    let text = match args.format {
        Format::Json => format!("{:#}\n", in_json(&inventory, &shown)),
        Format::Table if args.verbose => verbose(&inventory, &shown) + &totals(&inventory, &shown),
        Format::Table => table(&inventory, &shown, now) + &totals(&inventory, &shown),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}

/// How long an id is shown.
const SHORT: usize = 12;

/// The columns that docker's `du` has, and what an item is.
pub(super) fn table(inventory: &Inventory, shown: &[usize], now: SystemTime) -> String {
    let kinds = shown.iter().map(|index| inventory.items[*index].kind.name().len());
    let width = kinds.max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<SHORT$}  {:<11}  {:<9}  {:<22}  {:<width$}  DESCRIPTION\n",
        "ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", "TYPE"
    );
    for index in shown {
        let item = &inventory.items[*index];
        let line = format!(
            "{:<SHORT$}  {:<11}  {:<9}  {:<22}  {:<width$}  {}",
            item.id.get(..SHORT).unwrap_or(&item.id),
            inventory.is_reclaimable(*index),
            size(item.size),
            ago(now.duration_since(item.last_used).unwrap_or_default()),
            item.kind.name(),
            note(inventory, *index),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The description in one line, and why an item is not what it might be.
fn note(inventory: &Inventory, index: usize) -> String {
    const LONGEST: usize = 80;
    let item = &inventory.items[index];
    let mut note: String =
        item.description.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if note.chars().count() > LONGEST {
        note = note.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    let words = [(item.in_use, "in use"), (item.foreign, "of another id map")];
    for (_, word) in words.iter().filter(|(holds, _)| *holds) {
        note = format!("({word}) {note}");
    }
    note
}

fn size(size: Option<u64>) -> String {
    size.map_or_else(|| "?".to_owned(), |size| Bytes(size).to_string())
}

fn verbose(inventory: &Inventory, shown: &[usize]) -> String {
    let mut text = String::new();
    for index in shown {
        let item = &inventory.items[*index];
        let parent = item.parent.map(|parent| inventory.items[parent].id.clone()).unwrap_or_default();
        let rows = [
            ("ID:", item.id.clone()),
            ("Parent:", parent),
            ("Created at:", item.created.map(|time| time.to_string()).unwrap_or_default()),
            ("Reclaimable:", inventory.is_reclaimable(*index).to_string()),
            ("In use:", item.in_use.to_string()),
            ("Shared:", (!item.needed_by.is_empty()).to_string()),
            ("Size:", size(item.size)),
            ("Description:", note(inventory, *index)),
            ("Last used:", utc(item.last_used).to_string()),
            ("Type:", item.kind.name().to_owned()),
        ];
        for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(text, "{name:<14}{value}");
        }
        text.push('\n');
    }
    text
}

struct Totals {
    /// What images need.
    shared: u64,
    private: u64,
    reclaimable: u64,
    /// How many cannot be looked into here.
    unknown: usize,
}

impl Totals {
    fn of(inventory: &Inventory, shown: &[usize]) -> Self {
        let mut totals = Self { shared: 0, private: 0, reclaimable: 0, unknown: 0 };
        for index in shown {
            let item = &inventory.items[*index];
            let size = item.size.unwrap_or(0);
            totals.unknown += usize::from(item.size.is_none());
            *(if item.needed_by.is_empty() { &mut totals.private } else { &mut totals.shared }) += size;
            if inventory.is_reclaimable(*index) {
                totals.reclaimable += size;
            }
        }
        totals
    }
}

fn totals(inventory: &Inventory, shown: &[usize]) -> String {
    let totals = Totals::of(inventory, shown);
    let mut text = String::new();
    let sum = totals.shared + totals.private;
    let rows = [
        ("Shared:", totals.shared),
        ("Private:", totals.private),
        ("Reclaimable:", totals.reclaimable),
        ("Total:", sum),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<14}{}", Bytes(value));
    }
    if totals.unknown > 0 {
        let _ = writeln!(
            text,
            "{} snapshots were made under other id maps (by another --isolation, or before the user's ids were changed) and cannot be measured or removed here",
            totals.unknown
        );
    }
    text
}

fn in_json(inventory: &Inventory, shown: &[usize]) -> Value {
    let item = |index: &usize| {
        let item = &inventory.items[*index];
        json!({
            "id": item.id,
            "type": item.kind.name(),
            "description": item.description,
            "tags": item.tags,
            "parent": item.parent.map(|parent| &inventory.items[parent].id),
            "size": item.size,
            "createdAt": item.created.map(|time| time.to_string()),
            "lastUsedAt": utc(item.last_used).to_string(),
            "inUse": item.in_use,
            "shared": !item.needed_by.is_empty(),
            "reclaimable": inventory.is_reclaimable(*index),
            "foreign": item.foreign,
        })
    };
    let totals = Totals::of(inventory, shown);
    json!({
        "items": shown.iter().map(item).collect::<Vec<_>>(),
        "shared": totals.shared,
        "private": totals.private,
        "reclaimable": totals.reclaimable,
        "total": totals.shared + totals.private,
    })
}

fn utc(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
