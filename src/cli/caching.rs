//! The options that say which earlier results a build takes.

use clap::Args;

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
}

impl CachingArgs {
    pub(super) fn anew(&self) -> Anew {
        let names = self.no_cache_filter.iter().filter(|name| !name.is_empty());
        match (self.no_cache, names.cloned().collect::<Vec<_>>()) {
            (true, _) => Anew::Everything,
            (false, names) if names.is_empty() => Anew::Nothing,
            (false, names) => Anew::Stages(names),
        }
    }
}
