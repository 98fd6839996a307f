//! What a sandboxed process may take, as values, and what that is to control groups. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that can be limited; by default nothing is, but for shared memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Each kind once.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`, instead of 64 MiB.
    pub shm_size: Option<u64>,
    /// How long the process may run.
    pub timeout: Option<Duration>,
    pub resources: Resources,
}

/// A limit that each process has for itself. No number is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub kind: UlimitKind,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UlimitKind {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

const ULIMITS: [(&str, UlimitKind); 15] = [
    ("core", UlimitKind::Core),
    ("cpu", UlimitKind::Cpu),
    ("data", UlimitKind::Data),
    ("fsize", UlimitKind::Fsize),
    ("locks", UlimitKind::Locks),
    ("memlock", UlimitKind::Memlock),
    ("msgqueue", UlimitKind::Msgqueue),
    ("nice", UlimitKind::Nice),
    ("nofile", UlimitKind::Nofile),
    ("nproc", UlimitKind::Nproc),
    ("rss", UlimitKind::Rss),
    ("rtprio", UlimitKind::Rtprio),
    ("rttime", UlimitKind::Rttime),
    ("sigpending", UlimitKind::Sigpending),
    ("stack", UlimitKind::Stack),
];

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

/// A value that is no limit, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitSyntax {
    #[error("expected NAME=SOFT[:HARD], such as nofile=1024:4096")]
    UlimitForm,
    #[error("there is no ulimit {name:?}: expected one of {}", ulimit_names())]
    UlimitName { name: String },
    #[error("{text:?} is not a whole number; -1 is no limit")]
    UlimitNumber { text: String },
    #[error("the soft limit is above the hard one: {soft} > {hard}")]
    SoftAboveHard { soft: String, hard: String },
    #[error("{text:?} is not a size: expected a number with b, k, m, g or t, such as 64m")]
    Size { text: String },
    #[error("nothing would be left: the size has to be at least {least}")]
    TooSmall { least: &'static str },
    #[error("{text:?} is not a number of processors from 0.01 on, such as 1.5")]
    Cpus { text: String },
    #[error("{text:?} is not a number from 2 to 262144")]
    Shares { text: String },
    #[error("{text:?} is not a list of processors, such as 0-2,5")]
    Cpuset { text: String },
    #[error("{text:?} is not a number of processes; -1 is no limit")]
    Pids { text: String },
    #[error("--memory-swap limits memory and swap together, so --memory has to be given, too")]
    SwapAlone,
    #[error("--memory-swap is memory and swap together, so it cannot be below --memory")]
    SwapBelowMemory,
}

fn ulimit_names() -> String {
    ULIMITS.map(|(name, _)| name).join(", ")
}

impl UlimitKind {
    pub fn name(self) -> &'static str {
        ULIMITS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl FromStr for Ulimit {
    type Err = LimitSyntax;

    fn from_str(text: &str) -> Result<Self, LimitSyntax> {
        let (name, bounds) = text.split_once('=').ok_or(LimitSyntax::UlimitForm)?;
        let known = ULIMITS.iter().find(|(known, _)| *known == name);
        let (_, kind) = known.ok_or_else(|| LimitSyntax::UlimitName { name: name.to_owned() })?;
        let soft = bound(bounds.split(':').next().unwrap_or_default())?;
        let hard = bounds.split_once(':').map_or(Ok(soft), |(_, hard)| bound(hard))?;
        if !is_within(soft, hard) {
            let (soft, hard) = (shown(soft), shown(hard));
            return Err(LimitSyntax::SoftAboveHard { soft, hard });
        }
        Ok(Self { kind: *kind, soft, hard })
    }
}

/// Whether a limit lies within another one.
pub(super) fn is_within(inner: Option<u64>, outer: Option<u64>) -> bool {
    outer.is_none_or(|outer| inner.is_some_and(|inner| inner <= outer))
}

fn bound(text: &str) -> Result<Option<u64>, LimitSyntax> {
    match text {
        "-1" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = digits.parse().ok().filter(|number| *number <= i64::MAX.unsigned_abs());
            number.map(Some).ok_or_else(|| LimitSyntax::UlimitNumber { text: text.to_owned() })
        }
        _ => Err(LimitSyntax::UlimitNumber { text: text.to_owned() }),
    }
}

fn shown(bound: Option<u64>) -> String {
    bound.map_or_else(|| "no limit".to_owned(), |number| number.to_string())
}

impl fmt::Display for Ulimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |bound: Option<u64>| bound.map_or_else(|| "-1".to_owned(), |number| number.to_string());
        write!(out, "{}={}:{}", self.kind.name(), number(self.soft), number(self.hard))
    }
}

/// Bytes: a number, perhaps with a fraction, and a unit in powers of 1024 (`64m`, `1.5g`, `64MiB`).
pub fn parse_size(text: &str) -> Result<u64, LimitSyntax> {
    let invalid = || LimitSyntax::Size { text: text.to_owned() };
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let power = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(invalid()),
    };
    let scale = 1024_u64.pow(power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    if fraction.is_empty() || fraction.len() > 9 {
        return Err(invalid());
    }
    let parts = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let fraction: u64 = fraction.parse().map_err(|_| invalid())?;
    let part = u128::from(fraction) * u128::from(scale) / u128::from(parts);
    let bytes = u128::from(whole) * u128::from(scale) + part;
    i64::try_from(bytes).map(i64::unsigned_abs).map_err(|_| invalid())
}

/// A size of shared memory. Zero would be no limit at all to the kernel.
pub fn parse_shm_size(text: &str) -> Result<u64, LimitSyntax> {
    match parse_size(text)? {
        0 => Err(LimitSyntax::TooSmall { least: "1" }),
        bytes => Ok(bytes),
    }
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
    fn ulimits_have_dockers_forms() {
        let parsed = |text: &str| text.parse::<Ulimit>().map(|ulimit| ulimit.to_string());
        assert_eq!(parsed("nofile=1024").as_deref(), Ok("nofile=1024:1024"));
        assert_eq!(parsed("nofile=1024:2048").as_deref(), Ok("nofile=1024:2048"));
        assert_eq!(parsed("core=0:-1").as_deref(), Ok("core=0:-1"));
        assert_eq!(parsed("memlock=-1").as_deref(), Ok("memlock=-1:-1"));
        for text in
            ["", "nofile", "nofile=", "nofile=1:", "nofile=a", "nofile=-2", "nofile=1:2:3", "nofile=+1"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(matches!(parsed("open=1"), Err(LimitSyntax::UlimitName { .. })));
        for text in ["nofile=2:1", "nofile=-1:5"] {
            assert!(matches!(parsed(text), Err(LimitSyntax::SoftAboveHard { .. })), "{text}");
        }
        assert!(ULIMITS.iter().all(|(name, kind)| kind.name() == *name));
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("64k", 65_536),
            ("64m", 64 << 20),
            ("1.5G", 3 << 29),
            ("64MiB", 64 << 20),
            ("2 gb", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.m", ".5m", "1.2.3m", "99999999999t", "1e3", "0x10", "max"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_shm_size("0").is_err() && parse_shm_size("0k").is_err());
        assert!(parse_memory("5m").is_err() && parse_memory("6m").is_ok());
    }

    #[test]
    fn numbers_of_processors_and_processes_are_checked() {
        assert_eq!(parse_cpus("1.5"), Ok(150_000));
        assert_eq!(parse_cpus("0.01"), Ok(1_000));
        for text in ["", "0", "0.001", "-1", "nan", "inf", "1e3", "1.2.3"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
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
