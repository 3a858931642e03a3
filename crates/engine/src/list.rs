//! Which containers a list shows.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{NetworkMode, Share};
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
        .filter(|one| everything || one.status.is_up())
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
        && any(&which.name, |name| named(one, name))
        && any(&which.status, |status| one.status.name() == status)
        && any(&which.exited, |code| one.finished.is_some() && one.exit_code == *code)
        && any(&which.health, |health| {
            one.health.as_ref().map_or("none", |have| have.status.name()) == health
        })
        && any(&which.isolation, |isolation| one.isolation == *isolation)
        && any(&which.network, |network| on(one, network))
        && any(&which.expose, |port| one.config.exposed_ports.contains(port))
        && any(&which.volume, |place| mounted(one, place))
        && which.label.iter().all(label)
}

/// Whether it is on the network of that name.
fn on(one: &Container, network: &str) -> bool {
    let none = one.host.openings.network == Share::Own && one.host.network == NetworkMode::None;
    match network {
        "none" => none,
        "host" => one.host.openings.network == Share::Host,
        name => one.host.attachments.contains_key(name),
    }
}

/// Whether something is mounted from or at `place`.
fn mounted(one: &Container, place: &str) -> bool {
    one.host.binds.iter().any(|bind| bind.split(':').take(2).any(|part| part == place))
}

/// Whether `wanted`, in which `^` and `$` mean its ends as in Docker, is in the container's name.
fn named(one: &Container, wanted: &str) -> bool {
    let (begin, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (wanted.starts_with('/'), wanted),
    };
    let wanted = wanted.trim_start_matches('/');
    match wanted.strip_suffix('$') {
        Some(wanted) if begin => one.name == wanted,
        Some(wanted) => one.name.ends_with(wanted),
        None if begin => one.name.starts_with(wanted),
        None => one.name.contains(wanted),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spec::{Isolation, Pid};

    use super::*;
    use crate::container::Status;
    use crate::sample;

    /// Three containers: `old` runs, `mid` is behind the other wall and has ended, `new` is created.
    fn three() -> Vec<Arc<Container>> {
        let pid = Pid::new(7).expect("positive");
        let mut old = sample::container("a1", "old", 1);
        old.status = Status::Running { pid };
        old.config.labels.insert("tier".into(), "web".into());
        let mut mid = sample::container("b2", "mid", 2);
        (mid.status, mid.exit_code, mid.isolation) = (Status::Exited, 3, Isolation::Vm);
        mid.finished = Some(mid.created);
        let new = sample::container("a3", "new", 3);
        [old, mid, new].map(Arc::new).to_vec()
    }

    fn names(which: &List) -> Option<String> {
        let created = |name: &str| match name {
            "mid" => Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(2)),
            other => Err(Error::NoSuchContainer(other.to_owned())),
        };
        let selected = select(three(), which, created, |_| None).ok()?;
        Some(selected.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_list_shows_what_matches_newest_first() {
        let all = || List { all: true, ..Default::default() };
        let words = |word: &str| vec![word.to_owned()];
        let cases = [
            ("what runs", List::default(), Some("old")),
            ("all", all(), Some("new mid old")),
            ("limit implies all", List { limit: Some(2), ..Default::default() }, Some("new mid")),
            ("status", List { status: words("exited"), ..Default::default() }, Some("mid")),
            ("no status", List { status: words("happy"), ..Default::default() }, None),
            ("exit code", List { exited: vec![3], ..Default::default() }, Some("mid")),
            ("created is no exit", List { exited: vec![0], ..Default::default() }, Some("")),
            ("id", List { id: words("a"), ..all() }, Some("new old")),
            ("name", List { name: words("/ol"), ..all() }, Some("old")),
            ("whole name", List { name: words("^/ol$"), ..all() }, Some("")),
            ("end of name", List { name: words("ld$"), ..all() }, Some("old")),
            ("label", List { label: words("tier=web"), ..all() }, Some("old")),
            ("other label", List { label: words("tier=db"), ..all() }, Some("")),
            ("wall", List { isolation: vec![Isolation::Vm], ..all() }, Some("mid")),
            ("before", List { before: Some("mid".into()), ..Default::default() }, Some("old")),
            ("since", List { since: Some("mid".into()), ..Default::default() }, Some("new")),
            ("since nothing", List { since: Some("x".into()), ..Default::default() }, None),
        ];
        for (name, which, want) in cases {
            assert_eq!(names(&which).as_deref(), want, "{name}");
        }
    }
}
