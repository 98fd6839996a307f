//! Refusals in the registry's own words.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::error::Answer;

/// How much of an error page is read.
const MOST_READ: usize = 64 << 10;
/// How much of it is shown.
const MOST_SHOWN: usize = 300;

/// Reads what an unwanted answer has to say. A body that cannot be read says nothing.
pub(super) async fn read(mut response: Response, patience: Duration) -> Answer {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = Vec::new();
    while body.len() < MOST_READ {
        match tokio::time::timeout(patience, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.truncate(MOST_READ);
    Answer { status, messages: messages(&body), retry_after }
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    errors: Vec<Entry>,
    /// Token services have formats of their own.
    details: Option<String>,
    message: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

fn messages(body: &[u8]) -> Vec<String> {
    let Ok(json) = serde_json::from_slice::<Json>(body) else {
        let text = first_text(&String::from_utf8_lossy(body));
        return if text.is_empty() { Vec::new() } else { vec![text] };
    };
    let of_entry = |entry: &Entry| {
        let detail = match &entry.detail {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let parts = [entry.code.as_str(), &entry.message, &detail];
        shown(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
    };
    let others = [json.error, json.error_description, json.details, json.message];
    let others = others.iter().flatten().map(|text| shown(text));
    json.errors.iter().map(of_entry).chain(others).filter(|message| !message.is_empty()).collect()
}

/// The text of a page without its markup, scripts and styles.
fn first_text(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        let tag = &rest[open + 1..];
        let hidden = ["script", "style"]
            .into_iter()
            .find(|name| tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let inside = match hidden.and_then(|name| tag.find(&format!("</{name}"))) {
            Some(end) => &tag[end..],
            None => tag,
        };
        rest = inside.find('>').map_or("", |end| &inside[end + 1..]);
    }
    text.push_str(rest);
    shown(&text)
}

/// One line of bounded length without control characters: the other end may be hostile to terminals.
fn shown(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(http_date(text)?.duration_since(now).unwrap_or_default()),
    }
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = year.parse().ok().filter(|year| (1970..10000).contains(year))?;
    let mut clock = time.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part < 61));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since the epoch with years that begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_formats_are_told() {
        let standard =
            br#"{"errors":[{"code":"DENIED","message":"no","detail":{"a":1}},{"code":"X","detail":null}]}"#;
        assert_eq!(messages(standard), [r#"DENIED: no: {"a":1}"#, "X"]);
        assert_eq!(messages(br#"{"details":"incorrect password"}"#), ["incorrect password"]);
        let page =
            b"<html><head><style>p{}</style><title>502\n Bad</title></head><p>Gateway \x1b[31m</p></html>";
        assert_eq!(messages(page), ["502 Bad Gateway [31m"]);
        assert!(messages(b"").is_empty());
        assert_eq!(messages(&[b'x'; 1000])[0].chars().count(), MOST_SHOWN + 1);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470))
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(parse("Wed, 21 Oct 2014 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
    }
}
