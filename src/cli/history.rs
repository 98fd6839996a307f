//! `rbuild history`

use clap::Args;
use serde_json::json;

use super::images::Format;
use super::report::Report;
use super::text::{point_in_time, print, since, size, table};
use super::{Global, environment, inspect};
use crate::catalog::Catalog;
use crate::image::{HistoryEntry, Timestamp};

/// Show how an image was made: its instructions, the latest first, and what each has added.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Show instructions and the id in full.
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids: that of the image, and <missing> for each instruction before.
    #[arg(short, long)]
    quiet: bool,
    /// How it is printed; json is one object for each line of the table.
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with = "quiet")]
    format: Format,
    /// A name, an id, or the beginning of an id.
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// How much of an instruction a table shows.
const LONGEST: usize = 45;

pub(super) fn main(global: &Global, args: HistoryArgs) -> Result<i32, Report> {
    let store = environment::open(global)?;
    let catalog = Catalog::read(&store).map_err(Report::from)?;
    let image = catalog.find(&args.image).map_err(Report::from)?.image;
    let known = inspect::known(&store, image)?;
    let mut layers = known.layers.iter();
    let mut sized: Vec<(&HistoryEntry, u64)> = Vec::new();
    for entry in &known.config.history {
        let bytes = if entry.empty_layer { 0 } else { layers.next().copied().unwrap_or(0) };
        sized.push((entry, bytes));
    }
    let id = if args.no_trunc { image.id.to_string() } else { image.id.0.short() };
    let now = Timestamp::now();
    let lines: Vec<Line> = sized
        .into_iter()
        .rev()
        .enumerate()
        .map(|(index, (entry, bytes))| Line {
            id: if index == 0 { id.clone() } else { "<missing>".to_owned() },
            created_at: point_in_time(entry.created),
            created_since: since(entry.created, now),
            by: shown(entry.created_by.as_deref().unwrap_or_default(), args.no_trunc),
            size: size(bytes),
            comment: entry.comment.clone().unwrap_or_default(),
        })
        .collect();
    print(&match args.format {
        Format::Table if args.quiet => lines.iter().map(|line| format!("{}\n", line.id)).collect(),
        Format::Table => as_table(&lines),
        Format::Json => lines.iter().map(|line| line.json() + "\n").collect(),
    });
    Ok(0)
}

struct Line {
    id: String,
    created_at: String,
    created_since: String,
    by: String,
    size: String,
    comment: String,
}

impl Line {
    /// With docker's names for the fields.
    fn json(&self) -> String {
        json!({
            "Comment": self.comment,
            "CreatedAt": self.created_at,
            "CreatedBy": self.by,
            "CreatedSince": self.created_since,
            "ID": self.id,
            "Size": self.size,
        })
        .to_string()
    }
}

/// On one line, and not too much of it.
fn shown(instruction: &str, in_full: bool) -> String {
    if in_full {
        return instruction.to_owned();
    }
    let line = instruction.replace(['\t', '\n'], " ");
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some(_) => line.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

fn as_table(lines: &[Line]) -> String {
    let mut rows = vec![vec!["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]];
    rows.extend(
        lines.iter().map(|line| vec![&*line.id, &line.created_since, &line.by, &line.size, &line.comment]),
    );
    table(&rows)
}
