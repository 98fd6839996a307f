//! Instructions that only say something about the image.

use super::history;
use super::refusal::Outcome;
use super::stage::{Planner, StageState};
use crate::dockerfile::{
    ArgInstruction, CommandLine, Diagnostic, Healthcheck, Instruction, Pair, Port, Spanned, Word,
};
use crate::image::{Healthcheck as ConfigHealthcheck, RunConfig};

impl Planner<'_> {
    pub(super) fn instruction(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
    ) -> Outcome<()> {
        match &instruction.node {
            Instruction::Add(add) => self.add(state, instruction, add),
            Instruction::Copy(copy) => self.copy(state, instruction, copy),
            Instruction::Run(run) => self.run(state, instruction, run),
            Instruction::Workdir(workdir) => self.workdir(state, instruction, workdir),
            Instruction::Arg(arg) => self.arg(state, instruction, arg),
            Instruction::Env(env) => self.env(state, &env.pairs),
            Instruction::Label(label) => self.label(state, &label.pairs),
            Instruction::Cmd(cmd) => {
                let words = in_shell(&cmd.command, &state.config.config);
                note(state, format!("CMD {}", history::quoted_list(&words)));
                // Whatever the form: so it is in every image that BuildKit makes.
                state.config.config.args_escaped = true;
                state.config.config.cmd = Some(words);
                state.command_set = true;
                Ok(())
            }
            Instruction::Entrypoint(entrypoint) => {
                let words = in_shell(&entrypoint.command, &state.config.config);
                note(state, format!("ENTRYPOINT {}", history::quoted_list(&words)));
                state.config.config.entrypoint = (!words.is_empty()).then_some(words);
                // A command that the base brought along was meant for the base's entrypoint.
                if !state.command_set {
                    state.config.config.cmd = None;
                }
                Ok(())
            }
            Instruction::Shell(shell) => {
                note(state, format!("SHELL [{}]", shell.command.join(" ")));
                state.config.config.shell.clone_from(&shell.command);
                Ok(())
            }
            Instruction::User(user) => {
                let name = self.not_blank(state, &user.user, "USER")?;
                note(state, format!("USER {name}"));
                state.config.config.user = name;
                Ok(())
            }
            Instruction::Stopsignal(signal) => {
                let name = self.expand(state, &signal.signal)?;
                signal.check(&name)?;
                note(state, format!("STOPSIGNAL {name}"));
                state.config.config.stop_signal = name;
                Ok(())
            }
            Instruction::Volume(volume) => self.volume(state, &volume.paths),
            Instruction::Expose(expose) => self.expose(state, &expose.ports),
            Instruction::Healthcheck(check) => {
                let check = healthcheck(check);
                note(state, format!("HEALTHCHECK {}", healthcheck_text(&check)));
                state.config.config.healthcheck = Some(check);
                Ok(())
            }
            Instruction::Onbuild(onbuild) => {
                state.config.config.on_build.push(onbuild.text.clone());
                Ok(())
            }
            Instruction::Maintainer(maintainer) => {
                let name = maintainer.author.text.clone();
                note(state, format!("MAINTAINER {name}"));
                state.config.author = Some(name);
                Ok(())
            }
        }
    }

    fn arg(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        arg: &ArgInstruction,
    ) -> Outcome<()> {
        let declared = state.scope.declare(arg, &self.global, self.escape())?;
        let mut shown = Vec::new();
        for (variable, declared) in arg.variables.iter().zip(&declared) {
            let span = variable.default.as_ref().map_or(variable.name.span, |default| default.span);
            self.undefined(state, &declared.unset, span);
            shown.push(match &declared.value {
                Some(value) => format!("{}={value}", declared.name),
                None => declared.name.clone(),
            });
            // A global argument whose value could not be made out has already been told.
            if declared.value.is_none() && self.global.broken.contains(&declared.name) {
                state.scope.forget(&declared.name);
            }
        }
        let span = self.place(state, instruction);
        self.outline.declared(self.file, &self.global, arg, &declared, span);
        note(state, format!("ARG {}", shown.join(" ")));
        Ok(())
    }

    fn env(&mut self, state: &mut StageState, written: &[Pair]) -> Outcome<()> {
        let pairs = self.pairs(state, written)?;
        for (pair, (key, value)) in written.iter().zip(&pairs) {
            if key.is_empty() {
                return Err(Diagnostic::new("ENV names can not be blank", pair.key.span).into());
            }
            state.scope.set(key, value);
            state.config.config.set_variable(key, value);
        }
        note(state, format!("ENV {}", joined(&pairs)));
        Ok(())
    }

    fn label(&mut self, state: &mut StageState, pairs: &[Pair]) -> Outcome<()> {
        let pairs = self.pairs(state, pairs)?;
        note(state, format!("LABEL {}", joined(&pairs)));
        state.config.config.labels.extend(pairs);
        Ok(())
    }

    /// All values see the variables as they were before the instruction.
    fn pairs(&mut self, state: &StageState, pairs: &[Pair]) -> Outcome<Vec<(String, String)>> {
        pairs
            .iter()
            .map(|pair| Ok((self.expand(state, &pair.key)?, self.expand(state, &pair.value)?)))
            .collect()
    }

    fn volume(&mut self, state: &mut StageState, paths: &[Word]) -> Outcome<()> {
        let mut volumes = Vec::new();
        for path in paths {
            let volume = self.expand(state, path)?;
            if volume.trim().is_empty() {
                return Err(Diagnostic::new("VOLUME specified can not be an empty string", path.span).into());
            }
            volumes.push(volume);
        }
        note(state, format!("VOLUME [{}]", volumes.join(" ")));
        volumes.into_iter().for_each(|volume| state.config.config.volumes.insert(volume));
        Ok(())
    }

    fn expose(&mut self, state: &mut StageState, words: &[Word]) -> Outcome<()> {
        let mut ports = Vec::new();
        for word in words {
            let expanded = state.scope.expand_words(word, self.escape())?;
            self.undefined(state, &expanded.unset, word.span);
            for text in expanded.words {
                let parsed = Port::parse(&text).map_err(|message| Diagnostic::new(message, word.span))?;
                ports.extend(parsed.iter().map(ToString::to_string));
            }
        }
        note(state, format!("EXPOSE [{}]", ports.join(" ")));
        ports.into_iter().for_each(|port| state.config.config.exposed_ports.insert(port));
        Ok(())
    }

    pub(super) fn not_blank(&mut self, state: &StageState, word: &Word, keyword: &str) -> Outcome<String> {
        let text = self.expand(state, word)?;
        if text.is_empty() {
            return Err(Diagnostic::new(
                format!("{keyword} can not be blank: {} has no value", word.text),
                word.span,
            )
            .into());
        }
        Ok(text)
    }
}

fn note(state: &mut StageState, created_by: String) {
    state.history.push(history::empty(created_by));
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// A command as it is executed: text goes through the stage's shell.
pub(super) fn in_shell(command: &CommandLine, config: &RunConfig) -> Vec<String> {
    match command {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => shell_words(&text.text, config),
    }
}

pub(super) fn shell_words(script: &str, config: &RunConfig) -> Vec<String> {
    let default = ["/bin/sh".to_owned(), "-c".to_owned()];
    let shell = if config.shell.is_empty() { &default[..] } else { &config.shell };
    shell.iter().cloned().chain([script.to_owned()]).collect()
}

fn healthcheck(check: &Healthcheck) -> ConfigHealthcheck {
    match check {
        Healthcheck::None => {
            ConfigHealthcheck { test: vec!["NONE".to_owned()], ..ConfigHealthcheck::default() }
        }
        Healthcheck::Check(check) => {
            let test = match &check.command {
                CommandLine::Exec(words) => [&["CMD".to_owned()], &words[..]].concat(),
                CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.text.clone()],
            };
            let nanoseconds = |duration: Option<std::time::Duration>| {
                duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
            };
            ConfigHealthcheck {
                test,
                interval: nanoseconds(check.interval),
                timeout: nanoseconds(check.timeout),
                start_period: nanoseconds(check.start_period),
                start_interval: nanoseconds(check.start_interval),
                retries: check.retries.map_or(0, i64::from),
            }
        }
    }
}

/// As Go prints the struct, because that is what histories have.
fn healthcheck_text(check: &ConfigHealthcheck) -> String {
    format!(
        "{{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        go_duration(check.interval),
        go_duration(check.timeout),
        go_duration(check.start_period),
        go_duration(check.start_interval),
        check.retries
    )
}

/// `1h2m3.5s`, `250ms`, `0s`: Go's way of writing durations.
fn go_duration(nanoseconds: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let fraction = |value: i64, unit: i64, name: &str| {
        let (whole, rest) = (value / unit, value % unit);
        let digits = format!("{rest:0width$}", width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}.{digits}{name}") }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => fraction(nanoseconds, 1_000, "µs"),
        1_000_000..SECOND => fraction(nanoseconds, 1_000_000, "ms"),
        _ => {
            let minutes = nanoseconds / (60 * SECOND);
            let seconds = fraction(nanoseconds % (60 * SECOND), SECOND, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_025_500_000_000, "1h23m45.5s"),
        ] {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }
}
