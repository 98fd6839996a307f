//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

use reqwest::Url;

use super::endpoint::is_loopback;

/// Hosts, domains with all below them, addresses and networks, each with a port or for all; or `*`, which is everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug)]
struct Exception {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Host {
    Any,
    /// The name itself, unless it began with a dot, and everything below it.
    Domain {
        name: String,
        only_below: bool,
    },
    /// The first bits of an address.
    Network(IpAddr, u8),
}

impl Exceptions {
    /// From a list with commas or blanks between. What is no host is passed over, as everybody does.
    pub(super) fn parse(list: &str) -> Self {
        let words = list.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
        Self(words.filter_map(Exception::parse).collect())
    }

    /// Whether a place is reached without a proxy. This machine always is.
    pub(super) fn cover(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        if is_loopback(host) {
            return true;
        }
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = url.port_or_known_default();
        self.0.iter().any(|exception| {
            (exception.port.is_none() || exception.port == port) && exception.host.covers(&host)
        })
    }
}

impl Exception {
    fn parse(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self { host: Host::Any, port: None });
        }
        if let Some((address, bits)) = word.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self { host: Host::Network(address, bits), port: None });
        }
        let (host, port) = match word.parse::<IpAddr>() {
            Ok(_) => (word, None),
            Err(_) => match word.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (word, None),
            },
        };
        let host = host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Some(Self { host: Host::Network(address, bits), port });
        }
        let name = host.strip_prefix('*').unwrap_or(host).to_ascii_lowercase();
        let only_below = name.starts_with('.');
        let name = name.trim_start_matches('.').trim_end_matches('.').to_owned();
        (!name.is_empty()).then_some(Self { host: Host::Domain { name, only_below }, port })
    }
}

impl Host {
    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Domain { name, only_below } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                below || (!only_below && host == name)
            }
            Self::Network(network, bits) => match (network, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                    let shift = 32 - u32::from(*bits);
                    let prefix = |address: u32| address.checked_shr(shift).unwrap_or(0);
                    prefix(network.to_bits()) == prefix(address.to_bits())
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                    let shift = 128 - u32::from(*bits);
                    let prefix = |address: u128| address.checked_shr(shift).unwrap_or(0);
                    prefix(network.to_bits()) == prefix(address.to_bits())
                }
                (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_domains_networks_and_ports_are_excepted() {
        let covers = |list: &str, url: &str| Exceptions::parse(list).cover(&Url::parse(url).unwrap());
        let list =
            "a.example, .b.example,*.c.example,10.0.0.0/8,r.example:5000,192.0.2.7,fd00::/8,[2001:db8::1]:80";
        for inside in [
            "https://a.example/",
            "https://A.example:444/",
            "https://x.a.example/",
            "https://x.b.example/",
            "https://x.c.example/",
            "http://10.200.0.1:5000/",
            "https://r.example:5000/",
            "https://192.0.2.7/",
            "http://[fd12::1]/",
            "http://[2001:db8::1]/",
        ] {
            assert!(covers(list, inside), "{inside}");
        }
        for outside in [
            "https://xa.example/",
            "https://b.example/",
            "https://c.example/",
            "https://11.0.0.1/",
            "https://r.example/",
            "https://192.0.2.70/",
            "https://[2001:db8::1]/",
        ] {
            assert!(!covers(list, outside), "{outside}");
        }
        assert!(covers("*", "https://any.example/"));
        assert!(covers("0.0.0.0/0", "https://192.0.2.1/"));
        assert!(covers("", "http://127.0.0.1:5000/"), "this machine needs no proxy");
        assert!(!covers("10.0.0.0/33,x:y,,", "https://10.0.0.1/"));
    }
}
