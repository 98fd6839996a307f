//! What a vertex has of each of its inputs: what identifies it beside the input's own key.

use super::op::{CopyOp, CopySource, MountKind, Op, RunOp, Slot, SourcePath};
use super::path::joined;
use crate::image::Digest;

/// How an input counts for the key of a vertex.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InputKey {
    /// Tells apart steps that read other parts of the same input.
    pub selector: Option<Digest>,
    /// What of the input's files is read, if equal files are as good as the same input. None where only the input itself
    /// will do, such as what is modified.
    pub content: Option<Vec<Selection>>,
}

/// Files of an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    pub path: SourcePath,
    pub excludes: Vec<String>,
    /// Whether a path without wildcards that leads to nothing selects nothing instead of being an error.
    pub optional: bool,
}

impl Op {
    /// How each of a number of inputs counts.
    pub fn input_keys(&self, inputs: usize) -> Vec<InputKey> {
        let mut keys = vec![InputKey::default(); inputs];
        match self {
            Self::Run(op) => op.input_keys(&mut keys),
            Self::Copy(op) => op.input_keys(&mut keys),
            Self::Image(_)
            | Self::Context(_)
            | Self::Http(_)
            | Self::Git(_)
            | Self::MakeDirectory(_)
            | Self::MakeFile(_)
            | Self::Merge(_) => {}
        }
        keys
    }
}

impl Op {
    /// What the definition and the contents leave open where one input is read in several places: BuildKit's definitions have
    /// but the last names of sources, and contents are sorted by path. None where nothing is open.
    pub fn order(&self) -> Option<Digest> {
        let places: Vec<(Slot, String)> = match self {
            Self::Run(op) => {
                let place = |mount: &super::op::Mount| match &mount.kind {
                    MountKind::Bind(bind) => {
                        Some((bind.input?, format!("{}\0{}", mount.target, bind.source)))
                    }
                    MountKind::Cache(cache) => {
                        Some((cache.input?, format!("{}\0{}", mount.target, cache.source)))
                    }
                    MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => None,
                };
                let root = op.root.map(|root| (root, "/".to_owned()));
                root.into_iter().chain(op.mounts.iter().filter_map(place)).collect()
            }
            Self::Copy(op) => {
                let place = |source: &CopySource| {
                    let place = source.path.place();
                    let include = place.include.unwrap_or_default();
                    Some((source.input?, format!("{}\0{include}", place.path)))
                };
                op.sources.iter().filter_map(place).collect()
            }
            Self::Image(_)
            | Self::Http(_)
            | Self::Git(_)
            | Self::Context(_)
            | Self::MakeDirectory(_)
            | Self::MakeFile(_)
            | Self::Merge(_) => {
                return None;
            }
        };
        let mut seen = std::collections::HashSet::new();
        let is_open = places.iter().any(|(slot, _)| !seen.insert(*slot));
        let text = places.iter().map(|(slot, place)| format!("{slot}\0{place}\0\n")).collect::<String>();
        is_open.then(|| Digest::of(text.as_bytes()))
    }
}

impl RunOp {
    fn input_keys(&self, keys: &mut [InputKey]) {
        let mut paths: Vec<Vec<&str>> = vec![Vec::new(); keys.len()];
        let mut whole = vec![false; keys.len()];
        if let Some(root) = self.root {
            paths[root].push("/");
            whole[root] = true;
        }
        for mount in &self.mounts {
            let (input, source) = match &mount.kind {
                MountKind::Bind(bind) => (bind.input, &*bind.source),
                MountKind::Cache(cache) => (cache.input, &*cache.source),
                MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => continue,
            };
            let Some(input) = input else { continue };
            paths[input].push(source);
            whole[input] |= source == "/";
            keys[input].content = Some(Vec::new());
        }
        for (index, key) in keys.iter_mut().enumerate() {
            if !paths[index].is_empty() {
                key.selector = Some(Digest::of(paths[index].join("\0").as_bytes()));
            }
            if let Some(content) = &mut key.content
                && !whole[index]
            {
                let file = |path: &&str| {
                    let path = SourcePath::File((*path).to_owned());
                    Selection { path, excludes: Vec::new(), optional: false }
                };
                *content = paths[index].iter().map(file).collect();
            }
        }
    }
}

impl CopyOp {
    /// What is copied of a source.
    pub fn selection(&self, source: &CopySource) -> Selection {
        let path = source.path.clone();
        match path {
            SourcePath::File(_) | SourcePath::Archive(_) => {
                Selection { path, excludes: Vec::new(), optional: false }
            }
            SourcePath::Everything => Selection { path, excludes: self.excludes.clone(), optional: false },
            SourcePath::Pattern(_) | SourcePath::WithParents(_) => {
                Selection { path, excludes: self.excludes.clone(), optional: self.if_exists }
            }
        }
    }

    fn input_keys(&self, keys: &mut [InputKey]) {
        for (slot, key) in keys.iter_mut().enumerate() {
            // What is modified counts as a whole.
            if self.base == Some(slot) {
                continue;
            }
            let sources: Vec<&CopySource> =
                self.sources.iter().filter(|source| source.input == Some(slot)).collect();
            let mut paths: Vec<String> = sources.iter().map(|source| source.path.place().path).collect();
            paths.sort_unstable_by(|one, other| other.cmp(one));
            key.selector = Some(Digest::of(paths.join("\0").as_bytes()));
            key.content = Some(sources.into_iter().map(|source| self.selection(source)).collect());
        }
    }
}

/// A source as definitions have it.
pub(super) struct Place {
    /// Absolute and clean.
    pub path: String,
    /// What is wanted of it, if that is not all.
    pub include: Option<String>,
}

impl SourcePath {
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Pattern(text) | Self::File(text) | Self::Archive(text) => {
                Place { path: joined("/", text), include: None }
            }
            Self::Everything => Place { path: "/".to_owned(), include: None },
            Self::WithParents(text) => {
                let (path, pattern) = text.split_once("/./").unwrap_or(("/", text));
                let pattern = joined("/", pattern)[1..].to_owned();
                Place { path: joined("/", path), include: Some(pattern) }
            }
        }
    }
}

impl Place {
    pub(super) fn base_name(&self) -> &str {
        match self.path.rsplit('/').next() {
            None | Some("") => "/",
            Some(name) => name,
        }
    }

    /// What has to be there: all that is wanted, unless wildcards say that there may be nothing.
    pub(super) fn required(&self) -> Vec<String> {
        let named =
            self.include.as_ref().filter(|pattern| !has_wildcard(pattern) && !has_wildcard(&self.path));
        named.map(|pattern| joined(&self.path, &format!("./{pattern}"))).into_iter().collect()
    }
}

fn has_wildcard(pattern: &str) -> bool {
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}
