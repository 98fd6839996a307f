//! `rbuild images`

use clap::{Args, ValueEnum};
use serde_json::json;

use super::report::Report;
use super::text::{point_in_time, print, since, size, table};
use super::{Global, environment};
use crate::catalog::{self, Catalog, Filter, Row};
use crate::image::Timestamp;

/// List the images of the store, the newest first.
///
/// The size is that of an image's layers, unpacked; layers that nothing has looked into yet count as large as they are
/// compressed. Layers that images share count for each.
#[derive(Debug, Args)]
pub(super) struct ImagesArgs {
    /// Only images of this name, with a tag or without; `*` stands for anything but a slash.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Every image. No intermediate images are kept, so that this is what is listed anyhow.
    #[arg(short, long)]
    all: bool,
    /// Only the ids, each once.
    #[arg(short, long)]
    quiet: bool,
    /// Show ids in full.
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests that registries have the images under.
    #[arg(long)]
    digests: bool,
    /// Only some images: reference=PATTERN, dangling=true|false, before=IMAGE, since=IMAGE, label=NAME[=VALUE]; may be
    /// given several times.
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<Filter>,
    /// How the list is printed; json is one object for each line of the table.
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with = "quiet")]
    format: Format,
}

/// Templates are not supported: json says everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

const NONE: &str = "<none>";

pub(super) fn main(global: &Global, args: ImagesArgs) -> Result<i32, Report> {
    let mut filters = args.filters;
    if let Some(name) = &args.name {
        filters.push(format!("reference={name}").parse().map_err(Report::usage)?);
    }
    let store = environment::open(global)?;
    let catalog = Catalog::read(&store).map_err(Report::from)?;
    let rows = catalog::list(&store, &catalog, &filters).map_err(Report::from)?;
    let lines: Vec<Line> = rows.iter().map(|row| Line::of(row, args.no_trunc)).collect();
    print(&match args.format {
        Format::Table if args.quiet => ids(&lines),
        Format::Table => as_table(&lines, args.digests),
        Format::Json => lines.iter().map(|line| line.json() + "\n").collect(),
    });
    Ok(0)
}

/// A row as text.
struct Line {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    created_at: String,
    created_since: String,
    size: String,
}

impl Line {
    fn of(row: &Row, in_full: bool) -> Self {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
        Self {
            repository: or_none(row.repository.clone()),
            tag: or_none(row.tag.clone()),
            digest: or_none(row.digest.map(|digest| digest.to_string())),
            id: if in_full { row.id.to_string() } else { row.id.0.short() },
            created_at: point_in_time(row.created),
            created_since: since(row.created, Timestamp::now()),
            size: size(row.size),
        }
    }

    /// With docker's names for the fields.
    fn json(&self) -> String {
        json!({
            "Containers": "N/A",
            "CreatedAt": self.created_at,
            "CreatedSince": self.created_since,
            "Digest": self.digest,
            "ID": self.id,
            "Repository": self.repository,
            "SharedSize": "N/A",
            "Size": self.size,
            "Tag": self.tag,
            "UniqueSize": "N/A",
        })
        .to_string()
    }
}

fn ids(lines: &[Line]) -> String {
    let mut ids: Vec<&str> = lines.iter().map(|line| &*line.id).collect();
    // Rows of one image stand together.
    ids.dedup();
    ids.iter().map(|id| format!("{id}\n")).collect()
}

fn as_table(lines: &[Line], with_digests: bool) -> String {
    let mut rows = vec![vec!["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]];
    rows.extend(lines.iter().map(|line| {
        vec![&*line.repository, &line.tag, &line.digest, &line.id, &line.created_since, &line.size]
    }));
    if !with_digests {
        for row in &mut rows {
            row.remove(2);
        }
    }
    table(&rows)
}
