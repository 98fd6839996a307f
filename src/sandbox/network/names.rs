//! What a sandbox is told of other machines: the texts of `/etc/hosts` and `/etc/resolv.conf`. Pure but for the writing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::sys::{At, IoError};

/// Files that are shown inside as `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Debug, Clone)]
pub struct HostFiles {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

impl HostFiles {
    /// Writes both into a directory that lives as long as the sandboxes.
    pub(super) fn write(
        directory: &Path,
        kind: &str,
        hosts: &str,
        resolv_conf: &[u8],
    ) -> Result<Self, IoError> {
        let write = |name: &str, text: &[u8]| write_readable(&directory.join(format!("{name}.{kind}")), text);
        Ok(Self { hosts: write("hosts", hosts.as_bytes())?, resolv_conf: write("resolv.conf", resolv_conf)? })
    }
}

/// Writes what is shown as `/etc/hostname`.
pub fn hostname_file(directory: &Path, hostname: &str) -> Result<PathBuf, IoError> {
    write_readable(&directory.join("hostname"), format!("{hostname}\n").as_bytes())
}

/// Writes a file that whatever user a step runs as can read, whatever the umask here is.
fn write_readable(file: &Path, text: &[u8]) -> Result<PathBuf, IoError> {
    std::fs::write(file, text).at("write", file)?;
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).at("change mode of", file)?;
    Ok(file.to_owned())
}

/// A name that `/etc/hosts` is to know, as `--add-host` says it: `name:address` or `name=address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    pub name: String,
    pub address: HostAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAddress {
    Given(IpAddr),
    /// `host-gateway`: this machine, as what runs inside reaches it.
    Gateway,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongName {
    #[error("write it as NAME:ADDRESS, as in db:192.0.2.7 or db:[2001:db8::7]")]
    Form,
    #[error("`{0}` is no name of a machine")]
    Name(String),
    #[error("`{0}` is neither an address nor `host-gateway`")]
    Address(String),
}

impl FromStr for ExtraHost {
    type Err = WrongName;

    fn from_str(text: &str) -> Result<Self, WrongName> {
        let at = text.find(['=', ':']).ok_or(WrongName::Form)?;
        let (name, address) = (&text[..at], &text[at + 1..]);
        if name.is_empty() || address.is_empty() {
            return Err(WrongName::Form);
        }
        if !is_machine_name(name) {
            return Err(WrongName::Name(name.to_owned()));
        }
        if address == "host-gateway" {
            return Ok(Self { name: name.to_owned(), address: HostAddress::Gateway });
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let parsed = match bare {
            Some(bare) => bare.parse().map(IpAddr::V6),
            None => address.parse(),
        };
        let address = parsed.map_err(|_| WrongName::Address(address.to_owned()))?;
        Ok(Self { name: name.to_owned(), address: HostAddress::Given(address) })
    }
}

/// Letters, digits and what else names have in practice; nothing that would begin another field or line.
fn is_machine_name(name: &str) -> bool {
    let is_usual = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    !name.is_empty() && name.len() <= 253 && !name.starts_with('-') && name.chars().all(is_usual)
}

/// What `--dns`, `--dns-search` and `--dns-option` say; each replaces what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    pub nameservers: Vec<IpAddr>,
    /// A single dot means none.
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    fn is_empty(&self) -> bool {
        self.nameservers.is_empty() && self.search.is_empty() && self.options.is_empty()
    }
}

/// The text of `/etc/hosts`. A machine without an address of its own is called by that of its loopback.
pub(super) fn hosts(
    hostname: &str,
    address: Option<IpAddr>,
    extra: &[ExtraHost],
    gateway: Option<IpAddr>,
) -> String {
    let own = if address.is_none() { format!(" {hostname}") } else { String::new() };
    let mut text = format!("127.0.0.1\tlocalhost{own}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let named = extra.iter().filter_map(|host| match host.address {
        HostAddress::Given(address) => Some((address, host.name.as_str())),
        HostAddress::Gateway => Some((gateway?, host.name.as_str())),
    });
    for (address, name) in address.map(|address| (address, hostname)).into_iter().chain(named) {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// What the host's own files say about who resolves names.
#[derive(Debug, Clone, Default)]
pub(super) struct HostResolver {
    /// `/etc/resolv.conf`.
    pub file: Vec<u8>,
    /// The file in which systemd-resolved lists whom it asks itself.
    pub upstream: Option<Vec<u8>>,
}

impl HostResolver {
    pub(super) fn read() -> Self {
        let file = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        Self { file, upstream: std::fs::read("/run/systemd/resolve/resolv.conf").ok() }
    }

    /// The text for a sandbox in the host's network: the file as it stands, unless something is to be replaced.
    pub(super) fn as_it_stands(&self, wanted: &Resolver) -> Vec<u8> {
        if wanted.is_empty() {
            return self.file.clone();
        }
        let own = Parts::of(&self.file);
        let nameservers = own.nameservers.clone();
        own.text(nameservers, wanted).into_bytes()
    }

    /// The text for a sandbox in a private network, where the host's loopback is out of reach. `forwarder` answers from
    /// within that network as the host's resolver would.
    pub(super) fn seen_from_within(
        &self,
        wanted: &Resolver,
        forwarder: Option<IpAddr>,
        has_ipv6: bool,
    ) -> Vec<u8> {
        let own = Parts::of(&self.file);
        let is_stub = own.nameservers == ["127.0.0.53"];
        let upstream = self.upstream.as_deref().map(Parts::of).filter(|_| is_stub);
        let reachable = |parts: &Parts| -> Vec<String> {
            let within = |name: &&String| is_reachable_from_within(name, has_ipv6);
            parts.nameservers.iter().filter(within).cloned().collect()
        };
        // Whom the stub asks can be asked without it.
        if let Some(upstream) = upstream.filter(|upstream| !reachable(upstream).is_empty()) {
            let nameservers = reachable(&upstream);
            return upstream.text(nameservers, wanted).into_bytes();
        }
        let mut nameservers = reachable(&own);
        if !own.nameservers.is_empty() {
            // First, because it asks as the host does, and because an early pasta gives the answers of a resolver that it
            // forwards to as its own, also where that was asked directly.
            nameservers.splice(0..0, forwarder.map(|address| address.to_string()));
        }
        if nameservers.is_empty() {
            // As docker and BuildKit do.
            nameservers.extend(["8.8.8.8", "8.8.4.4"].map(str::to_owned));
        }
        own.text(nameservers, wanted).into_bytes()
    }
}

fn is_reachable_from_within(nameserver: &str, has_ipv6: bool) -> bool {
    // One with a zone (fe80::1%eth0) belongs to an interface of the host.
    match nameserver.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => !address.is_loopback() && address != Ipv4Addr::UNSPECIFIED,
        Ok(IpAddr::V6(address)) => has_ipv6 && !address.is_loopback() && !address.is_unspecified(),
        Err(_) => false,
    }
}

/// The lines of a `resolv.conf` that mean something.
#[derive(Debug, Default)]
struct Parts {
    nameservers: Vec<String>,
    /// The last line of these counts.
    search: Option<String>,
    options: Vec<String>,
}

impl Parts {
    fn of(file: &[u8]) -> Self {
        let mut parts = Self::default();
        for line in String::from_utf8_lossy(file).lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => parts.nameservers.extend(words.next().map(str::to_owned)),
                Some("search" | "domain") => parts.search = Some(words.collect::<Vec<_>>().join(" ")),
                Some("options") => parts.options.extend(words.map(str::to_owned)),
                Some(_) | None => {}
            }
        }
        parts
    }

    fn text(self, nameservers: Vec<String>, wanted: &Resolver) -> String {
        let nameservers = match wanted.nameservers.as_slice() {
            [] => nameservers,
            given => given.iter().map(IpAddr::to_string).collect(),
        };
        let search = match wanted.search.as_slice() {
            [] => self.search.unwrap_or_default(),
            [none] if none == "." => String::new(),
            given => given.join(" "),
        };
        let options = if wanted.options.is_empty() { self.options } else { wanted.options.clone() };
        let mut text = String::new();
        for nameserver in nameservers {
            let _ = writeln!(text, "nameserver {nameserver}");
        }
        if !search.is_empty() {
            let _ = writeln!(text, "search {search}");
        }
        if !options.is_empty() {
            let _ = writeln!(text, "options {}", options.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(file: &str, upstream: Option<&str>, wanted: &Resolver) -> String {
        let host =
            HostResolver { file: file.into(), upstream: upstream.map(|text| text.as_bytes().to_vec()) };
        let text = host.seen_from_within(wanted, Some("169.254.1.1".parse().unwrap()), true);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_resolver_on_loopback_is_asked_through_the_forwarder() {
        let file = "# comment\nnameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n\
                    nameserver ::1\nsearch a.example b.example\noptions ndots:2 edns0\nsortlist 192.0.2.0\n";
        assert_eq!(
            within(file, None, &Resolver::default()),
            "nameserver 169.254.1.1\nnameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2 edns0\n"
        );
        let with_forwarder = "nameserver 169.254.1.1\nnameserver 192.0.2.53\n";
        assert_eq!(within("nameserver 192.0.2.53\n", None, &Resolver::default()), with_forwarder);
    }

    #[test]
    fn whom_systemds_stub_asks_is_asked_without_it() {
        let (stub, upstream) =
            ("nameserver 127.0.0.53\noptions trust-ad\n", "nameserver 192.0.2.9\nsearch lan\n");
        let none = Resolver::default();
        assert_eq!(within(stub, Some(upstream), &none), "nameserver 192.0.2.9\nsearch lan\n");
        let forwarded = "nameserver 169.254.1.1\noptions trust-ad\n";
        assert_eq!(within(stub, None, &none), forwarded);
        assert_eq!(within(stub, Some("nameserver fe80::1%eth0\n"), &none), forwarded);
        // Another local resolver may know names of its own, whatever systemd has.
        assert_eq!(within("nameserver 127.0.0.1\n", Some(upstream), &none), "nameserver 169.254.1.1\n");
    }

    #[test]
    fn without_any_resolver_there_is_one_all_the_same() {
        assert_eq!(within("", None, &Resolver::default()), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let host =
            HostResolver { file: b"nameserver ::1\nnameserver 2001:db8::1\n".to_vec(), upstream: None };
        let text = host.seen_from_within(&Resolver::default(), None, false);
        assert_eq!(text, b"nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn what_is_given_replaces_what_the_host_has() {
        let file = "nameserver 192.0.2.53\nsearch lan\noptions ndots:2\n";
        let wanted = Resolver {
            nameservers: vec!["192.0.2.1".parse().unwrap(), "::5".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:1".to_owned()],
        };
        let expected = "nameserver 192.0.2.1\nnameserver ::5\noptions ndots:1\n";
        assert_eq!(within(file, None, &wanted), expected);
        let host = HostResolver { file: file.into(), upstream: None };
        assert_eq!(host.as_it_stands(&wanted), expected.as_bytes());
        assert_eq!(host.as_it_stands(&Resolver::default()), file.as_bytes());
    }

    #[test]
    fn extra_hosts_are_names_with_addresses() {
        let parse = |text: &str| text.parse::<ExtraHost>().map(|host| (host.name, host.address));
        let given =
            |name: &str, address: &str| Ok((name.to_owned(), HostAddress::Given(address.parse().unwrap())));
        assert_eq!(parse("db:192.0.2.7"), given("db", "192.0.2.7"));
        assert_eq!(parse("db=192.0.2.7"), given("db", "192.0.2.7"));
        assert_eq!(parse("db.lan:2001:db8::7"), given("db.lan", "2001:db8::7"));
        assert_eq!(parse("db=[::7]"), given("db", "::7"));
        assert_eq!(parse("me:host-gateway"), Ok(("me".to_owned(), HostAddress::Gateway)));
        assert_eq!(parse("db"), Err(WrongName::Form));
        assert_eq!(parse(":192.0.2.7"), Err(WrongName::Form));
        assert_eq!(parse("db:"), Err(WrongName::Form));
        assert_eq!(parse("a b:192.0.2.7"), Err(WrongName::Name("a b".to_owned())));
        assert_eq!(parse("a\nb:192.0.2.7"), Err(WrongName::Name("a\nb".to_owned())));
        assert_eq!(parse("db:192.0.2"), Err(WrongName::Address("192.0.2".to_owned())));
        assert_eq!(parse("db:[192.0.2.7]"), Err(WrongName::Address("[192.0.2.7]".to_owned())));
    }

    #[test]
    fn the_own_name_stands_beside_the_own_address() {
        let extra: Vec<ExtraHost> =
            ["db:192.0.2.7", "me:host-gateway"].map(|text| text.parse().unwrap()).into();
        let gateway = Some("192.0.2.1".parse().unwrap());
        assert_eq!(
            hosts("box", Some("10.0.2.100".parse().unwrap()), &extra, gateway),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.2.100\tbox\n192.0.2.7\tdb\n\
             192.0.2.1\tme\n"
        );
        assert!(hosts("box", None, &[], None).starts_with("127.0.0.1\tlocalhost box\n"));
    }
}
