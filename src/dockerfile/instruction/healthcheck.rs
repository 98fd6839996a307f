//! HEALTHCHECK: how to see that a container is well.

use std::time::Duration;

use super::argument::Arguments;
use super::command::CommandLine;
use super::duration;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::{FlagSpec, Flags};
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Healthcheck {
    /// Switches off what the base image has.
    None,
    Check(Check),
}

/// What is not given is left to whoever runs the container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub command: CommandLine,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}

impl Check {
    /// The durations that are given, by the names of their flags.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let all = [
            ("interval", self.interval),
            ("timeout", self.timeout),
            ("start-period", self.start_period),
            ("start-interval", self.start_interval),
        ];
        all.into_iter().filter_map(|(name, duration)| Some((name, duration?)))
    }
}

const FLAGS: &[FlagSpec] = &[
    FlagSpec::text("interval"),
    FlagSpec::text("timeout"),
    FlagSpec::text("start-period"),
    FlagSpec::text("start-interval"),
    FlagSpec::text("retries"),
];

impl Healthcheck {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut flags = arguments.flags(FLAGS);
        arguments.require_one()?;
        let kind = arguments.take_word();
        match kind.text.to_uppercase().as_str() {
            "NONE" if arguments.rest().as_str().is_empty() => Ok(Self::None),
            "NONE" => {
                let span = arguments.rest().span();
                Err(Diagnostic::new("HEALTHCHECK NONE takes no arguments", span))
            }
            "CMD" => Ok(Self::Check(check(arguments, &mut flags, kind)?)),
            other => {
                let message = format!("Unknown type {other:?} in HEALTHCHECK (try CMD)");
                Err(Diagnostic::new(message, kind.span))
            }
        }
    }
}

fn check(arguments: &mut Arguments<'_>, flags: &mut Flags, kind: Word) -> Result<Check, Diagnostic> {
    let missing = || Diagnostic::new("Missing command after HEALTHCHECK CMD", kind.span);
    if arguments.rest().as_str().is_empty() {
        return Err(missing());
    }
    let command = CommandLine::parse(arguments)?;
    if matches!(&command, CommandLine::Exec(words) if words.is_empty()) {
        return Err(missing());
    }
    Ok(Check {
        command,
        interval: duration(flags, "interval")?,
        timeout: duration(flags, "timeout")?,
        start_period: duration(flags, "start-period")?,
        start_interval: duration(flags, "start-interval")?,
        retries: flags.text("retries").map(|value| retries(&value)).transpose()?,
    })
}

/// An empty value counts as none, as zero does later on.
fn duration(flags: &mut Flags, name: &'static str) -> Result<Option<Duration>, Diagnostic> {
    let Some(value) = flags.text(name).filter(|value| !value.text.is_empty()) else { return Ok(None) };
    let nanoseconds =
        duration::nanoseconds(&value.text).map_err(|message| Diagnostic::new(message, value.span))?;
    let too_short = || {
        let message = format!("Interval {name:?} cannot be less than 1ms");
        Err(Diagnostic::new(message, value.span).hint("0 stands for the default"))
    };
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => {
            Ok(Some(Duration::from_nanos(nanoseconds)))
        }
        Ok(_) | Err(_) => too_short(),
    }
}

fn retries(value: &Word) -> Result<u32, Diagnostic> {
    let text = &value.text;
    match text.parse::<i32>() {
        Ok(number) => u32::try_from(number)
            .map_err(|_| Diagnostic::new(format!("--retries cannot be negative ({number})"), value.span)),
        Err(_) => Err(Diagnostic::new(format!("--retries must be a number, not {text:?}"), value.span)),
    }
}
