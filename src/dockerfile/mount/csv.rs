//! One line of comma-separated values.

/// A field, its quotes taken out, and where it stands with them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) fn fields(line: &str) -> Result<Vec<Field>, String> {
    if line.is_empty() {
        return Err("the value is empty".to_owned());
    }
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let (text, length) = field(&line[start..])?;
        let end = start + length;
        fields.push(Field { text, start, end });
        if end == line.len() {
            return Ok(fields);
        }
        start = end + 1;
    }
}

/// The first field, and its length as written.
fn field(line: &str) -> Result<(String, usize), String> {
    let Some(quoted) = line.strip_prefix('"') else {
        let end = line.find(',').unwrap_or(line.len());
        let text = &line[..end];
        if text.contains('"') {
            return Err("bare \" in non-quoted field".to_owned());
        }
        return Ok((text.to_owned(), end));
    };
    let mut text = String::new();
    let mut at = 0;
    loop {
        let close = at + quoted[at..].find('"').ok_or("extraneous or missing \" in quoted field")?;
        text.push_str(&quoted[at..close]);
        match quoted[close + 1..].chars().next() {
            Some('"') => text.push('"'),
            Some(',') | None => return Ok((text, close + 2)),
            Some(_) => return Err("extraneous or missing \" in quoted field".to_owned()),
        }
        at = close + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        let texts =
            |line| fields(line).map(|all| all.into_iter().map(|field| field.text).collect::<Vec<_>>());
        assert_eq!(texts("a,b=c,"), Ok(vec!["a".into(), "b=c".into(), String::new()]));
        assert_eq!(texts("\"a,b\"\"c\",d"), Ok(vec!["a,b\"c".into(), "d".into()]));
        assert!(
            texts("a\"b").is_err()
                && texts("\"ab").is_err()
                && texts("\"a\"b").is_err()
                && texts("").is_err()
        );
    }
}
