//! Limits that registries announce before they enforce them.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::HeaderMap;

use super::client::Client;
use super::endpoint::Endpoint;

impl Client {
    /// Says once for each registry when few requests are left.
    pub(super) fn heed_limits(&self, endpoint: &Endpoint, response: &Response) {
        if let Some(left) = scarce(response.headers()) {
            self.warn_once(&endpoint.registry, || format!("{}: {left}", endpoint.registry));
        }
    }
}

/// What to say of `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 7;w=21600`, if it is time to say it: with a
/// tenth left.
fn scarce(headers: &HeaderMap) -> Option<String> {
    let number = |name: &str| {
        let (count, window) = headers.get(name)?.to_str().ok()?.split_once(";w=")?;
        Some((count.trim().parse::<u64>().ok()?, Duration::from_secs(window.trim().parse().ok()?)))
    };
    let ((limit, window), (left, _)) = (number("ratelimit-limit")?, number("ratelimit-remaining")?);
    if left > limit / 10 {
        return None;
    }
    let hours = window.as_secs().div_ceil(3600);
    let time = if hours == 1 { "an hour".to_owned() } else { format!("{hours} hours") };
    Some(format!("{left} of {limit} pulls in {time} are left; who is logged in may have more"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn a_tenth_is_told() {
        let told = |limit: &'static str, left: &'static str| {
            let pairs = [("ratelimit-limit", limit), ("ratelimit-remaining", left)];
            scarce(&HeaderMap::from_iter(
                pairs.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())),
            ))
        };
        assert_eq!(told("100;w=21600", "11;w=21600"), None);
        let text = told("100;w=21600", "10;w=21600").unwrap();
        assert!(text.starts_with("10 of 100 pulls in 6 hours are left"), "{text}");
        assert_eq!(told("many", "none"), None);
    }
}
