//! The options that say which other machines steps and containers know, the same for `build` and `run`.

use std::net::IpAddr;

use clap::Args;

use super::environment;
use crate::sandbox::{ExtraHost, NetworkSettings, Resolver};

#[derive(Debug, Args)]
#[command(next_help_heading = "Names of other machines")]
pub(super) struct NamesArgs {
    /// A name for /etc/hosts and its address; `host-gateway` is this machine. May be given several times.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    extra_hosts: Vec<ExtraHost>,
    /// Who resolves names, instead of the host's nameservers. May be given several times.
    #[arg(long = "dns", value_name = "ADDRESS")]
    nameservers: Vec<IpAddr>,
    /// A domain that short names are looked for in, instead of the host's; `.` for none.
    #[arg(long = "dns-search", value_name = "DOMAIN", value_parser = domain)]
    search: Vec<String>,
    /// An option of the resolver, as in resolv.conf(5), instead of the host's.
    #[arg(long = "dns-option", visible_alias = "dns-opt", value_name = "OPTION", value_parser = resolver_option)]
    options: Vec<String>,
}

impl NamesArgs {
    /// The names of extra hosts, which decide about the keys of steps; their addresses do not.
    pub(super) fn extra_names(&self) -> Vec<String> {
        self.extra_hosts.iter().map(|host| host.name.clone()).collect()
    }

    pub(super) fn settings(self) -> NetworkSettings {
        let Self { extra_hosts, nameservers, search, options } = self;
        let search_path = environment::variable("PATH").unwrap_or_default();
        NetworkSettings { search_path, extra_hosts, resolver: Resolver { nameservers, search, options } }
    }
}

fn domain(text: &str) -> Result<String, &'static str> {
    let is_usual = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    if text.is_empty() || !text.chars().all(is_usual) {
        return Err("a domain is letters, digits, hyphens and dots");
    }
    Ok(text.to_owned())
}

fn resolver_option(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err("an option is one word, such as ndots:2");
    }
    Ok(text.to_owned())
}
