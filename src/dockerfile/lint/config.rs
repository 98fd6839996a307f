//! `# check=skip=A,B;error=true;experimental=C`

use super::Rule;
use crate::dockerfile::suggest;

/// Which rules are wanted, and whether breaking one is an error. The same text stands in the directive and in the build
/// argument `BUILDKIT_DOCKERFILE_CHECK`, which replaces it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    pub skip: Selection,
    pub experimental: Selection,
    pub error: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    All,
    /// By their ids; unknown ones mean nothing, for files are read by builders of many versions.
    Rules(Vec<String>),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid check option {option:?}{near}")]
    Unknown { option: String, near: String },
    #[error("check option {0:?} is given twice")]
    Twice(String),
    #[error("check option error must be true or false, not {0:?}")]
    NotBoolean(String),
}

const OPTIONS: [&str; 3] = ["skip", "error", "experimental"];

impl Config {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            let (option, value) = (option.trim(), value.trim());
            if !OPTIONS.contains(&option) || !part.contains('=') {
                let near = suggest::suffix(option, OPTIONS);
                return Err(ConfigError::Unknown { option: part.to_owned(), near });
            }
            if seen.contains(&option) {
                return Err(ConfigError::Twice(option.to_owned()));
            }
            seen.push(option);
            match option {
                "skip" => config.skip = Selection::parse(value),
                "experimental" => config.experimental = Selection::parse(value),
                _ => {
                    config.error = match value.to_ascii_lowercase().as_str() {
                        "true" | "1" | "t" => true,
                        "false" | "0" | "f" => false,
                        _ => return Err(ConfigError::NotBoolean(value.to_owned())),
                    }
                }
            }
        }
        Ok(config)
    }

    /// Whether breaking the rule is to be reported.
    pub fn wants(&self, rule: Rule) -> bool {
        !self.skip.contains(rule) && (!rule.row().experimental || self.experimental.contains(rule))
    }
}

impl Selection {
    fn parse(text: &str) -> Self {
        if text.eq_ignore_ascii_case("all") {
            return Self::All;
        }
        let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        Self::Rules(ids.map(str::to_owned).collect())
    }

    pub fn contains(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Rules(ids) => ids.iter().any(|id| id.eq_ignore_ascii_case(rule.id())),
        }
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::Rules(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_select_rules() {
        let config = Config::parse("skip=StageNameCasing, FromAsCasing; error=true").unwrap();
        assert!(config.error && !config.wants(Rule::StageNameCasing) && !config.wants(Rule::FromAsCasing));
        assert!(config.wants(Rule::UndefinedVar) && !config.wants(Rule::InvalidDefinitionDescription));
        assert!(Config::parse("experimental=all").unwrap().wants(Rule::InvalidDefinitionDescription));
        assert!(!Config::parse("skip=all").unwrap().wants(Rule::UndefinedVar));
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn what_cannot_be_an_option_is_refused() {
        for (text, message) in [
            ("skp=all", "invalid check option \"skp=all\" (did you mean skip?)"),
            ("skip", "invalid check option \"skip\""),
            ("skip=A;skip=B", "check option \"skip\" is given twice"),
            ("error=maybe", "check option error must be true or false, not \"maybe\""),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), message);
        }
    }
}
