//! Plans as text, for `--dump plan` and for tests.

use std::fmt;

use super::Plan;

impl fmt::Display for Plan {
    /// The stages that are built, the config of the result, and what it adds to the base's history.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "stages")?;
        for stage in &self.stages {
            let vertex = stage
                .vertex
                .map_or_else(|| "no files".to_owned(), |vertex| format!("vertex {}", vertex.index()));
            let target = if stage.is_target { ", the target" } else { "" };
            writeln!(out, "    {} {}: {vertex}{target}", stage.index, stage.name)?;
        }
        let config = serde_json::to_string_pretty(&self.config).map_err(|_| fmt::Error)?;
        writeln!(out, "config\n{config}\nhistory")?;
        for item in &self.history {
            let layer = item.layer.map_or_else(|| "-".to_owned(), |vertex| vertex.index().to_string());
            let text = item.entry.created_by.as_deref().unwrap_or_default();
            writeln!(out, "    {layer:>2} {}", text.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}
