//! What kind of a key a file has: what is wrong with it is said before anything is built, and not by a program that was started for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What OpenSSH's own format begins with; then comes the name of the cipher, with its length before it.
const OPENSSH: &[u8] = b"openssh-key-v1\0";

/// Why a file is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("is a public key")]
    Public,
    #[error("is protected by a passphrase")]
    Locked,
    #[error("is a key of PuTTY's, in a format that OpenSSH does not read")]
    Putty,
    #[error("is a private key that is cut off or damaged")]
    CutOff,
    #[error("is no private key")]
    NoKey,
}

/// The private key of a file, as `ssh-add` reads it best: nothing before it and behind it, and ends of lines that it knows.
pub(super) fn recognize(content: &[u8]) -> Result<Vec<u8>, Unfit> {
    let text = str::from_utf8(content).map_err(|_| Unfit::NoKey)?;
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().map(str::trim_end).collect();
    let label = |line: &str| Some(line.strip_prefix(BEGIN)?.strip_suffix(DASHES)?.to_owned());
    // Parameters of a curve may come before the key.
    let begun = lines.iter().enumerate().find_map(|(at, line)| {
        label(line).filter(|label| label.ends_with("PRIVATE KEY")).map(|label| (at, label))
    });
    let Some((first, label)) = begun else { return Err(without_key(&lines)) };
    let end = format!("{END}{label}{DASHES}");
    let length = lines[first..].iter().position(|line| **line == end).ok_or(Unfit::CutOff)?;
    let key = &lines[first..=first + length];
    let body = &key[1..length];
    let is_locked = match &*label {
        "ENCRYPTED PRIVATE KEY" => true,
        "OPENSSH PRIVATE KEY" => has_cipher(&body.concat()).ok_or(Unfit::CutOff)?,
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "DSA PRIVATE KEY" => {
            body.iter().any(|line| line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED"))
        }
        _ => return Err(Unfit::NoKey),
    };
    if is_locked { Err(Unfit::Locked) } else { Ok((key.join("\n") + "\n").into_bytes()) }
}

fn without_key(lines: &[&str]) -> Unfit {
    const PUBLIC: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-", "---- BEGIN SSH2 PUBLIC KEY"];
    let first = lines.iter().find(|line| !line.is_empty()).copied().unwrap_or_default();
    let is_public = |line: &str| line.starts_with(BEGIN) && line.ends_with("PUBLIC KEY-----");
    if first.starts_with("PuTTY-User-Key-File-") {
        Unfit::Putty
    } else if PUBLIC.iter().any(|begin| first.starts_with(begin)) || is_public(first) {
        Unfit::Public
    } else {
        Unfit::NoKey
    }
}

/// Whether a key in OpenSSH's own format is encrypted; none if it is no such key.
fn has_cipher(body: &str) -> Option<bool> {
    let bytes = STANDARD.decode(body).ok()?;
    let rest = bytes.strip_prefix(OPENSSH)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let cipher = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some(cipher != b"none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn openssh(cipher: &str) -> String {
        let length = u8::try_from(cipher.len()).unwrap();
        let bytes = [OPENSSH, &[0, 0, 0, length], cipher.as_bytes(), b"and more"].concat();
        block("OPENSSH PRIVATE KEY", &STANDARD.encode(bytes))
    }

    fn unfit(text: &str) -> Unfit {
        recognize(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn keys_are_taken_out_of_what_is_around_them() {
        let key = openssh("none");
        let read = |text: String| String::from_utf8(recognize(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(read(key.clone()), key);
        assert_eq!(read(key.replace('\n', "\r\n")), key);
        assert_eq!(read(key.trim_end().to_owned()), key);
        assert_eq!(read(format!("\u{feff}a note\n{key}more")), key);
        let key = block("EC PRIVATE KEY", "MHc=");
        assert_eq!(read(block("EC PARAMETERS", "Bgg=") + &key), key);
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "DSA PRIVATE KEY"] {
            assert_eq!(read(block(label, "MHc=")), block(label, "MHc="));
        }
    }

    #[test]
    fn what_is_no_use_is_told_apart() {
        assert_eq!(unfit(&openssh("aes256-ctr")), Unfit::Locked);
        assert_eq!(unfit(&block("ENCRYPTED PRIVATE KEY", "MHc=")), Unfit::Locked);
        assert_eq!(unfit(&block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMHc=")), Unfit::Locked);
        assert_eq!(unfit("ssh-ed25519 AAAA me\n"), Unfit::Public);
        assert_eq!(unfit("sk-ssh-ed25519@openssh.com AAAA"), Unfit::Public);
        assert_eq!(unfit(&block("PUBLIC KEY", "MHc=")), Unfit::Public);
        assert_eq!(unfit("PuTTY-User-Key-File-3: ssh-ed25519\n"), Unfit::Putty);
        assert_eq!(unfit("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n"), Unfit::CutOff);
        assert_eq!(unfit(&block("OPENSSH PRIVATE KEY", "b3BlbnNz")), Unfit::CutOff);
        assert_eq!(unfit(&block("OPENSSH PRIVATE KEY", "")), Unfit::CutOff);
        assert_eq!(unfit(&block("CERTIFICATE", "MHc=")), Unfit::NoKey);
        assert_eq!(unfit(&block("SPECIAL PRIVATE KEY", "MHc=")), Unfit::NoKey);
        assert_eq!(unfit(""), Unfit::NoKey);
        assert_eq!(recognize(&[0xff, 0, 1]), Err(Unfit::NoKey));
    }
}
