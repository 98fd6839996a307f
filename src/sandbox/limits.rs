//! What a sandboxed process may take, as values. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::resources::Resources;

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
    }
}
