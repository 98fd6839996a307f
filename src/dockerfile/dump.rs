//! Trees as text: one line for each instruction, its lines and its fields. For `--dump ast` and for tests.

use std::fmt::{Debug, Write as _};

use super::instruction::{
    Add, ArgInstruction, CommandLine, Copy, CopySource, From, Healthcheck, Network, Pair, Run, Security,
};
use super::{Dockerfile, Heredoc, Instruction, Mount, Source, Span, Spanned, Trigger, Word};

impl Dockerfile {
    /// The whole tree. Fields that are not given are not shown.
    pub fn dump(&self) -> String {
        self.text(|span| format!("{} ", range(&self.source, span)))
    }

    /// The tree without places: equal for files that mean the same.
    #[cfg(test)]
    pub(super) fn dump_without_lines(&self) -> String {
        self.text(|_| String::new())
    }

    fn text(&self, place: impl Fn(Span) -> String) -> String {
        let mut out = String::new();
        let directives = &self.directives;
        for (key, value) in [("syntax", &directives.syntax), ("check", &directives.check)] {
            if let Some(value) = value {
                let _ = writeln!(out, "{}directive {key}={:?}", place(value.span), value.text);
            }
        }
        if directives.escape != '\\' {
            let _ = writeln!(out, "directive escape={:?}", directives.escape);
        }
        for arg in &self.global_args {
            let _ = writeln!(out, "{}ARG{}", place(arg.span), arg_fields(&arg.node));
        }
        for (number, stage) in self.stages.iter().enumerate() {
            let from = &stage.from;
            let _ = writeln!(out, "stage {number}\n  {}FROM{}", place(from.span), from_fields(&from.node));
            for instruction in &stage.instructions {
                let _ = writeln!(out, "  {}{}", place(instruction.span), fields(&instruction.node));
            }
        }
        out
    }
}

impl Trigger {
    pub fn dump(&self) -> String {
        let Spanned { node, span, .. } = &self.instruction;
        format!("{} {}\n", range(&self.source, *span), fields(node))
    }
}

fn range(source: &Source, span: Span) -> String {
    let (first, last) = source.lines_of(span);
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn fields(instruction: &Instruction) -> String {
    let mut out = Fields(instruction.keyword().name().to_owned());
    match instruction {
        Instruction::Add(add) => add_fields(&mut out, add),
        Instruction::Arg(arg) => out.0.push_str(&arg_fields(arg)),
        Instruction::Cmd(cmd) => out.command(&cmd.command),
        Instruction::Copy(copy) => copy_fields(&mut out, copy),
        Instruction::Entrypoint(entrypoint) => out.command(&entrypoint.command),
        Instruction::Env(env) => out.pairs(&env.pairs, env.legacy),
        Instruction::Expose(expose) => out.words("port", &expose.ports),
        Instruction::Healthcheck(healthcheck) => healthcheck_fields(&mut out, healthcheck),
        Instruction::Label(label) => out.pairs(&label.pairs, label.legacy),
        Instruction::Maintainer(maintainer) => out.word("author", &maintainer.author),
        Instruction::Onbuild(onbuild) => {
            out.field("text", &onbuild.text);
            let _ = write!(out.0, " ({})", fields(&onbuild.trigger.node));
        }
        Instruction::Run(run) => run_fields(&mut out, run),
        Instruction::Shell(shell) => out.field("command", &shell.command),
        Instruction::Stopsignal(stopsignal) => out.word("signal", &stopsignal.signal),
        Instruction::User(user) => out.word("user", &user.user),
        Instruction::Volume(volume) => out.words("path", &volume.paths),
        Instruction::Workdir(workdir) => out.word("path", &workdir.path),
    }
    out.0
}

fn from_fields(from: &From) -> String {
    let mut out = Fields(String::new());
    out.word("image", &from.image);
    out.optional("platform", from.platform.as_ref());
    if let Some(name) = from.stage_name() {
        out.field("name", &name);
    }
    if let Some(description) = &from.description {
        out.field("description", description);
    }
    out.0
}

fn arg_fields(arg: &ArgInstruction) -> String {
    let mut out = Fields(String::new());
    for variable in &arg.variables {
        out.word("name", &variable.name);
        out.optional("default", variable.default.as_ref());
        if let Some(description) = &variable.description {
            out.field("description", description);
        }
    }
    out.0
}

fn add_fields(out: &mut Fields, add: &Add) {
    out.sources(&add.sources);
    out.word("destination", &add.destination);
    out.optional("chown", add.chown.as_ref());
    out.optional("chmod", add.chmod.as_ref());
    out.switch("link", add.link);
    out.optional("checksum", add.checksum.as_ref());
    if let Some(keep) = add.keep_git_dir {
        out.field("keep-git-dir", &keep);
    }
    if let Some(unpack) = add.unpack {
        out.field("unpack", &unpack);
    }
    out.words("exclude", &add.excludes);
}

fn copy_fields(out: &mut Fields, copy: &Copy) {
    out.sources(&copy.sources);
    out.word("destination", &copy.destination);
    out.optional("from", copy.from.as_ref());
    out.optional("chown", copy.chown.as_ref());
    out.optional("chmod", copy.chmod.as_ref());
    out.switch("link", copy.link);
    out.switch("parents", copy.parents);
    out.switch("if-exists", copy.if_exists);
    out.words("exclude", &copy.excludes);
}

fn run_fields(out: &mut Fields, run: &Run) {
    out.command(&run.command);
    for heredoc in &run.heredocs {
        out.heredoc(heredoc);
    }
    for mount in &run.mounts {
        out.mount(mount);
    }
    match run.network {
        Some(Network::Default) => out.plain("network=default"),
        Some(Network::None) => out.plain("network=none"),
        Some(Network::Host) => out.plain("network=host"),
        None => {}
    }
    match run.security {
        Some(Security::Sandbox) => out.plain("security=sandbox"),
        Some(Security::Insecure) => out.plain("security=insecure"),
        None => {}
    }
    for device in &run.devices {
        out.field("device", &device.name);
        out.switch("required", device.required);
    }
}

fn healthcheck_fields(out: &mut Fields, healthcheck: &Healthcheck) {
    let check = match healthcheck {
        Healthcheck::None => return out.plain("none"),
        Healthcheck::Check(check) => check,
    };
    out.command(&check.command);
    for (name, duration) in check.durations() {
        let _ = write!(out.0, " {name}={duration:?}");
    }
    if let Some(retries) = check.retries {
        out.field("retries", &retries);
    }
}

/// A line in the making.
struct Fields(String);

impl Fields {
    fn plain(&mut self, text: &str) {
        self.0.push(' ');
        self.0.push_str(text);
    }

    fn field(&mut self, name: &str, value: &impl Debug) {
        let _ = write!(self.0, " {name}={value:?}");
    }

    fn switch(&mut self, name: &str, on: bool) {
        if on {
            self.plain(name);
        }
    }

    fn word(&mut self, name: &str, word: &Word) {
        self.field(name, &word.text);
    }

    fn optional(&mut self, name: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    fn words(&mut self, name: &str, words: &[Word]) {
        for word in words {
            self.word(name, word);
        }
    }

    fn command(&mut self, command: &CommandLine) {
        match command {
            CommandLine::Shell(text) => self.field("shell", &text.text),
            CommandLine::Exec(words) => self.field("exec", words),
        }
    }

    fn pairs(&mut self, pairs: &[Pair], legacy: bool) {
        self.switch("legacy", legacy);
        for pair in pairs {
            let _ = write!(self.0, " {:?}={:?}", pair.key.text, pair.value.text);
        }
    }

    fn sources(&mut self, sources: &[CopySource]) {
        for source in sources {
            match source {
                CopySource::Path(path) => self.word("source", path),
                CopySource::Heredoc(heredoc) => self.heredoc(heredoc),
            }
        }
    }

    fn heredoc(&mut self, heredoc: &Heredoc) {
        let Heredoc { name, body, expand, strip_tabs, descriptor, .. } = heredoc;
        let _ = write!(self.0, " heredoc({name:?}");
        self.switch("expand", *expand);
        self.switch("strip-tabs", *strip_tabs);
        if let Some(descriptor) = descriptor {
            let _ = write!(self.0, " descriptor={descriptor}");
        }
        let _ = write!(self.0, " {body:?})");
    }

    fn mount(&mut self, mount: &Mount) {
        self.plain("mount(");
        for (index, option) in mount.options.iter().enumerate() {
            self.0.push_str(if index > 0 { " " } else { "" });
            self.0.push_str(option.key.name());
            if let Some(value) = &option.value {
                let _ = write!(self.0, "={:?}", value.text);
            }
        }
        self.0.push(')');
    }
}
