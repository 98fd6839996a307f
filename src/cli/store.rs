//! `rbuild store`

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::report::{Code, Report};
use super::{Global, behind, environment};
use crate::image::DiffId;
use crate::layer;
use crate::store::{Checked, Depth, Mended, Store, StoreError};

/// Look after the store.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    Check(CheckArgs),
}

/// Prove that the store is whole: that records lead to what is there, and that blobs are what their digests say.
///
/// Builds may go on meanwhile. The exit code is 6 if something is damaged and stays so; what killed processes have left
/// is listed, too, and is no damage.
#[derive(Debug, Args)]
struct CheckArgs {
    /// Remove what is wrong, so that it is made or fetched again, and what was left over.
    #[arg(long)]
    repair: bool,
    /// Do not read the content of blobs.
    #[arg(long, conflicts_with = "deep")]
    quick: bool,
    /// Also pack the snapshots of layers that were made here again, and compare.
    #[arg(long)]
    deep: bool,
    /// How it is said.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Packing goes into directories by recursion, as deep as paths can be long. Only what is used takes memory.
const STACK: usize = 16 << 20;

pub(super) fn main(global: &Global, args: StoreArgs) -> Result<i32, Report> {
    let StoreVerb::Check(args) = args.verb;
    let root = environment::enter_root(global)?;
    let format_was_mended = args.repair && Store::mend_format(&root).map_err(Report::from)?;
    let store = Store::ensure(&root).map_err(|error| {
        let can_mend = matches!(error, StoreError::Foreign { .. });
        let hint = "`rbuild store check --repair` makes the file anew where everything else is a store's";
        Report::from(error).hint((can_mend && !args.repair).then(|| hint.to_owned()))
    })?;
    let work = || check(&store, &args);
    let (mut mended, checked) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| Report::new(Code::Store, format!("cannot start a thread: {error}")))?;
        match thread.join() {
            Ok(result) => result.map_err(Report::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    drop(store);
    if args.repair {
        behind::start(&root, None);
    }
    mended.retain(|mended| mended.done.is_some());
    let text = match args.format {
        Format::Text => text(&checked, &mended, format_was_mended),
        Format::Json => format!("{:#}\n", in_json(&checked, &mended, format_was_mended)),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if checked.is_sound() { 0 } else { Code::Store as i32 })
}

fn check(store: &Store, args: &CheckArgs) -> Result<(Vec<Mended>, Checked), StoreError> {
    let collection = store.collect()?;
    let repack = |directory: &Path, below: &[PathBuf], latest: Option<i64>| -> Result<DiffId, String> {
        let sealed = layer::seal(store, directory, below, None, latest);
        sealed.map(|sealed| sealed.diff_id).map_err(|error| error.to_string())
    };
    let depth = Depth { blobs: !args.quick, repack: args.deep.then_some(&repack) };
    if args.repair {
        store.repair(&collection, &depth)
    } else {
        Ok((Vec::new(), store.check(&collection, &depth)?))
    }
}

fn text(checked: &Checked, mended: &[Mended], format_was_mended: bool) -> String {
    let mut text = String::new();
    if format_was_mended {
        text += "mended:    format: it was not readable\n           made anew\n";
    }
    for Mended { finding, done } in mended {
        let _ = writeln!(text, "mended:    {}: {}", finding.place.display(), finding.problem);
        let _ = writeln!(text, "           {}", done.as_deref().unwrap_or_default());
    }
    for finding in &checked.findings {
        let word = if finding.problem.is_left_over() { "left over:" } else { "damaged:  " };
        let _ = writeln!(text, "{word} {}: {}", finding.place.display(), finding.problem);
    }
    let _ = writeln!(
        text,
        "looked at {} records, {} blobs and {} snapshots",
        checked.records, checked.blobs, checked.snapshots
    );
    if checked.repacked + checked.unproved > 0 {
        let _ = writeln!(
            text,
            "packed {} snapshots again; {} cannot be proved so: they were unpacked, or what lies below them is not here",
            checked.repacked, checked.unproved
        );
    }
    if checked.foreign > 0 {
        let _ = writeln!(
            text,
            "{} snapshots were made under other id maps (by another --isolation, or before the user's ids were changed) and cannot be looked into here",
            checked.foreign
        );
    }
    let (left, damaged) = counts(checked);
    text += &match (damaged, left) {
        (0, 0) => "the store is sound\n".to_owned(),
        (0, _) => format!("the store is sound; {left} left-overs do no harm, and --repair removes them\n"),
        (_, _) if mended.is_empty() => {
            format!("the store is damaged in {damaged} places; --repair mends what can be mended\n")
        }
        (_, _) => format!(
            "the store is still damaged in {damaged} places: processes work with what would have to go\n"
        ),
    };
    text
}

fn counts(checked: &Checked) -> (usize, usize) {
    let left = checked.findings.iter().filter(|finding| finding.problem.is_left_over()).count();
    (left, checked.findings.len() - left)
}

fn in_json(checked: &Checked, mended: &[Mended], format_was_mended: bool) -> Value {
    let finding = |finding: &crate::store::Finding| {
        json!({
            "place": finding.place,
            "problem": finding.problem.to_string(),
            "damage": !finding.problem.is_left_over(),
        })
    };
    let mended = mended.iter().map(|mended| {
        let mut value = finding(&mended.finding);
        value["done"] = json!(mended.done);
        value
    });
    json!({
        "sound": checked.is_sound(),
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
        "mended": mended.collect::<Vec<_>>(),
        "formatMended": format_was_mended,
        "records": checked.records,
        "blobs": checked.blobs,
        "snapshots": checked.snapshots,
        "caches": checked.caches,
        "otherIdMaps": checked.foreign,
        "repacked": checked.repacked,
        "unproved": checked.unproved,
    })
}
