//! Which stage is built.

use crate::dockerfile::{Diagnostic, Dockerfile, nearest};

/// The stage that `--target` means by name or number; the last one if it says nothing.
pub(super) fn find(file: &Dockerfile, target: Option<&str>) -> Result<usize, Diagnostic> {
    let last = file.stages.len() - 1;
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(last) };
    if let Some(index) = by_name(file, target, file.stages.len()) {
        return Ok(index);
    }
    if let Some(index) = target.parse().ok().filter(|index| *index <= last) {
        return Ok(index);
    }
    let names: Vec<String> = file.stages.iter().filter_map(|stage| stage.from.node.stage_name()).collect();
    let near = nearest(&target.to_lowercase(), names.iter().map(String::as_str));
    let near_text = near.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
    let error = Diagnostic::new(
        format!("target stage {target:?} could not be found{near_text}"),
        file.stages[last].from.span,
    );
    Err(if near.is_none() && !names.is_empty() {
        error.hint(format!("the stages are {}", names.join(", ")))
    } else {
        error
    })
}

/// The latest stage before `end` that has a name. Names are equal whatever their case.
pub(super) fn by_name(file: &Dockerfile, name: &str, end: usize) -> Option<usize> {
    let name = name.to_lowercase();
    file.stages[..end]
        .iter()
        .rposition(|stage| stage.from.node.stage_name().is_some_and(|known| known == name))
}
