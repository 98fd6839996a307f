//! The programs that connect a private network, and how they are called. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A program that carries what leaves a network namespace, as it is called here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connector {
    pub kind: ConnectorKind,
    pub program: PathBuf,
    /// Options that are left out because this version does not know them.
    pub unknown: Vec<String>,
    /// Told to stay root, where it would become somebody without rights.
    pub stays_root: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ConnectorKind {
    /// It goes to the background when it is ready.
    Pasta,
    /// It says on standard input, which is a pipe, that it is ready.
    Slirp4netns,
}

/// The same for both programs. Not the host's own address, which pasta would take: what the host serves to its neighbours
/// could not be reached then.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
const PREFIX_LENGTH: &str = "24";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const PASTA_FORWARDER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const SLIRP_FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

impl ConnectorKind {
    pub(super) const ALL: [Self; 2] = [Self::Pasta, Self::Slirp4netns];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// Each option with its value, if it has one; without those that the call itself needs.
    fn options(self) -> Vec<(&'static str, Option<String>)> {
        let none = || Some("none".to_owned());
        match self {
            Self::Pasta => vec![
                ("--config-net", None),
                ("--quiet", None),
                ("--ns-ifname", Some("eth0".to_owned())),
                ("--address", Some(ADDRESS.to_string())),
                ("--netmask", Some(PREFIX_LENGTH.to_owned())),
                ("--gateway", Some(GATEWAY.to_string())),
                // Nothing comes in, and the host's loopback is not looked through to.
                ("--tcp-ports", none()),
                ("--udp-ports", none()),
                ("--tcp-ns", none()),
                ("--udp-ns", none()),
                ("--no-map-gw", None),
                ("--dns-forward", Some(PASTA_FORWARDER.to_string())),
            ],
            Self::Slirp4netns => vec![
                ("--configure", None),
                ("--mtu", Some("65520".to_owned())),
                ("--disable-host-loopback", None),
                ("--enable-sandbox", None),
                ("--enable-seccomp", None),
            ],
        }
    }

    /// Options that can be left out without the network reaching more than it should.
    fn can_do_without(option: &str) -> bool {
        ["--quiet", "--ns-ifname", "--dns-forward", "--mtu", "--enable-sandbox", "--enable-seccomp"]
            .contains(&option)
    }
}

impl Connector {
    /// What stands after the program's name; `netns` names the namespace.
    pub(super) fn arguments(&self, netns: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (option, value) in self.kind.options() {
            if !self.unknown.iter().any(|unknown| unknown == option) {
                words.push(option.to_owned());
                words.extend(value);
            }
        }
        match self.kind {
            ConnectorKind::Pasta => {
                if self.stays_root {
                    words.extend(["--runas", "0:0"].map(str::to_owned));
                }
                words.extend(["--netns".to_owned(), netns.to_owned()]);
            }
            ConnectorKind::Slirp4netns => {
                let last = ["--ready-fd", "0", "--netns-type", "path", netns, "eth0"];
                words.extend(last.map(str::to_owned));
            }
        }
        words
    }

    /// The same program without what its help does not list; none if there is nothing to leave out, or if what is missing
    /// must not be.
    pub(super) fn reduced_to(&self, help: &str) -> Option<Self> {
        let knows = |option: &str| lists(help, option);
        let options = self.kind.options().into_iter().map(|(option, _)| option);
        let unknown: Vec<String> = options.filter(|option| !knows(option)).map(str::to_owned).collect();
        let is_worth_it = unknown != self.unknown
            && knows("--help")
            && unknown.iter().all(|option| ConnectorKind::can_do_without(option));
        is_worth_it.then(|| Self { unknown, ..self.clone() })
    }

    /// Whether this is no pasta from before August 2024. Such a one repeats what a server sends after the client has closed
    /// its own half of a connection, so that anything else that is there is better.
    pub(super) fn is_mature(&self, help: &str) -> bool {
        match self.kind {
            ConnectorKind::Pasta => lists(help, "--map-guest-addr"),
            ConnectorKind::Slirp4netns => true,
        }
    }

    /// Where it takes questions for the host's resolver.
    pub(super) fn forwarder(&self) -> Option<IpAddr> {
        match self.kind {
            ConnectorKind::Pasta if self.unknown.iter().any(|option| option == "--dns-forward") => None,
            ConnectorKind::Pasta => Some(IpAddr::V4(PASTA_FORWARDER)),
            ConnectorKind::Slirp4netns => Some(IpAddr::V4(SLIRP_FORWARDER)),
        }
    }
}

fn lists(help: &str, option: &str) -> bool {
    let mut words = help.split(|letter: char| letter.is_whitespace() || ",=".contains(letter));
    words.any(|word| word == option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(kind: ConnectorKind) -> Connector {
        let program = PathBuf::from("/usr/bin").join(kind.name());
        Connector { kind, program, unknown: Vec::new(), stays_root: false }
    }

    #[test]
    fn nothing_comes_in_and_the_hosts_loopback_is_closed() {
        let pasta = connector(ConnectorKind::Pasta).arguments("/proc/7/ns/net").join(" ");
        assert_eq!(
            pasta,
            "--config-net --quiet --ns-ifname eth0 --address 10.0.2.100 --netmask 24 --gateway 10.0.2.2 \
             --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none --no-map-gw --dns-forward 169.254.1.1 \
             --netns /proc/7/ns/net"
        );
        let slirp = connector(ConnectorKind::Slirp4netns).arguments("/proc/7/ns/net").join(" ");
        assert_eq!(
            slirp,
            "--configure --mtu 65520 --disable-host-loopback --enable-sandbox --enable-seccomp --ready-fd 0 \
             --netns-type path /proc/7/ns/net eth0"
        );
    }

    #[test]
    fn an_old_version_is_called_without_what_it_does_not_know() {
        let pasta = connector(ConnectorKind::Pasta);
        let all: Vec<&str> = ConnectorKind::Pasta.options().iter().map(|(option, _)| *option).collect();
        let help = |without: &str| {
            let listed = all.iter().filter(|option| **option != without);
            let lines: String =
                listed.map(|option| format!("  -x, {option} VALUE\n    of {without}x\n")).collect();
            lines + "  -h, --help\n"
        };
        let reduced = pasta.reduced_to(&help("--dns-forward")).unwrap();
        assert_eq!((reduced.unknown.join(" "), reduced.forwarder()), ("--dns-forward".to_owned(), None));
        assert!(!reduced.arguments("x").contains(&"169.254.1.1".to_owned()));
        assert_eq!(reduced.reduced_to(&help("--dns-forward")), None, "it was tried");
        assert_eq!(pasta.reduced_to(&help("")), None, "it knows all of them");
        assert_eq!(pasta.reduced_to(&help("--no-map-gw")), None, "without it the host's loopback is open");
        assert_eq!(pasta.reduced_to("command not found"), None);
    }
}
