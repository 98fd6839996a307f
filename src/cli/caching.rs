//! The options that say which earlier results a build takes.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};

use clap::{Args, ValueEnum};

use crate::cache::{CacheFrom, CacheSource, Explanation};
use crate::exec::Explain;
use crate::export::cache::{CacheTarget, CacheTo};
use crate::plan::Anew;

#[derive(Debug, Args)]
#[command(next_help_heading = "What is not done again")]
pub(super) struct CachingArgs {
    /// Execute every RUN, COPY and ADD, whatever earlier builds have left.
    #[arg(long, conflicts_with = "no_cache_filter")]
    no_cache: bool,
    /// The same for the steps of these stages only.
    #[arg(long, value_name = "STAGE[,STAGE...]", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// A cache from elsewhere: a name in a registry, or type=registry,ref=NAME or type=local,src=DIRECTORY. May be given several
    /// times.
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<CacheFrom>,
    /// Where to write a cache for others: a name in a registry, or type=registry,ref=NAME, type=local,dest=DIRECTORY or
    /// type=inline; with mode=max also of steps that the image does not have. May be given several times.
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<CacheTo>,
    /// Say of every step that is executed why no earlier result was taken: under the step, or as lines of JSON on standard
    /// output.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    explain: Option<ExplainFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExplainFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Explanations that wait to be printed.
#[derive(Debug)]
pub(super) struct Explanations(Receiver<Explanation>);

impl Explanations {
    /// Prints those that there are; nobody gives any more.
    pub(super) fn print(self) {
        for explanation in self.0 {
            let line = serde_json::to_string(&explanation).expect("explanations have only string keys");
            // Whoever closed standard output does not want the rest.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

impl CachingArgs {
    /// Who is told why steps were not found, and what is to be printed of that in the end.
    pub(super) fn explain(&self) -> (Option<Explain>, Option<Explanations>) {
        match self.explain {
            None => (None, None),
            Some(ExplainFormat::Text) => (Some(Explain::Shown), None),
            Some(ExplainFormat::Json) => {
                let (sender, receiver) = channel();
                (Some(Explain::Sent(sender)), Some(Explanations(receiver)))
            }
        }
    }

    /// Registries that need not be trusted because a cache is said to be in them.
    pub(super) fn insecure(&self) -> Vec<&str> {
        let from =
            self.cache_from.iter().filter(|from| from.insecure).filter_map(|from| match &from.source {
                CacheSource::Registry(name) => Some(name.registry.as_str()),
                CacheSource::Local { .. } => None,
            });
        let to = self.cache_to.iter().filter_map(|to| match &to.target {
            CacheTarget::Registry { name, insecure: true, .. } => Some(name.registry.as_str()),
            CacheTarget::Registry { .. } | CacheTarget::Local { .. } | CacheTarget::Inline => None,
        });
        from.chain(to).collect()
    }

    /// Where caches are written to; a build argument may ask for the one in the image, too.
    pub(super) fn targets(&self, inline: bool) -> Vec<CacheTo> {
        let mut targets = self.cache_to.clone();
        if inline && targets.iter().all(|to| to.target != CacheTarget::Inline) {
            targets.push("type=inline".parse().expect("there is such a cache"));
        }
        targets
    }

    pub(super) fn anew(&self) -> Anew {
        let names = self.no_cache_filter.iter().filter(|name| !name.is_empty());
        match (self.no_cache, names.cloned().collect::<Vec<_>>()) {
            (true, _) => Anew::Everything,
            (false, names) if names.is_empty() => Anew::Nothing,
            (false, names) => Anew::Stages(names),
        }
    }
}
