//! Trees as Dockerfiles: reading what is printed gives the same tree.

use std::fmt::Write as _;

use super::heredoc;
use super::instruction::{CommandLine, CopySource, Healthcheck, Network, Pair, Security};
use super::{ArgInstruction, Dockerfile, From, Heredoc, Instruction, Mount, Word};

impl Dockerfile {
    /// The file in a plain form: one line for each instruction, flags in a fixed order.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let directives = &self.directives;
        if let Some(syntax) = &directives.syntax {
            let _ = writeln!(out, "# syntax={}", syntax.text);
        }
        if directives.escape != '\\' {
            let _ = writeln!(out, "# escape={}", directives.escape);
        }
        if let Some(check) = &directives.check {
            let _ = writeln!(out, "# check={}", check.text);
        }
        // A blank line ends the directives, so that no comment below is taken for one.
        out.push('\n');
        let printer = Printer { escape: directives.escape };
        for arg in &self.global_args {
            printer.push(&mut out, &arg.comments, Printed::line(format!("ARG{}", arg_words(&arg.node))));
        }
        for stage in &self.stages {
            printer.push(&mut out, &stage.from.comments, Printed::line(printer.from(&stage.from.node)));
            for instruction in &stage.instructions {
                printer.push(&mut out, &instruction.comments, printer.instruction(&instruction.node));
            }
        }
        out
    }
}

/// A line, and the heredoc bodies that follow it.
struct Printed {
    line: String,
    bodies: String,
}

struct Printer {
    escape: char,
}

/// Lines are broken before they get longer than a physical line may be.
const LONG: usize = 60_000;

impl Printed {
    fn line(line: String) -> Self {
        Self { line, bodies: String::new() }
    }

    fn body(&mut self, heredoc: &Heredoc) {
        self.bodies.push_str(&heredoc.body);
        self.bodies.push_str(&heredoc.name);
        self.bodies.push('\n');
    }
}

impl Printer {
    fn push(&self, out: &mut String, comments: &[String], printed: Printed) {
        for comment in comments {
            let _ = writeln!(out, "# {comment}");
        }
        self.push_line(out, &printed.line);
        out.push_str(&printed.bodies);
        // Comments that were dropped must not become those of the next instruction, nor these.
        out.push('\n');
    }

    fn push_line(&self, out: &mut String, line: &str) {
        let mut rest = line;
        while rest.len() > LONG {
            // A piece must neither end in an escape, nor begin like a comment or a blank line.
            let breakable =
                rest.char_indices().skip(1).take_while(|(at, _)| *at <= LONG).filter(|(at, letter)| {
                    !letter.is_whitespace() && *letter != '#' && !rest[..*at].ends_with(self.escape)
                });
            let Some((at, _)) = breakable.last() else { break };
            out.push_str(&rest[..at]);
            out.push(self.escape);
            out.push('\n');
            rest = &rest[at..];
        }
        out.push_str(rest);
        if rest.ends_with(self.escape) {
            // A blank that is neither space nor tab: dropped like them, but the escape before it continues no line.
            out.push('\x0b');
        }
        out.push('\n');
    }

    fn from(&self, from: &From) -> String {
        let mut line = "FROM".to_owned();
        self.flag(&mut line, "platform", from.platform.as_ref());
        let _ = write!(line, " {}", guarded(&from.image.text));
        if let (Some(keyword), Some(name)) = (&from.as_keyword, &from.name) {
            let _ = write!(line, " {} {}", keyword.text, name.text);
        }
        line
    }

    fn instruction(&self, instruction: &Instruction) -> Printed {
        let mut out = Printed::line(instruction.keyword().name().to_owned());
        let line = &mut out.line;
        match instruction {
            Instruction::Add(add) => {
                self.flag(line, "chown", add.chown.as_ref());
                self.flag(line, "chmod", add.chmod.as_ref());
                switch(line, "link", add.link.then_some(true));
                self.flag(line, "checksum", add.checksum.as_ref());
                switch(line, "keep-git-dir", add.keep_git_dir);
                switch(line, "unpack", add.unpack);
                add.excludes.iter().for_each(|exclude| self.flag(line, "exclude", Some(exclude)));
                self.sources(&mut out, &add.sources, &add.destination);
            }
            Instruction::Arg(arg) => line.push_str(&arg_words(arg)),
            Instruction::Cmd(cmd) => command(line, &cmd.command),
            Instruction::Copy(copy) => {
                self.flag(line, "from", copy.from.as_ref());
                self.flag(line, "chown", copy.chown.as_ref());
                self.flag(line, "chmod", copy.chmod.as_ref());
                switch(line, "link", copy.link.then_some(true));
                switch(line, "parents", copy.parents.then_some(true));
                switch(line, "if-exists", copy.if_exists.then_some(true));
                copy.excludes.iter().for_each(|exclude| self.flag(line, "exclude", Some(exclude)));
                self.sources(&mut out, &copy.sources, &copy.destination);
            }
            Instruction::Entrypoint(entrypoint) => command(line, &entrypoint.command),
            Instruction::Env(env) => pairs(line, &env.pairs, env.legacy),
            Instruction::Expose(expose) => {
                let words: Vec<&str> = expose.ports.iter().map(|port| port.text.as_str()).collect();
                let _ = write!(line, " {}", guarded(&words.join(" ")));
            }
            Instruction::Healthcheck(healthcheck) => print_healthcheck(line, healthcheck),
            Instruction::Label(label) => pairs(line, &label.pairs, label.legacy),
            Instruction::Maintainer(maintainer) => single(line, &maintainer.author),
            Instruction::Onbuild(onbuild) => {
                // The text is what the config records, so it is printed as it is.
                let (first, bodies) = onbuild.text.split_once('\n').unwrap_or((&onbuild.text, ""));
                let _ = write!(line, " {first}");
                if !bodies.is_empty() {
                    out.bodies = format!("{bodies}\n");
                }
            }
            Instruction::Run(run) => {
                run.mounts.iter().for_each(|mount| self.mount(line, mount));
                match run.network {
                    Some(Network::Default) => line.push_str(" --network=default"),
                    Some(Network::None) => line.push_str(" --network=none"),
                    Some(Network::Host) => line.push_str(" --network=host"),
                    None => {}
                }
                match run.security {
                    Some(Security::Sandbox) => line.push_str(" --security=sandbox"),
                    Some(Security::Insecure) => line.push_str(" --security=insecure"),
                    None => {}
                }
                for device in &run.devices {
                    let required = if device.required { ",required" } else { "" };
                    self.value(line, "device", &format!("{}{required}", device.name));
                }
                command(line, &run.command);
                run.heredocs.iter().for_each(|heredoc| out.body(heredoc));
            }
            Instruction::Shell(shell) => {
                let _ = write!(line, " {}", json(&shell.command));
            }
            Instruction::Stopsignal(stopsignal) => single(line, &stopsignal.signal),
            Instruction::User(user) => single(line, &user.user),
            Instruction::Volume(volume) => {
                let paths: Vec<&str> = volume.paths.iter().map(|path| path.text.as_str()).collect();
                let _ = write!(line, " {}", self.words(&paths));
            }
            Instruction::Workdir(workdir) => single(line, &workdir.path),
        }
        out
    }

    fn flag(&self, line: &mut String, name: &str, value: Option<&Word>) {
        if let Some(value) = value {
            self.value(line, name, &value.text);
        }
    }

    fn value(&self, line: &mut String, name: &str, value: &str) {
        let _ = write!(line, " --{name}=");
        for letter in value.chars() {
            if letter.is_whitespace() || letter == '\'' || letter == '"' || letter == self.escape {
                line.push(self.escape);
            }
            line.push(letter);
        }
    }

    fn mount(&self, line: &mut String, mount: &Mount) {
        let fields = mount.options.iter().map(|option| {
            let name = option.key.name();
            let field = option
                .value
                .as_ref()
                .map_or_else(|| name.to_owned(), |value| format!("{name}={}", value.text));
            if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
        });
        let fields: Vec<String> = fields.collect();
        self.value(line, "mount", &fields.join(","));
    }

    fn sources(&self, out: &mut Printed, sources: &[CopySource], destination: &Word) {
        let mut words = Vec::new();
        let mut heredocs = Vec::new();
        for source in sources {
            match source {
                CopySource::Path(path) => words.push(path.text.clone()),
                CopySource::Heredoc(heredoc) => {
                    words.push(opener(heredoc));
                    heredocs.push(heredoc);
                }
            }
        }
        words.push(destination.text.clone());
        // Only the plain form has heredocs, and then every word came from it.
        if heredocs.is_empty() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = write!(out.line, " {}", self.words(&words));
        } else {
            let _ = write!(out.line, " {}", guarded(&words.join(" ")));
        }
        heredocs.into_iter().for_each(|heredoc| out.body(heredoc));
    }

    /// Words between blanks, or an array where that would mean something else.
    fn words(&self, words: &[&str]) -> String {
        let plain = |word: &&str| {
            !word.is_empty()
                && !word.contains(char::is_whitespace)
                && !word.contains("<<")
                && !word.ends_with(self.escape)
        };
        let first = words.first().copied().unwrap_or_default();
        if words.iter().all(plain) && !first.starts_with('[') && !first.starts_with("--") {
            return words.join(" ");
        }
        json(words)
    }
}

fn arg_words(arg: &ArgInstruction) -> String {
    let mut words = String::new();
    for variable in &arg.variables {
        let _ = write!(words, " {}", variable.name.text);
        if let Some(default) = &variable.default {
            let _ = write!(words, "={}", default.text);
        }
    }
    let text = words.strip_prefix(' ').unwrap_or(&words);
    format!(" {}", guarded(text))
}

fn single(line: &mut String, word: &Word) {
    let _ = write!(line, " {}", guarded(&word.text));
}

fn command(line: &mut String, command: &CommandLine) {
    match command {
        CommandLine::Shell(text) => single(line, text),
        CommandLine::Exec(words) => {
            let _ = write!(line, " {}", json(words));
        }
    }
}

fn pairs(line: &mut String, pairs: &[Pair], legacy: bool) {
    let sign = if legacy { " " } else { "=" };
    let words: Vec<String> =
        pairs.iter().map(|pair| format!("{}{sign}{}", pair.key.text, pair.value.text)).collect();
    let _ = write!(line, " {}", guarded(&words.join(" ")));
}

fn print_healthcheck(line: &mut String, healthcheck: &Healthcheck) {
    let check = match healthcheck {
        Healthcheck::None => return line.push_str(" NONE"),
        Healthcheck::Check(check) => check,
    };
    for (name, duration) in check.durations() {
        let _ = write!(line, " --{name}={}ns", duration.as_nanos());
    }
    if let Some(retries) = check.retries {
        let _ = write!(line, " --retries={retries}");
    }
    line.push_str(" CMD");
    match &check.command {
        CommandLine::Shell(text) => {
            let _ = write!(line, " {}", text.text);
        }
        CommandLine::Exec(_) => command(line, &check.command),
    }
}

fn switch(line: &mut String, name: &str, value: Option<bool>) {
    if let Some(value) = value {
        let _ = write!(line, " --{name}={value}");
    }
}

/// `<<EOF` in a form that gives the same name.
fn opener(heredoc: &Heredoc) -> String {
    let Heredoc { name, expand, strip_tabs, descriptor, .. } = heredoc;
    let descriptor = descriptor.as_deref().unwrap_or_default();
    let dash = if *strip_tabs { "-" } else { "" };
    let quoted = match (expand, name.contains('\'')) {
        (true, _) => name.clone(),
        (false, false) => format!("'{name}'"),
        (false, true) => {
            let protected = name.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            format!("\"{protected}\"")
        }
    };
    let word = format!("{descriptor}<<{dash}{quoted}");
    debug_assert!(heredoc::opener(&word).is_some_and(|opener| opener.name == *name));
    word
}

/// Text that is not taken for flags.
fn guarded(text: &str) -> String {
    if text.starts_with("--") { format!("-- {text}") } else { text.to_owned() }
}

fn json<T: serde::Serialize>(words: &[T]) -> String {
    serde_json::to_string(words).expect("strings are always JSON")
}

#[cfg(test)]
mod tests;
