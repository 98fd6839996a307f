//! What all processes of a sandbox together may take, as values, and what that is to a control group. Pure.

use serde::{Deserialize, Serialize};

use super::limits::{LimitSyntax, parse_size};

/// What all processes of a sandbox together may take: kept by a control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Of memory and swap together.
    pub memory_swap: Option<Swap>,
    /// Microseconds of processors in each 100 milliseconds.
    pub cpu_quota: Option<u64>,
    /// As docker counts them: 1024 is one share of the usual size.
    pub cpu_shares: Option<u64>,
    /// Processors by number, as `0-2,5`.
    pub cpuset: Option<String>,
    pub pids: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    Unlimited,
    Bytes(u64),
}

/// With less than 6 MiB nothing starts; docker has the same bound.
pub fn parse_memory(text: &str) -> Result<u64, LimitSyntax> {
    match parse_size(text)? {
        bytes if bytes < 6 << 20 => Err(LimitSyntax::TooSmall { least: "6m" }),
        bytes => Ok(bytes),
    }
}

pub fn parse_swap(text: &str) -> Result<Swap, LimitSyntax> {
    if text == "-1" { Ok(Swap::Unlimited) } else { parse_size(text).map(Swap::Bytes) }
}

/// The length of time that a quota of processors is for.
const PERIOD: u64 = 100_000;

/// A number of processors as microseconds in each period.
pub fn parse_cpus(text: &str) -> Result<u64, LimitSyntax> {
    let invalid = || LimitSyntax::Cpus { text: text.to_owned() };
    let is_decimal = text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
    let number = text.parse::<f64>().ok().filter(|number| is_decimal && (0.01..=1e6).contains(number));
    #[expect(clippy::cast_precision_loss, reason = "the period is a small number")]
    let quota = number.ok_or_else(invalid)? * PERIOD as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1000 to 1e11")]
    Ok(quota.round() as u64)
}

pub fn parse_shares(text: &str) -> Result<u64, LimitSyntax> {
    let number = text.parse().ok().filter(|number| (2..=262_144).contains(number));
    number.ok_or_else(|| LimitSyntax::Shares { text: text.to_owned() })
}

pub fn parse_cpuset(text: &str) -> Result<String, LimitSyntax> {
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    let is_range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).is_some_and(|first| Some(first) <= number(last)),
        None => number(part).is_some(),
    };
    let is_list = text.split(',').all(is_range);
    if is_list { Ok(text.to_owned()) } else { Err(LimitSyntax::Cpuset { text: text.to_owned() }) }
}

/// None is no limit.
pub fn parse_pids(text: &str) -> Result<Option<u64>, LimitSyntax> {
    match text {
        "-1" | "0" => Ok(None),
        digits => {
            let number = digits.parse().map(Some);
            number.map_err(|_| LimitSyntax::Pids { text: text.to_owned() })
        }
    }
}

/// What is written into one file of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFile {
    /// The option that asks for it.
    pub option: String,
    pub controller: String,
    pub name: String,
    pub content: String,
    /// Whether a kernel that has no such file cannot do what was asked for.
    pub required: bool,
}

impl Resources {
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the values go together.
    pub fn check(&self) -> Result<(), LimitSyntax> {
        match (self.memory, self.memory_swap) {
            (None, Some(_)) => Err(LimitSyntax::SwapAlone),
            (Some(memory), Some(Swap::Bytes(both))) if both < memory => Err(LimitSyntax::SwapBelowMemory),
            (Some(_), Some(_)) | (_, None) => Ok(()),
        }
    }

    /// The files of a control group (version 2) that keep to this.
    pub fn files(&self) -> Vec<GroupFile> {
        let file = |option: &str, name: &str, content: String| GroupFile {
            option: option.to_owned(),
            controller: name.split('.').next().unwrap_or_default().to_owned(),
            name: name.to_owned(),
            content,
            required: true,
        };
        let mut files = Vec::new();
        if let Some(memory) = self.memory {
            files.push(file("--memory", "memory.max", memory.to_string()));
            files.push(match self.memory_swap {
                Some(Swap::Unlimited) => file("--memory-swap", "memory.swap.max", "max".to_owned()),
                Some(Swap::Bytes(both)) => {
                    file("--memory-swap", "memory.swap.max", both.saturating_sub(memory).to_string())
                }
                // As much swap as memory, as docker does; kernels without swap have no such file.
                None => {
                    GroupFile { required: false, ..file("--memory", "memory.swap.max", memory.to_string()) }
                }
            });
        }
        files.extend(self.cpu_quota.map(|quota| file("--cpus", "cpu.max", format!("{quota} {PERIOD}"))));
        files.extend(
            self.cpu_shares.map(|shares| file("--cpu-shares", "cpu.weight", weight(shares).to_string())),
        );
        files.extend(self.cpuset.as_ref().map(|list| file("--cpuset-cpus", "cpuset.cpus", list.clone())));
        files.extend(self.pids.map(|pids| file("--pids-limit", "pids.max", pids.to_string())));
        files
    }
}

/// Shares of version 1 as a weight of version 2: both have their least, their usual and their largest value in common.
fn weight(shares: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "shares are at most 262144")]
    let logarithm = (shares as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 10000")]
    let weight = 10_f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_processors_and_processes_are_checked() {
        assert_eq!(parse_cpus("1.5"), Ok(150_000));
        assert_eq!(parse_cpus("0.01"), Ok(1_000));
        for text in ["", "0", "0.001", "-1", "nan", "inf", "1e3", "1.2.3"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
        assert!(parse_memory("5m").is_err() && parse_memory("6m").is_ok());
        assert!(parse_cpuset("0-2,5").is_ok() && parse_cpuset("0").is_ok());
        for text in ["", "a", "2-1", "0,", "1-", "-1", "0 1"] {
            assert!(parse_cpuset(text).is_err(), "{text}");
        }
        assert_eq!([parse_pids("-1"), parse_pids("0"), parse_pids("5")], [Ok(None), Ok(None), Ok(Some(5))]);
        assert!(parse_pids("many").is_err() && parse_shares("1").is_err() && parse_shares("1024").is_ok());
    }

    #[track_caller]
    fn check_files(resources: &Resources, expected: &[&str]) {
        let files: Vec<String> = resources
            .files()
            .iter()
            .map(|file| format!("{}{} {}", file.name, if file.required { "" } else { "?" }, file.content))
            .collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn limits_become_files_of_a_control_group() {
        check_files(&Resources::default(), &[]);
        let memory = Resources { memory: Some(1000), ..Resources::default() };
        check_files(&memory, &["memory.max 1000", "memory.swap.max? 1000"]);
        let swap = |swap| Resources { memory_swap: Some(swap), ..memory.clone() };
        check_files(&swap(Swap::Bytes(1500)), &["memory.max 1000", "memory.swap.max 500"]);
        check_files(&swap(Swap::Unlimited), &["memory.max 1000", "memory.swap.max max"]);
        assert_eq!(swap(Swap::Bytes(999)).check(), Err(LimitSyntax::SwapBelowMemory));
        let alone = Resources { memory: None, ..swap(Swap::Unlimited) };
        assert_eq!(alone.check(), Err(LimitSyntax::SwapAlone));
        let others = Resources {
            cpu_quota: Some(150_000),
            cpu_shares: Some(1024),
            cpuset: Some("0-1".to_owned()),
            pids: Some(64),
            ..Resources::default()
        };
        check_files(&others, &["cpu.max 150000 100000", "cpu.weight 100", "cpuset.cpus 0-1", "pids.max 64"]);
        let controllers: Vec<String> = others.files().into_iter().map(|file| file.controller).collect();
        assert_eq!(controllers, ["cpu", "cpu", "cpuset", "pids"]);
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 100, 10_000]);
    }
}
