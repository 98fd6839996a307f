//! The table of rules.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidBaseImagePlatform,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JsonArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    MultipleSourcesWithoutSlash,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

#[derive(Debug)]
pub struct RuleRow {
    pub rule: Rule,
    pub id: &'static str,
    pub text: &'static str,
    /// Only checked when asked for.
    pub experimental: bool,
    /// Ours: other builders have no page about it.
    pub own: bool,
}

/// In the order of [`Rule`].
pub const RULES: &[RuleRow] = &[
    row(
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    row(
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "Attempting to copy a file that is excluded by .dockerignore",
    ),
    row(Rule::DuplicateStageName, "DuplicateStageName", "Stage names should be unique"),
    row(
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE: they are ignored",
    ),
    row(Rule::ExposeProtoCasing, "ExposeProtoCasing", "Protocol in EXPOSE should be lowercase"),
    row(Rule::FromAsCasing, "FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword"),
    row(
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "FROM --platform flag should not use a constant value",
    ),
    row(
        Rule::InvalidBaseImagePlatform,
        "InvalidBaseImagePlatform",
        "Base image platform does not match the expected target platform",
    ),
    row(
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "Default value for a global ARG results in an empty or invalid base image name",
    ),
    RuleRow {
        experimental: true,
        ..row(
            Rule::InvalidDefinitionDescription,
            "InvalidDefinitionDescription",
            "Comment before a stage or argument should begin with its name, or be parted from it by an empty line",
        )
    },
    row(
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "JSON arguments are recommended for ENTRYPOINT and CMD: a shell does not pass on signals",
    ),
    row(
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    row(
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    row(
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    RuleRow {
        own: true,
        ..row(
            Rule::MultipleSourcesWithoutSlash,
            "MultipleSourcesWithoutSlash",
            "The destination of several sources should end with a slash: files overwrite each other otherwise",
        )
    },
    row(
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "Empty continuation lines will become errors in a future release",
    ),
    row(
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    row(Rule::ReservedStageName, "ReservedStageName", "Reserved words should not be used as stage names"),
    row(
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    row(Rule::StageNameCasing, "StageNameCasing", "Stage names should be lowercase"),
    row(Rule::UndefinedArgInFrom, "UndefinedArgInFrom", "FROM command must use declared ARGs"),
    row(Rule::UndefinedVar, "UndefinedVar", "Variables should be defined before their use"),
    row(
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir before it depends on the base image",
    ),
];

const fn row(rule: Rule, id: &'static str, text: &'static str) -> RuleRow {
    RuleRow { rule, id, text, experimental: false, own: false }
}

impl Rule {
    pub fn row(self) -> &'static RuleRow {
        &RULES[self as usize]
    }

    pub fn id(self) -> &'static str {
        self.row().id
    }

    /// Where the rule is explained.
    pub fn url(self) -> Option<String> {
        if self.row().own {
            return None;
        }
        let mut page = String::new();
        let letters: Vec<char> = self.id().chars().collect();
        for (index, letter) in letters.iter().enumerate() {
            // A word begins where lower case turns into upper, and at the last letter of a run of capitals.
            let after_lower = index > 0 && letters[index - 1].is_lowercase();
            let before_lower = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
            if letter.is_uppercase() && index > 0 && (after_lower || before_lower) {
                page.push('-');
            }
            page.push(letter.to_ascii_lowercase());
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_rules() {
        for (index, row) in RULES.iter().enumerate() {
            assert_eq!(row.rule as usize, index, "{}", row.id);
        }
    }

    #[test]
    fn pages_are_named_by_words() {
        let url = Rule::JsonArgsRecommended.url().unwrap();
        assert!(url.ends_with("/rule/json-args-recommended/"), "{url}");
        assert!(Rule::FromAsCasing.url().unwrap().ends_with("/rule/from-as-casing/"));
        assert!(Rule::SecretsUsedInArgOrEnv.url().unwrap().ends_with("/rule/secrets-used-in-arg-or-env/"));
    }
}
