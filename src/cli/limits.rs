//! The options that limit what steps and containers may take, for every verb that runs them.

use std::time::Duration;

use clap::Args;

use super::report::Report;
use crate::dockerfile::instruction::nanoseconds;
use crate::graph;
use crate::sandbox::Limits;
use crate::sandbox::limits::{LimitSyntax, Ulimit, parse_shm_size};
use crate::sandbox::resources::{
    Resources, Swap, parse_cpus, parse_cpuset, parse_memory, parse_pids, parse_shares, parse_swap,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of each step or container")]
pub(super) struct LimitArgs {
    /// How long it may run before it is killed: 90s, 5m, 1h30m; a bare number is seconds. The exit code is 124 then.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// What one process may take, such as nofile=1024:4096; -1 is no limit. May be given several times.
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<Ulimit>,
    /// The size of /dev/shm, such as 128m [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = parse_shm_size)]
    shm_size: Option<u64>,
    /// Memory, such as 512m or 2g. This and what follows takes a delegated control group of version 2.
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
    /// Memory and swap together; -1 is no limit for swap [default: twice the memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_swap)]
    memory_swap: Option<Swap>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// The share of processor time where others want it too; 1024 is the usual share.
    #[arg(long, value_name = "NUMBER", value_parser = parse_shares)]
    cpu_shares: Option<u64>,
    /// The processors to run on, such as 0-2,5
    #[arg(long, value_name = "LIST", value_parser = parse_cpuset)]
    cpuset_cpus: Option<String>,
    /// How many processes and threads there may be; -1 is no limit.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = pids)]
    pids_limit: Option<Pids>,
}

#[derive(Debug, Clone, Copy)]
struct Pids(Option<u64>);

impl LimitArgs {
    pub(super) fn limits(&self) -> Result<Limits, Report> {
        let resources = Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            cpu_quota: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset: self.cpuset_cpus.clone(),
            pids: self.pids_limit.and_then(|Pids(limit)| limit),
        };
        resources.check().map_err(Report::usage)?;
        Ok(Limits { ulimits: self.last_words(), shm_size: self.shm_size, timeout: self.timeout, resources })
    }

    /// Those that decide about what a step is.
    pub(super) fn ulimits(&self) -> Vec<graph::Ulimit> {
        let number = |bound: Option<u64>| bound.map_or(-1, |bound| i64::try_from(bound).unwrap_or(i64::MAX));
        let ulimits = self.last_words().into_iter().map(|ulimit| graph::Ulimit {
            name: ulimit.kind.name().to_owned(),
            soft: number(ulimit.soft),
            hard: number(ulimit.hard),
        });
        ulimits.collect()
    }

    /// The last word on each kind counts.
    fn last_words(&self) -> Vec<Ulimit> {
        let mut ulimits: Vec<Ulimit> = Vec::new();
        for ulimit in &self.ulimits {
            ulimits.retain(|earlier| earlier.kind != ulimit.kind);
            ulimits.push(*ulimit);
        }
        ulimits
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = if is_bare { nanoseconds(&format!("{text}s"))? } else { nanoseconds(text)? };
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds @ 1..) => Ok(Duration::from_nanos(nanoseconds)),
        Ok(0) | Err(_) => Err("a duration has to be above zero".to_owned()),
    }
}

fn pids(text: &str) -> Result<Pids, LimitSyntax> {
    parse_pids(text).map(Pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos_or_seconds() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for text in ["", "0", "0s", "-5s", "5 s", "1d", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
