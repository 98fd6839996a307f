//! `--platform`: one platform, or `local` for this machine's.

use std::str::FromStr;

use super::environment;
use super::report::Report;
use crate::image::{Platform, PlatformError};

/// What docker takes where the command line says nothing.
const VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted(Platform);

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self(Platform::host())),
            several if several.contains(',') => {
                Err("several platforms at once are not supported yet: name one after the other".to_owned())
            }
            text => text.parse().map(Self).map_err(|error: PlatformError| error.to_string()),
        }
    }
}

/// The platform that is meant, if any is named; `builds` if an image is to come out.
pub(super) fn platform(wanted: Option<Wanted>, builds: bool) -> Result<Option<Platform>, Report> {
    let of_environment = || -> Result<Option<Wanted>, Report> {
        let Some(text) = environment::text(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Report::usage(format!("{VARIABLE}: {error}")))
    };
    let wanted = wanted.map_or_else(of_environment, |wanted| Ok(Some(wanted)))?;
    let platform = wanted.map(|Wanted(platform)| platform);
    match platform.as_ref().filter(|platform| builds && platform.os != "linux") {
        Some(platform) => {
            let message = format!("building for {platform} is not supported: only Linux images are");
            Err(Report::usage(message))
        }
        None => Ok(platform),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_platform_is_meant() {
        assert_eq!("local".parse(), Ok(Wanted(Platform::host())));
        assert_eq!("arm64".parse(), Ok(Wanted(Platform::new("linux", "arm64", None))));
        assert!("linux/amd64,linux/arm64".parse::<Wanted>().unwrap_err().contains("one after the other"));
        assert!("a/b/c/d".parse::<Wanted>().unwrap_err().contains("a/b/c/d"));
    }
}
