//! What every `prune` shares: the question before it, and what it tells.

use clap::Args;
use serde_json::Value;

use crate::error::Error;
use crate::filters::Filters;
use crate::units::{self, parse_moment};
use crate::{output, terminal};

/// What is to be removed, and whether anybody is asked.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Those for which this holds, e.g. until=24h or label=KEY; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Consent {
    /// What it is narrowed by, if whoever is asked agrees.
    pub(crate) fn given(self, warning: &str) -> Result<Option<Filters>, Error> {
        let agreed = self.force || terminal::confirm(warning)?;
        let moment = |filter: String| match filter.split_once('=') {
            Some(("until", text)) => Ok(format!("until={}", parse_moment("--filter", text)?)),
            _ => Ok(filter),
        };
        let filter = self.filter.into_iter().map(moment).collect::<Result<Vec<_>, Error>>()?;
        Ok(agreed.then_some(Filters::of(filter)))
    }
}

/// Prints what went.
pub(crate) fn list(title: &str, gone: &Value) {
    let gone: Vec<_> = gone.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !gone.is_empty() {
        output::line(format_args!("Deleted {title}:"));
        gone.iter().for_each(output::line);
        output::line("");
    }
}

/// Prints how much space there is again.
pub(crate) fn space(pruned: &Value) {
    let space = pruned["SpaceReclaimed"].as_u64().unwrap_or(0);
    output::line(format_args!("Total reclaimed space: {}", units::bytes(space)));
}
