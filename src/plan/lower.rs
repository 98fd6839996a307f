//! Instructions that make files, as vertices.

use super::config::shell_words;
use super::history;
use super::stage::{Origin, Planner, StageState};
use crate::dockerfile::{
    Add, Copy, CopySource as Source, Diagnostic, Heredoc, Instruction, Network, Run, RunBody, Security,
    Spanned, Word, Workdir,
};
use crate::graph::{
    CopyOp, CopySource, MakeDirectoryOp, MakeFileOp, NetworkMode, Op, RunOp, Vertex, VertexId,
};
use crate::image::DEFAULT_PATH;

/// What COPY and ADD have in common.
struct CopyParts<'a> {
    keyword: &'static str,
    sources: &'a [Source],
    destination: &'a Word,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
}

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        run: &Run,
    ) -> Result<(), Diagnostic> {
        if !run.mounts.is_empty() {
            return Err(not_yet("RUN --mount", instruction));
        }
        if !run.devices.is_empty() {
            return Err(not_yet("RUN --device", instruction));
        }
        if run.security == Some(Security::Insecure) {
            return Err(not_yet("RUN --security=insecure", instruction));
        }
        let network = match run.network {
            None | Some(Network::Default) => NetworkMode::Default,
            Some(Network::None) => NetworkMode::None,
            Some(Network::Host) => {
                return Err(Diagnostic::new("entitlement network.host is not allowed", instruction.span)
                    .hint("leave --network=host out: steps use the host's network anyway, for now"));
            }
        };
        let config = &state.config.config;
        let arguments = match run.body() {
            RunBody::Exec(words) => words.to_vec(),
            RunBody::Shell(script) => shell_words(&script, config),
            RunBody::Script { shebang: true, .. } => {
                return Err(not_yet("a RUN heredoc that begins with #!", instruction));
            }
            RunBody::Script { content, .. } => shell_words(&content, config),
        };
        let mut environment = state.scope.environment();
        if state.scope.get("PATH").is_none() {
            environment.push(format!("PATH={DEFAULT_PATH}"));
        }
        let op = RunOp {
            environment,
            transient_environment: state.scope.proxies(&self.global),
            directory: directory_of(state),
            user: config.user.clone(),
            network,
            platform: self.request.platform.clone(),
            arguments,
        };
        let created_by = history::run(&op.arguments, &state.scope);
        let text = state.scope.display(&instruction.headline(), self.escape());
        let name = state.next_headline(&text);
        let inputs = state.inputs();
        self.layer(state, Op::Run(op), inputs, name, instruction, created_by);
        Ok(())
    }

    pub(super) fn workdir(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        workdir: &Workdir,
    ) -> Result<(), Diagnostic> {
        let text = self.not_blank(state, &workdir.path, "WORKDIR")?;
        let path = joined(&directory_of(state), &text);
        state.config.config.working_dir.clone_from(&path);
        let name = state.next_headline(&format!("WORKDIR {text}"));
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            state.history.push(history::empty(created_by));
            return Ok(());
        }
        let op = MakeDirectoryOp { path, owner: state.config.config.user.clone() };
        let inputs = state.inputs();
        self.layer(state, Op::MakeDirectory(op), inputs, name, instruction, created_by);
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        copy: &Copy,
    ) -> Result<(), Diagnostic> {
        for (given, flag) in [
            (copy.link, "COPY --link"),
            (copy.parents, "COPY --parents"),
            (copy.if_exists, "COPY --if-exists"),
            (!copy.excludes.is_empty(), "COPY --exclude"),
        ] {
            if given {
                return Err(not_yet(flag, instruction));
            }
        }
        let from = match &copy.from {
            None => CopyFrom::Context,
            Some(word) => {
                let text = self.expand(state, word)?;
                match self.origin(word, &text, state)? {
                    Some(Origin::Vertex(vertex)) => CopyFrom::Vertex(vertex),
                    Some(Origin::Empty) | None => CopyFrom::Nothing,
                }
            }
        };
        let parts = CopyParts {
            keyword: "COPY",
            sources: &copy.sources,
            destination: &copy.destination,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
        };
        self.copy_files(state, instruction, &parts, from)
    }

    pub(super) fn add(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        add: &Add,
    ) -> Result<(), Diagnostic> {
        for (given, flag) in [
            (add.link, "ADD --link"),
            (add.checksum.is_some(), "ADD --checksum"),
            (add.keep_git_dir.is_some(), "ADD --keep-git-dir"),
            (add.unpack == Some(true), "ADD --unpack"),
            (!add.excludes.is_empty(), "ADD --exclude"),
        ] {
            if given {
                return Err(not_yet(flag, instruction));
            }
        }
        for source in &add.sources {
            if let Source::Path(word) = source {
                let text = self.expand(state, word)?;
                if text.contains("://") || text.ends_with(".git") || text.starts_with("git@") {
                    return Err(not_yet("ADD of a URL or git repository", instruction));
                }
                const ARCHIVES: [&str; 8] = [".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".txz", ".tbz2"];
                if add.unpack != Some(false) && ARCHIVES.iter().any(|ending| text.ends_with(ending)) {
                    return Err(not_yet("ADD of an archive", instruction));
                }
            }
        }
        let parts = CopyParts {
            keyword: "ADD",
            sources: &add.sources,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
        };
        self.copy_files(state, instruction, &parts, CopyFrom::Context)
    }

    /// One step: files of the origin, and files that the Dockerfile itself contains, in the order of the line.
    fn copy_files(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        parts: &CopyParts<'_>,
        from: CopyFrom,
    ) -> Result<(), Diagnostic> {
        let owner =
            parts.chown.map(|word| self.expand(state, word)).transpose()?.filter(|owner| !owner.is_empty());
        let mode_text =
            parts.chmod.map(|word| self.expand(state, word)).transpose()?.filter(|mode| !mode.is_empty());
        let mode = match (&mode_text, parts.chmod) {
            (Some(text), Some(word)) => Some(octal_mode(text, word)?),
            _ => None,
        };
        let destination_text = self.expand(state, parts.destination)?;
        let destination = destination(&directory_of(state), &destination_text);
        let mut shown = Vec::new();
        let mut groups: Vec<(CopyFrom, Vec<String>)> = Vec::new();
        for source in parts.sources {
            let (from, path) = match source {
                Source::Path(word) => {
                    let text = self.expand(state, word)?;
                    shown.push(text.clone());
                    (from, text)
                }
                Source::Heredoc(heredoc) => {
                    shown.push(format!("<<{}", heredoc.name));
                    let vertex = self.heredoc_file(state, heredoc, instruction)?;
                    (CopyFrom::Vertex(vertex), heredoc.name.clone())
                }
            };
            match groups.last_mut() {
                Some((last, paths)) if *last == from => paths.push(path),
                _ => groups.push((from, vec![path])),
            }
        }
        let flags: String = [("chown", &owner), ("chmod", &mode_text)]
            .iter()
            .filter_map(|(flag, value)| value.as_ref().map(|value| format!("--{flag}={value} ")))
            .collect();
        let created_by =
            format!("{} {flags}{} {destination_text} # buildkit", parts.keyword, shown.join(" "));
        let text = state.scope.display(&instruction.headline(), self.escape());
        let name = state.next_headline(&text);
        if groups.len() > 1 {
            return Err(not_yet("files and heredocs in one instruction", instruction));
        }
        for (from, sources) in groups {
            let mut inputs = state.inputs();
            let has_base = !inputs.is_empty();
            let from = match from {
                CopyFrom::Context => CopySource::Context,
                CopyFrom::Nothing => CopySource::Nothing,
                CopyFrom::Vertex(vertex) => {
                    inputs.push(vertex);
                    CopySource::Input
                }
            };
            let op = CopyOp {
                has_base,
                from,
                sources,
                destination: destination.clone(),
                owner: owner.clone(),
                mode,
            };
            self.layer(state, Op::Copy(op), inputs, name.clone(), instruction, created_by.clone());
        }
        Ok(())
    }

    fn heredoc_file(
        &mut self,
        state: &StageState,
        heredoc: &Heredoc,
        instruction: &Spanned<Instruction>,
    ) -> Result<VertexId, Diagnostic> {
        let body = heredoc.content();
        let content = if heredoc.expand {
            state.scope.expand_body(&body, &Word::new(heredoc.name.clone(), heredoc.span))?
        } else {
            body.into_owned()
        };
        let op =
            Op::MakeFile(MakeFileOp { path: format!("/{}", heredoc.name), content: content.into_bytes() });
        let name = format!("[internal] file <<{}", heredoc.name);
        Ok(self.graph.add(Vertex { op, inputs: Vec::new(), name, origin: Some(instruction.span) }))
    }

    fn layer(
        &mut self,
        state: &mut StageState,
        op: Op,
        inputs: Vec<VertexId>,
        name: String,
        instruction: &Spanned<Instruction>,
        created_by: String,
    ) {
        let vertex = self.graph.add(Vertex { op, inputs, name, origin: Some(instruction.span) });
        state.vertex = Some(vertex);
        state.history.push(history::layer(created_by, vertex));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyFrom {
    Context,
    Vertex(VertexId),
    Nothing,
}

fn not_yet(what: &str, instruction: &Spanned<Instruction>) -> Diagnostic {
    Diagnostic::new(format!("{what} is not supported yet"), instruction.span)
}

fn directory_of(state: &StageState) -> String {
    let directory = &state.config.config.working_dir;
    if directory.is_empty() { "/".to_owned() } else { directory.clone() }
}

/// A path inside the image: relative ones start at `directory`; without `.`, `..` and doubled slashes.
fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { directory };
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A destination, with a slash at the end when it was written as a directory.
fn destination(directory: &str, text: &str) -> String {
    let path = joined(directory, text);
    let is_directory =
        text.is_empty() || text == "." || text == ".." || text.ends_with('/') || text.ends_with("/.");
    if is_directory && path != "/" { path + "/" } else { path }
}

fn octal_mode(text: &str, word: &Word) -> Result<u32, Diagnostic> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o7777 => Ok(mode),
        _ if !text.starts_with(|letter: char| letter.is_ascii_digit()) => {
            Err(Diagnostic::new("a symbolic --chmod is not supported yet", word.span)
                .hint("write an octal number, such as 755"))
        }
        _ => {
            let message = format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            );
            Err(Diagnostic::new(message, word.span))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (directory, path, expected) in [
            ("/", "a", "/a"),
            ("/app", "a/../b/./c", "/app/b/c"),
            ("/app", "/x//y/", "/x/y"),
            ("/app", "../..", "/"),
        ] {
            assert_eq!(joined(directory, path), expected);
        }
        assert_eq!(destination("/app", "."), "/app/");
        assert_eq!(destination("/app", ""), "/app/");
        assert_eq!(destination("/app", "x/"), "/app/x/");
        assert_eq!(destination("/app", "x"), "/app/x");
        assert_eq!(destination("/", "."), "/");
    }
}
