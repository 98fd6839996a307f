//! `WWW-Authenticate`: what a registry demands before it serves.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A demand this client can meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        /// Empty where the registry leaves the choice to us.
        scopes: Vec<String>,
    },
}

impl Challenge {
    /// The best of the demands in an answer: Bearer before Basic; others, such as Negotiate, are passed over.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for (scheme, parameters) in split(value.to_str().ok()?) {
                let get = |name: &str| {
                    let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone())
                };
                if scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = get("realm")
                {
                    let scopes = get("scope").unwrap_or_default();
                    let scopes = scopes.split_whitespace().map(str::to_owned).collect();
                    return Some(Self::Bearer { realm, service: get("service"), scopes });
                }
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// Splits `A k=v, k="v, v", B, C k=v` into schemes with their parameters.
fn split(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for item in items(text) {
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (item, None),
        };
        // A scheme stands before its first parameter, with only a space in between.
        let (scheme, key) = match (key.rsplit_once(' '), value) {
            (Some((scheme, key)), _) => (Some(scheme.trim()), key),
            (None, None) => (Some(key), ""),
            (None, Some(_)) => (None, key),
        };
        if let Some(scheme) = scheme {
            challenges.push((scheme.to_owned(), Vec::new()));
        }
        if let (Some((_, parameters)), Some(value)) = (challenges.last_mut(), value) {
            parameters.push((key.to_owned(), unquoted(value)));
        }
    }
    challenges
}

/// The parts between commas that stand outside of quotes.
fn items(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::from_headers(&headers)
    }

    #[test]
    fn bearer_is_found_among_others() {
        let wanted = Challenge::Bearer {
            realm: "https://auth.io/token?x=1".into(),
            service: Some("s".into()),
            scopes: vec!["repository:a:pull,push".into()],
        };
        let bearer = r#"Bearer realm="https://auth.io/token?x=1",service="s",scope="repository:a:pull,push""#;
        assert_eq!(parse(&[bearer]), Some(wanted.clone()));
        assert_eq!(parse(&["Basic realm=\"x, y\"", bearer]), Some(wanted.clone()));
        assert_eq!(parse(&[&format!("Negotiate, Basic realm=\"x\", {bearer}")]), Some(wanted));
        assert_eq!(
            parse(&["bearer realm=http://a/t"]),
            Some(Challenge::Bearer { realm: "http://a/t".into(), service: None, scopes: vec![] })
        );
    }

    #[test]
    fn basic_is_taken_and_the_unknown_is_not() {
        assert_eq!(parse(&["Negotiate", "Basic realm=\"r\""]), Some(Challenge::Basic));
        assert_eq!(parse(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(parse(&["Negotiate abc=="]), None);
        assert_eq!(parse(&["Bearer scope=\"x\""]), None);
        assert_eq!(parse(&[]), None);
    }
}
