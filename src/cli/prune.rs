//! `rbuild prune`

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::SystemTime;

use clap::Args;

use super::du::{self, Condition};
use super::quantity::{Bytes, Span};
use super::report::{Code, Report};
use super::{Global, behind, environment};
use crate::store::{Limits, PruneRequest, Removed, choose};

/// Remove what is not needed any more, the least recently used first.
///
/// Images with a name stay, with everything that they need, and so does what a process works with. Results of steps that
/// no image needs go, and caches of RUN --mount=type=cache; so do images without a name that were not used for a day, with --all also those that were. What is
/// removed is made or fetched again when a build needs it. The command is over before the space is free: that is done
/// behind it.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Also images without a name, and digests of contexts' files, that were used within the last day.
    #[arg(short, long)]
    all: bool,
    /// Which items: id=ID, type=regular|layer|image|blob|exec.cachemount|source.git.checkout|source.local, unused-for=DURATION, shared, private;
    /// several, also separated by commas, have to hold together.
    #[arg(long = "filter", value_name = "FILTER", value_delimiter = ',')]
    filters: Vec<Condition>,
    /// So much may stay, whatever the other limits say.
    #[arg(long, visible_alias = "keep-storage", value_name = "SIZE")]
    reserved_space: Option<Bytes>,
    /// Remove until the store takes no more than this.
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<Bytes>,
    /// Remove until the file system has so much free.
    #[arg(long, value_name = "SIZE")]
    min_free_space: Option<Bytes>,
    /// Only what was not used for so long, such as 24h or 7d.
    #[arg(long, value_name = "DURATION")]
    keep_duration: Option<Span>,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn main(global: &Global, args: PruneArgs) -> Result<i32, Report> {
    if !args.force && !args.dry_run && !is_agreed(args.all)? {
        print("nothing was removed\n");
        return Ok(0);
    }
    let store = environment::enter_store(global)?;
    let collection = store.collect().map_err(Report::from)?;
    let inventory = collection.inventory().map_err(Report::from)?;
    let free = store.free_space().map_err(Report::from)?;
    let now = SystemTime::now();
    let choice = choose(&inventory, &request(&args), now, free);
    let removed = if args.dry_run {
        let bytes = choice.iter().filter_map(|index| inventory.items[*index].size).sum();
        Removed { items: choice, bytes, spared: 0 }
    } else {
        collection.remove(&inventory, &choice).map_err(Report::from)?
    };
    drop(collection);
    let root = store.root().to_owned();
    drop(store);
    if !args.dry_run {
        behind::start(&root, None);
    }
    let mut text = String::new();
    if !removed.items.is_empty() {
        text += &du::table(&inventory, &removed.items, now);
    }
    if removed.spared > 0 {
        text += &format!("{} more are in use by now and stay\n", removed.spared);
    }
    let name = if args.dry_run { "Would free:" } else { "Total:" };
    text += &format!("{name:<14}{}\n", Bytes(removed.bytes));
    print(&text);
    Ok(0)
}

fn request(args: &PruneArgs) -> PruneRequest {
    let mut filter = du::filter(&args.filters);
    filter.unused_for = filter.unused_for.max(args.keep_duration.map(|span| span.0));
    let limit = |limit: Option<Bytes>| limit.map(|bytes| bytes.0);
    let limits = Limits {
        reserved: limit(args.reserved_space),
        max_used: limit(args.max_used_space),
        min_free: limit(args.min_free_space),
    };
    PruneRequest { filter, all: args.all, limits }
}

/// Asks whoever sits at the terminal.
fn is_agreed(all: bool) -> Result<bool, Report> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Report::new(Code::Usage, "there is no terminal to ask whether to remove anything")
            .hint(Some("--force removes without asking, --dry-run says what would be removed".to_owned())));
    }
    let nameless = if all { "all images" } else { "images that were not used for a day" };
    let question = format!(
        "This removes {nameless} without a name, and the results of all steps that no image needs, and caches of steps.\nGo on? [y/N] "
    );
    let _ = std::io::stderr().write_all(question.as_bytes());
    let mut answer = String::new();
    // No answer is a no.
    let _ = input.lock().read_line(&mut answer);
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
