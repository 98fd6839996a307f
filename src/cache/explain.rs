//! Why a step is not there already: the record that comes nearest to it, and what differs.

use std::fmt;

use serde::Serialize;

use super::ingredients::Ingredients;
use crate::event::harmless;
use crate::image::{Digest, Timestamp};
use crate::store::StepRecord;

/// A step that was not found.
#[derive(Debug, Clone)]
pub struct Miss {
    pub name: String,
    pub key: Digest,
    pub definition: String,
    pub inputs: Vec<MissedInput>,
    /// Whether it was to be done anew, whatever there is.
    pub forced: bool,
}

/// An input of a step that was not found.
#[derive(Debug, Clone)]
pub struct MissedInput {
    /// What people call it.
    pub name: String,
    pub key: Option<Digest>,
    /// The record digest of what is read of it, where content counts.
    pub content: Option<Digest>,
    /// Whether it has been made just now.
    pub is_new: bool,
}

/// Why a step was not found.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub step: String,
    pub key: String,
    #[serde(flatten)]
    pub reason: Reason,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// It was asked for.
    Forced,
    /// Nothing like it has been built here.
    New,
    Differs {
        nearest: Nearest,
        differences: Vec<Difference>,
    },
    /// It was made before, and what it made is gone or lies on something else.
    Gone {
        nearest: Nearest,
    },
}

/// The record that comes nearest.
#[derive(Debug, Clone, Serialize)]
pub struct Nearest {
    pub step: String,
    pub key: String,
    pub created: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Differences up to here are of the same step; what is further away is another one.
const FARTHEST: u32 = 18;

/// Finds what comes nearest to a step, and says what differs. `contents` tells apart what two inputs contain, if it can.
pub fn explain(
    miss: &Miss,
    records: &[(String, StepRecord)],
    contents: impl Fn(&Digest, &Digest) -> Option<Vec<Difference>>,
) -> Explanation {
    let told = |reason| Explanation { step: miss.name.clone(), key: miss.key.hex(), reason };
    if miss.forced {
        return told(Reason::Forced);
    }
    let now = Ingredients::of(&miss.definition);
    let distance = |record: &StepRecord| Some((distance(miss, &now, record)?, record.created));
    let scored = records.iter().filter_map(|(key, record)| Some((distance(record)?, key, record)));
    // Of equals, the latest.
    let nearest = scored.min_by(|((one, made), ..), ((other, made_then), ..)| {
        one.cmp(other).then_with(|| made_then.cmp(made))
    });
    let Some((_, key, record)) = nearest.filter(|((distance, _), ..)| *distance <= FARTHEST) else {
        return told(Reason::New);
    };
    let nearest = Nearest { step: record.name.clone(), key: key.clone(), created: record.created };
    let mut differences = of_definitions(&now, &Ingredients::of(&record.definition));
    for (slot, input) in miss.inputs.iter().enumerate() {
        differences.extend(of_input(slot, input, record, &contents));
    }
    told(match differences.is_empty() {
        true => Reason::Gone { nearest },
        false => Reason::Differs { nearest, differences },
    })
}

/// How far a record is away from a step; none if it is of another kind altogether.
fn distance(miss: &Miss, now: &Ingredients, record: &StepRecord) -> Option<u32> {
    let then = Ingredients::of(&record.definition);
    if now.kind != then.kind || record.inputs.len() != miss.inputs.len() {
        return None;
    }
    let weigh = |difference: &Difference| match difference.what.as_str() {
        "command" => 10,
        "sources" | "destination" | "definition" => 6,
        _ => 2,
    };
    let mut distance: u32 = of_definitions(now, &then).iter().map(weigh).sum();
    for (slot, input) in miss.inputs.iter().enumerate() {
        match (input.content, record.contents.get(slot).copied().flatten()) {
            (Some(now), Some(then)) => distance += if now == then { 0 } else { 3 },
            (_, _) => distance += if input.key == record.inputs[slot] { 0 } else { 5 },
        }
    }
    // The same words in another place are nearer than other words.
    Some(if without_place(&miss.name) == without_place(&record.name) { distance } else { distance + 4 })
}

/// A headline without its `[name 2/4]`.
fn without_place(name: &str) -> &str {
    name.split_once("] ").map_or(name, |(_, text)| text)
}

fn of_definitions(now: &Ingredients, then: &Ingredients) -> Vec<Difference> {
    let names = now.values.keys().chain(then.values.keys().filter(|name| !now.values.contains_key(*name)));
    let difference = |name: &String| {
        let (before, after) = (then.values.get(name).cloned(), now.values.get(name).cloned());
        (before != after).then(|| Difference { what: name.clone(), before, after })
    };
    names.filter_map(difference).collect()
}

fn of_input(
    slot: usize,
    input: &MissedInput,
    record: &StepRecord,
    contents: &impl Fn(&Digest, &Digest) -> Option<Vec<Difference>>,
) -> Vec<Difference> {
    let then = record.contents.get(slot).copied().flatten();
    if let (Some(now), Some(then)) = (input.content, then) {
        if now == then {
            return Vec::new();
        }
        let known = contents(&then, &now).filter(|differences| !differences.is_empty());
        return known.unwrap_or_else(|| {
            let what = format!("what is read of {}", input.name);
            vec![Difference { what, before: Some(then.short()), after: Some(now.short()) }]
        });
    }
    if input.key == record.inputs[slot] {
        return Vec::new();
    }
    let name = &input.name;
    let what = if input.is_new { format!("{name} was made anew") } else { format!("{name} is another one") };
    vec![Difference { what, before: None, after: None }]
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Forced => out.write_str("not looked for: it was to be done anew"),
            Reason::New => out.write_str("not cached: nothing like it has been built here"),
            Reason::Gone { .. } => out
                .write_str("not cached: it was built before, and its layer is gone or lies on another base"),
            Reason::Differs { differences, .. } => {
                let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
                write!(out, "not cached: {}", words.join("; "))
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = harmless(&self.what);
        match (&self.before, &self.after) {
            (None, None) => out.write_str(&what),
            (None, Some(after)) => write!(out, "{what} added: {}", short(after)),
            (Some(before), None) => write!(out, "{what} removed, was {}", short(before)),
            (Some(before), Some(after)) => write!(out, "{what} changed {} ▸ {}", short(before), short(after)),
        }
    }
}

/// One line, not too long.
fn short(text: &str) -> String {
    const LONGEST: usize = 120;
    let line = harmless(&text.replace('\n', "⏎"));
    if line.is_empty() {
        return "(empty)".to_owned();
    }
    if line.chars().count() <= LONGEST {
        return line;
    }
    let cut: String = line.chars().take(LONGEST).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests;
