//! Which containers a list shows.

use std::sync::Arc;
use std::time::SystemTime;

use crate::container::Container;
use crate::error::Error;
use crate::request::List;

/// Those of `all` that match, newest first. `created` tells when a named container was made, `image`
/// the id of a named image.
pub(crate) fn select(
    all: Vec<Arc<Container>>,
    which: &List,
    created: impl Fn(&str) -> Result<SystemTime, Error>,
    image: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Container>, Error> {
    const STATES: [&str; 7] =
        ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
    if let Some(unknown) = which.status.iter().find(|status| !STATES.contains(&status.as_str())) {
        let problem = format!("invalid filter 'status={unknown}'");
        return Err(Error::Invalid { field: "filters", problem });
    }
    let before = which.before.as_deref().map(&created).transpose()?;
    let since = which.since.as_deref().map(&created).transpose()?;
    let ancestors: Vec<_> = which.ancestor.iter().filter_map(|name| image(name)).collect();
    let everything = which.all
        || which.limit.is_some()
        || !which.status.is_empty()
        || !which.exited.is_empty()
        || before.or(since).is_some();
    let mut matching: Vec<_> = all
        .into_iter()
        .filter(|one| everything || one.status.is_live())
        .filter(|one| matches(one, which))
        .filter(|one| before.is_none_or(|time| one.created < time))
        .filter(|one| since.is_none_or(|time| one.created > time))
        .filter(|one| which.ancestor.is_empty() || ancestors.contains(&one.image))
        .map(Arc::unwrap_or_clone)
        .collect();
    matching.sort_by_key(|one| std::cmp::Reverse(one.created));
    matching.truncate(which.limit.unwrap_or(usize::MAX));
    Ok(matching)
}

fn matches(one: &Container, which: &List) -> bool {
    fn any<T>(wanted: &[T], test: impl FnMut(&T) -> bool) -> bool {
        wanted.is_empty() || wanted.iter().any(test)
    }
    let label = |wanted: &String| match wanted.split_once('=') {
        Some((key, value)) => one.config.labels.get(key).is_some_and(|have| have == value),
        None => one.config.labels.contains_key(wanted),
    };
    any(&which.id, |id| one.id.as_str().starts_with(id.as_str()))
        && any(&which.name, |name| one.name.contains(name.trim_start_matches(['/', '^'])))
        && any(&which.status, |status| one.status.name() == status)
        && any(&which.exited, |code| one.finished.is_some() && one.exit_code == *code)
        && any(&which.isolation, |isolation| one.isolation == *isolation)
        && any(&which.network, |network| one.host.network.to_string() == *network)
        && which.label.iter().all(label)
}
