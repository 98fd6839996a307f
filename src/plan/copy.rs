//! COPY and ADD, as vertices.

use super::mode::Mode;
use super::origin::Origin;
use super::path::destination;
use super::refusal::{Outcome, Refusal};
use super::stage::{Planner, StageState};
use super::url::{name_in_url, without_password};
use crate::dockerfile::{
    Add, Copy, CopySource as Source, Diagnostic, GitSource, GitSourceError, Heredoc, Instruction, Remote,
    Spanned, Word, is_checksum, refuse_remote_path, without_logins,
};
use crate::graph::{
    CopyMode, CopyOp, CopySource, GitOp, HttpOp, MakeFileOp, MergeOp, Op, Slot, SourcePath, Vertex, VertexId,
};

/// What COPY and ADD have in common.
struct Parts<'a> {
    keyword: &'static str,
    sources: &'a [Source],
    destination: &'a Word,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    link: bool,
    parents: bool,
    if_exists: bool,
    excludes: &'a [Word],
    /// Whether archives are unpacked.
    unpack: bool,
    /// Whether archives from elsewhere are, too.
    unpack_remote: bool,
}

/// The same with all values known.
struct Expanded<'a> {
    paths: Vec<(&'a Word, String)>,
    heredocs: Vec<(&'a Heredoc, String)>,
    destination: String,
    owner: Option<String>,
    mode: Option<(Mode, String)>,
    /// What comes from elsewhere has to be that.
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Context,
    Origin(Origin),
}

impl Planner<'_> {
    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        copy: &Copy,
    ) -> Outcome<()> {
        let from = match &copy.from {
            None => Some(From::Context),
            Some(word) => {
                let origin = self.expand(state, word);
                let origin = origin.and_then(|text| self.copy_origin(word, &text, state));
                self.told(state, origin).map(From::Origin)
            }
        };
        let parts = Parts {
            keyword: "COPY",
            sources: &copy.sources,
            destination: &copy.destination,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            link: copy.link,
            parents: copy.parents,
            if_exists: copy.if_exists,
            excludes: &copy.excludes,
            unpack: false,
            unpack_remote: false,
        };
        let expanded = self.expand_parts(state, &parts)?;
        for (word, text) in &expanded.paths {
            refuse_remote_path(text, word)?;
            if from == Some(From::Context) {
                self.ignored("COPY", text, word);
            }
        }
        let Some(from) = from else { return Err(Refusal::Unknown) };
        self.copy_files(state, instruction, &parts, expanded, from)
    }

    pub(super) fn add(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        add: &Add,
    ) -> Outcome<()> {
        let parts = Parts {
            keyword: "ADD",
            sources: &add.sources,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link,
            parents: false,
            if_exists: false,
            excludes: &add.excludes,
            unpack: add.unpack.unwrap_or(true),
            unpack_remote: add.unpack == Some(true),
        };
        let mut expanded = self.expand_parts(state, &parts)?;
        for (word, text) in &expanded.paths {
            self.ignored("ADD", text, word);
        }
        if let Some(word) = &add.checksum {
            let text = self.expand(state, word)?;
            let source = expanded.paths.first().map_or("", |(_, text)| text.as_str());
            check_checksum(&text, source, word)?;
            expanded.checksum = Some(text).filter(|text| !text.is_empty());
        }
        expanded.keep_git_dir = add.keep_git_dir;
        self.copy_files(state, instruction, &parts, expanded, From::Context)
    }

    fn expand_parts<'a>(&mut self, state: &StageState, parts: &Parts<'a>) -> Outcome<Expanded<'a>> {
        let mode = self.mode(state, parts);
        let mode = self.told(state, mode);
        let owner = parts.chown.map(|word| self.expand(state, word)).transpose()?;
        let mut paths = Vec::new();
        let mut heredocs = Vec::new();
        for source in parts.sources {
            match source {
                Source::Path(word) => paths.push((word, self.expand(state, word)?)),
                Source::Heredoc(heredoc) => heredocs.push((heredoc, self.content(state, heredoc)?)),
            }
        }
        Ok(Expanded {
            paths,
            heredocs,
            destination: self.expand(state, parts.destination)?,
            owner: owner.filter(|owner| !owner.is_empty()),
            mode: mode.ok_or(Refusal::Unknown)?,
            checksum: None,
            keep_git_dir: None,
        })
    }

    fn mode(&mut self, state: &StageState, parts: &Parts<'_>) -> Outcome<Option<(Mode, String)>> {
        let Some(word) = parts.chmod else { return Ok(None) };
        let text = self.expand(state, word)?;
        Ok(if text.is_empty() { None } else { Some((Mode::parse(&text, word)?, text)) })
    }

    fn content(&mut self, state: &StageState, heredoc: &Heredoc) -> Outcome<String> {
        let body = heredoc.content();
        if !heredoc.expand {
            return Ok(body.into_owned());
        }
        let word = Word::new(heredoc.name.clone(), heredoc.span);
        let expanded = state.scope.expand_body(&body, &word)?;
        self.undefined(state, &expanded.unset, heredoc.span);
        Ok(expanded.text)
    }

    /// One step: files of the origin, then files that the Dockerfile itself contains.
    fn copy_files(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        parts: &Parts<'_>,
        expanded: Expanded<'_>,
        from: From,
    ) -> Outcome<()> {
        let created_by = created_by(parts, &expanded);
        // Where the mode is changed, too, others copy onto the stage all the same.
        let linked = parts.link && expanded.mode.is_none();
        if let (true, Some(owner), Some(word)) = (linked, &expanded.owner, parts.chown) {
            refuse_names(owner, parts.keyword, word)?;
        }
        let mode = expanded.mode.map(|(mode, _)| match mode {
            Mode::Octal(mode) => CopyMode::Octal(mode),
            Mode::Symbolic(changes) => CopyMode::Symbolic(changes),
        });
        let mut inputs = Inputs::new(if linked { Vec::new() } else { state.inputs() });
        let base = (!inputs.0.is_empty()).then_some(0);
        let mut sources = Vec::new();
        for (word, text) in expanded.paths {
            if let Some(source) = GitSource::parse(&text) {
                let source = source.map_err(|error| Diagnostic::new(error.to_string(), word.span))?;
                let op = repository(source, expanded.checksum.as_deref(), expanded.keep_git_dir, word)?;
                let vertex = self.repository_files(state, op, instruction);
                let path = SourcePath::Everything;
                sources.push(CopySource { input: Some(inputs.slot(vertex)), path });
                continue;
            }
            if Remote::of(&text) == Some(Remote::Url) {
                let name = name_in_url(&text);
                let path = if parts.unpack_remote { SourcePath::Archive } else { SourcePath::File };
                let op = HttpOp { url: text, checksum: expanded.checksum.clone(), name: name.clone() };
                let vertex = self.fetched_file(state, op, instruction);
                sources.push(CopySource { input: Some(inputs.slot(vertex)), path: path(name) });
                continue;
            }
            let origin = match from {
                From::Context => Some(self.context()),
                From::Origin(origin) => origin.vertex(),
            };
            let input = origin.map(|vertex| inputs.slot(vertex));
            let path = if parts.parents { SourcePath::WithParents } else { SourcePath::Pattern };
            sources.push(CopySource { input, path: path(text) });
        }
        for (heredoc, content) in &expanded.heredocs {
            let vertex = self.heredoc_file(state, heredoc, content, 0o644, instruction);
            let path = SourcePath::File(heredoc.name.clone());
            sources.push(CopySource { input: Some(inputs.slot(vertex)), path });
        }
        let text = without_logins(&state.scope.display(&instruction.headline(), self.escape()));
        let name = state.next_headline(&text);
        let destination = destination(&state.config.config.working_dir, &expanded.destination);
        let op = CopyOp {
            base,
            sources,
            destination,
            owner: expanded.owner,
            mode,
            excludes: parts.excludes.iter().map(|pattern| pattern.text.clone()).collect(),
            unpack: parts.unpack,
            if_exists: parts.if_exists,
        };
        let linked = linked.then(|| state.link_headline(&text));
        let copied = self.vertex(state, Op::Copy(op), inputs.0, name, instruction);
        let vertex = match (linked, state.vertex) {
            (Some(name), Some(stage)) => {
                self.vertex(state, Op::Merge(MergeOp), vec![stage, copied], name, instruction)
            }
            // What is put on nothing is there as it is.
            (Some(_), None) | (None, _) => copied,
        };
        state.take_layer(vertex, created_by);
        Ok(())
    }

    /// A file from an address.
    fn fetched_file(
        &mut self,
        state: &StageState,
        op: HttpOp,
        instruction: &Spanned<Instruction>,
    ) -> VertexId {
        let name = format!("[internal] fetch {}", without_password(&op.url));
        let origin = Some(self.place(state, instruction));
        self.graph.add(Vertex { op: Op::Http(op), inputs: Vec::new(), name, origin, forced: false })
    }

    /// The files of a repository.
    fn repository_files(
        &mut self,
        state: &StageState,
        op: GitOp,
        instruction: &Spanned<Instruction>,
    ) -> VertexId {
        let reference = op.reference.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
        let name = format!("[internal] fetch {}{reference}", op.remote);
        let origin = Some(self.place(state, instruction));
        self.graph.add(Vertex { op: Op::Git(op), inputs: Vec::new(), name, origin, forced: false })
    }

    /// A heredoc as a file of its own.
    pub(super) fn heredoc_file(
        &mut self,
        state: &StageState,
        heredoc: &Heredoc,
        content: &str,
        mode: u32,
        instruction: &Spanned<Instruction>,
    ) -> VertexId {
        let (path, content) = (format!("/{}", heredoc.name), content.as_bytes().to_vec());
        let op = Op::MakeFile(MakeFileOp { path, mode, content });
        let name = format!("[internal] file <<{}", heredoc.name);
        let origin = Some(self.place(state, instruction));
        self.graph.add(Vertex { op, inputs: Vec::new(), name, origin, forced: false })
    }
}

/// The inputs of a vertex, each once.
pub(super) struct Inputs(pub Vec<VertexId>);

impl Inputs {
    pub(super) fn new(inputs: Vec<VertexId>) -> Self {
        Self(inputs)
    }

    pub(super) fn slot(&mut self, vertex: VertexId) -> Slot {
        let known = self.0.iter().position(|input| *input == vertex);
        known.unwrap_or_else(|| {
            self.0.push(vertex);
            self.0.len() - 1
        })
    }
}

/// The text of the history. Sources that are files come first, as BuildKit has it.
fn created_by(parts: &Parts<'_>, expanded: &Expanded<'_>) -> String {
    let mut text = parts.keyword.to_owned();
    if parts.parents {
        text.push_str(" --parents");
    }
    if let Some(owner) = &expanded.owner {
        text.push_str(&format!(" --chown={owner}"));
    }
    if let Some((_, mode)) = &expanded.mode {
        text.push_str(&format!(" --chmod={mode}"));
    }
    for (_, path) in &expanded.paths {
        text.push_str(&format!(" {}", without_logins(path)));
    }
    for (heredoc, _) in &expanded.heredocs {
        text.push_str(&format!(" <<{}", heredoc.name));
    }
    format!("{text} {} # buildkit", expanded.destination)
}

/// What an address and the flags beside it say together.
fn repository(
    mut source: GitSource,
    checksum: Option<&str>,
    keep_git_dir: Option<bool>,
    word: &Word,
) -> Result<GitOp, Diagnostic> {
    source.demand(checksum).map_err(|error| Diagnostic::new(error.to_string(), word.span))?;
    match (keep_git_dir, source.keep_git_dir) {
        (Some(one), Some(other)) if one != other => {
            let message = "inconsistent keep-git-dir configuration";
            return Err(Diagnostic::new(message, word.span).hint("say it once: as a flag or in the address"));
        }
        (flag, said) => source.keep_git_dir = said.or(flag),
    }
    Ok(GitOp::from(source))
}

/// Without the files of the stage nobody knows whose number a name stands for.
fn refuse_names(owner: &str, keyword: &str, word: &Word) -> Result<(), Diagnostic> {
    let is_known = |account: &str| account.is_empty() || account == "root" || account.parse::<u32>().is_ok();
    if owner.split(':').all(is_known) {
        return Ok(());
    }
    let message = format!(
        "--chown={owner} names an owner that {keyword} --link cannot look up: it does not look into the stage"
    );
    Err(Diagnostic::new(message, word.span).hint("write the owner's numbers, or leave out --link"))
}

/// Checks what pins a source: a digest for what is fetched from a URL, a commit for a repository.
fn check_checksum(text: &str, source: &str, word: &Word) -> Result<(), Diagnostic> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let wrong = |message: &str| Err(Diagnostic::new(message, word.span));
    match Remote::of(source) {
        _ if text.is_empty() => Ok(()),
        None => wrong("checksum requires HTTP(S) or Git sources"),
        Some(Remote::Git) if is_checksum(text) => Ok(()),
        Some(Remote::Git) => wrong(&GitSourceError::Checksum(text.to_owned()).to_string()),
        Some(Remote::Url) => {
            let Some((algorithm, digits)) = text.split_once(':') else {
                return Err(Diagnostic::new("invalid checksum digest format", word.span)
                    .hint("write --checksum=sha256:… with 64 hexadecimal digits"));
            };
            let length = match algorithm {
                "sha256" => 64,
                "sha384" => 96,
                "sha512" => 128,
                _ => return wrong("unsupported digest algorithm"),
            };
            match digits {
                digits if digits.len() != length => wrong("invalid checksum digest length"),
                digits if is_hex(digits) => Ok(()),
                _ => wrong("invalid checksum digest format"),
            }
        }
    }
}
