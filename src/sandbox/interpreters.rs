//! In the command: whether programs of another kind of machine can be executed, by an interpreter that the kernel knows of.

use std::path::Path;

/// Where the kernel tells.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// What begins a program: its class (2 is 64 bits), its byte order (2 has the greatest byte first), its machine.
const MACHINES: [(&str, u8, u8, u16); 10] = [
    ("386", 1, 1, 3),
    ("amd64", 2, 1, 0x3e),
    ("arm", 1, 1, 0x28),
    ("arm64", 2, 1, 0xb7),
    ("loong64", 2, 1, 0x102),
    ("mips64le", 2, 1, 8),
    ("ppc64", 2, 2, 0x15),
    ("ppc64le", 2, 1, 0x15),
    ("riscv64", 2, 1, 0xf3),
    ("s390x", 2, 2, 0x16),
];

/// Architectures whose programs the processors of another one execute themselves.
const NATIVE: [(&str, &str); 2] = [("386", "amd64"), ("arm", "arm64")];

/// Why programs of another architecture cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoInterpreter {
    #[error("no interpreter for them is registered with the kernel (binfmt_misc)")]
    None,
    /// It is looked for in the root file system of the step, which does not have it.
    #[error("their interpreter {path} is registered with the kernel (binfmt_misc) without the flag F")]
    NotFixed { path: String },
}

impl NoInterpreter {
    /// What would help.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None => {
                "Debian's qemu-user-static with binfmt-support registers interpreters; COPY and everything else but RUN \
                 needs none, and a stage of FROM --platform=$BUILDPLATFORM can do what takes programs"
            }
            Self::NotFixed { .. } => "register it again with the flag F, so that the kernel keeps it open",
        }
    }
}

/// Whether programs of `architecture` can be executed on `host`.
pub fn can_execute(architecture: &str, host: &str) -> Result<(), NoInterpreter> {
    if architecture == host || NATIVE.contains(&(architecture, host)) {
        return Ok(());
    }
    interpreter(architecture, Path::new(REGISTERED))
}

fn interpreter(architecture: &str, registered: &Path) -> Result<(), NoInterpreter> {
    let header = header(architecture).ok_or(NoInterpreter::None)?;
    let mut answer = Err(NoInterpreter::None);
    for entry in std::fs::read_dir(registered).into_iter().flatten().flatten() {
        // `register` can only be written, and `status` has another form.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let Some(path) = matching(&text, &header) else { continue };
        if value(&text, "flags:").is_some_and(|flags| flags.contains('F')) {
            return Ok(());
        }
        answer = Err(NoInterpreter::NotFixed { path: path.to_owned() });
    }
    answer
}

/// How the programs of an architecture begin.
fn header(architecture: &str) -> Option<[u8; 20]> {
    let (_, class, order, machine) = *MACHINES.iter().find(|(name, ..)| *name == architecture)?;
    let machine = if order == 2 { machine.to_be_bytes() } else { machine.to_le_bytes() };
    let kind = if order == 2 { [0, 2] } else { [2, 0] };
    let mut header = [0; 20];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    header[16..18].copy_from_slice(&kind);
    header[18..].copy_from_slice(&machine);
    Some(header)
}

/// The interpreter that an entry names, if it is in force and for programs that begin like this.
fn matching<'a>(entry: &'a str, header: &[u8; 20]) -> Option<&'a str> {
    let is_on = entry.lines().next() == Some("enabled");
    let offset: usize = value(entry, "offset ")?.parse().ok()?;
    let magic = bytes(value(entry, "magic ")?)?;
    let mask = value(entry, "mask ").map_or_else(|| Some(vec![0xff; magic.len()]), bytes)?;
    let wanted = magic.iter().zip(&mask).map(|(byte, mask)| byte & mask);
    let there = header.get(offset..)?.get(..magic.len())?.iter().zip(&mask).map(|(byte, mask)| byte & mask);
    (is_on && mask.len() == magic.len() && wanted.eq(there)).then(|| value(entry, "interpreter "))?
}

fn value<'a>(entry: &'a str, key: &str) -> Option<&'a str> {
    entry.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = |at| hex.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled
interpreter /usr/bin/qemu-aarch64-static
flags: OCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
";

    #[test]
    fn entries_are_for_programs_that_begin_as_they_say() {
        let found = |text: &str, architecture: &str| {
            matching(text, &header(architecture).unwrap()).map(str::to_owned)
        };
        assert_eq!(found(ARM64, "arm64").as_deref(), Some("/usr/bin/qemu-aarch64-static"));
        assert_eq!(found(ARM64, "arm"), None);
        assert_eq!(found(ARM64, "riscv64"), None);
        assert_eq!(found(&ARM64.replace("enabled", "disabled"), "arm64"), None);
        assert_eq!(found("enabled", "arm64"), None);
        let s390x = ARM64
            .replace("7f454c460201010000000000000000000200b700", "7f454c4602020100000000000000000000020016")
            .replace("fffeffffff", "fffffeffff");
        assert!(found(&s390x, "s390x").is_some());
    }

    #[test]
    fn an_interpreter_has_to_be_open_already() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("status"), "enabled\n").unwrap();
        assert_eq!(interpreter("arm64", directory.path()), Err(NoInterpreter::None));
        std::fs::write(directory.path().join("qemu"), ARM64.replace("OCF", "OC")).unwrap();
        let path = "/usr/bin/qemu-aarch64-static".to_owned();
        assert_eq!(interpreter("arm64", directory.path()), Err(NoInterpreter::NotFixed { path }));
        std::fs::write(directory.path().join("qemu"), ARM64).unwrap();
        assert_eq!(interpreter("arm64", directory.path()), Ok(()));
        assert_eq!(interpreter("vax", directory.path()), Err(NoInterpreter::None));
    }

    #[test]
    fn what_the_processor_knows_needs_none() {
        assert_eq!(can_execute("amd64", "amd64"), Ok(()));
        assert_eq!(can_execute("386", "amd64"), Ok(()));
        assert_eq!(can_execute("arm", "arm64"), Ok(()));
    }
}
