//! Rules about FROM.

use super::key::Casing;
use super::{Findings, Rule, definition};
use crate::dockerfile::{Stage, expand};

pub(super) fn stages(stages: &[Stage], escape: char, findings: &mut Findings) {
    let mut names = std::collections::HashSet::new();
    for stage in stages {
        name(stage, &mut names, findings);
        as_keyword(stage, findings);
        platform(stage, escape, findings);
    }
}

fn name(stage: &Stage, names: &mut std::collections::HashSet<String>, findings: &mut Findings) {
    let (Some(written), Some(name)) = (&stage.from.node.name, stage.from.node.stage_name()) else { return };
    let comments = &stage.from.comments;
    definition::described("FROM", &[&name], &stage.from, findings);
    if written.text != name {
        let message = format!("Stage name '{}' should be lowercase", written.text);
        findings.add(Rule::StageNameCasing, message, written.span, comments);
    }
    if matches!(name.as_str(), "scratch" | "context") {
        let message = format!("Stage name should not use the same name as reserved stage {name:?}");
        findings.add(Rule::ReservedStageName, message, written.span, comments);
    }
    if names.contains(&name) {
        let message = format!("Duplicate stage name {name:?}, stage names should be unique");
        findings.add(Rule::DuplicateStageName, message, written.span, comments);
    }
    names.insert(name);
}

fn as_keyword(stage: &Stage, findings: &mut Findings) {
    let Some(keyword) = &stage.from.node.as_keyword else { return };
    let from = stage.from.text.split_whitespace().next().unwrap_or_default();
    if Casing::of(from) != Casing::of(&keyword.text) {
        let message = format!("'{}' and '{from}' keywords' casing do not match", keyword.text);
        findings.add(Rule::FromAsCasing, message, keyword.span, &stage.from.comments);
    }
}

fn platform(stage: &Stage, escape: char, findings: &mut Findings) {
    let Some(platform) = &stage.from.node.platform else { return };
    let comments = &stage.from.comments;
    if is_target_platform(&platform.text, escape) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            platform.text
        );
        return findings.add(Rule::RedundantTargetPlatform, message, platform.span, comments);
    }
    let Some(constant) = expand::constant(&platform.text, escape) else { return };
    // Stages chosen by platform, as in FROM build-${TARGETARCH}, must each say theirs.
    let name = stage.from.node.stage_name().unwrap_or_default();
    let lower = constant.to_lowercase();
    let mentioned = lower.split('/').filter(|part| !part.is_empty()).any(|part| name.contains(part));
    if !mentioned {
        let message = format!("FROM --platform flag should not use constant value {constant:?}");
        findings.add(Rule::FromPlatformFlagConstDisallowed, message, platform.span, comments);
    }
}

/// Whether the word is the variable and nothing else.
fn is_target_platform(word: &str, escape: char) -> bool {
    const MARK: &str = "\u{1}";
    let lookup = |name: &str| (name == "TARGETPLATFORM").then(|| MARK.to_owned());
    expand::expand(word, escape, &lookup).is_ok_and(|expanded| expanded.text == MARK)
}
