//! Every page of the API in one table.

use std::borrow::Cow;
use std::sync::Arc;

use buildkit::Buildkit;
use dash::Dash;
use engine::Engine;
use hyper::Request;
use hyper::body::Incoming;

use crate::body::Sent;
use crate::call::Call;
use crate::error::Error;
use crate::query::Query;
use crate::reply::Reply;
use crate::version::Version;
use crate::{
    archive, auth, build, commit, containers, dashboard, distribution, events, exec, images,
    networks, system, usage, volumes,
};

/// What handlers give.
pub(crate) type Answer = Result<Reply, Error>;

/// Answers one request.
pub(crate) async fn answer(
    engine: Engine,
    dash: Arc<Dash>,
    buildkit: Arc<Buildkit>,
    request: Request<Incoming>,
) -> Answer {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let method = request.method().as_str().to_owned();
    let path = decode(request.uri().path())?.into_owned();
    let (version, path) = Version::split(&path)?;
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let (parts, body) = request.into_parts();
    let (request, body) = (Request::from_parts(parts, ()), Some(Sent::new(body)));
    let mut call = Call { engine, dash, buildkit, version, query, request, body };
    dispatch(&mut call, &method, &path).await
}

async fn dispatch(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match path {
        ["containers", rest @ ..] => container_page(call, method, rest).await,
        ["exec", rest @ ..] => exec_page(call, method, rest).await,
        ["images", rest @ ..] => image_page(call, method, rest).await,
        ["networks", rest @ ..] => network_page(call, method, rest).await,
        ["volumes", rest @ ..] => volume_page(call, method, rest).await,
        path => system_page(call, method, path).await,
    }
}

/// A path without its percent signs.
fn decode(path: &str) -> Result<Cow<'_, str>, Error> {
    percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Error::invalid("the path is not UTF-8"))
}

async fn container_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    use containers::{life, list, stats, streams, update, view};
    match (method, path) {
        ("GET", ["json"]) => list::list(call).await,
        ("POST", ["create"]) => life::create(call).await,
        ("POST", ["prune"]) => life::prune(call).await,
        ("DELETE", [id]) => life::remove(call, id).await,
        ("GET", [id, "json"]) => view::inspect(call, id).await,
        ("GET", [id, "top"]) => view::top(call, id).await,
        ("GET", [id, "egress"]) => view::egress(call, id).await,
        ("GET", [id, "logs"]) => streams::logs(call, id).await,
        ("POST", [id, "attach"]) => streams::attach(call, id).await,
        ("POST", [id, "wait"]) => streams::wait(call, id).await,
        ("POST", [id, "start"]) => life::start(call, id).await,
        ("POST", [id, "stop"]) => life::stop(call, id).await,
        ("POST", [id, "restart"]) => life::restart(call, id).await,
        ("POST", [id, "kill"]) => life::kill(call, id).await,
        ("POST", [id, "pause"]) => life::pause(call, id).await,
        ("POST", [id, "unpause"]) => life::unpause(call, id).await,
        ("POST", [id, "rename"]) => life::rename(call, id).await,
        ("POST", [id, "resize"]) => life::resize(call, id).await,
        ("POST", [id, "exec"]) => exec::create(call, id).await,
        ("GET", [id, "changes"]) => archive::changes(call, id).await,
        ("GET", [id, "export"]) => archive::export(call, id).await,
        ("GET", [id, "stats"]) => stats::stats(call, id).await,
        ("GET", [id, "attach", "ws"]) => streams::attach_ws(call, id).await,
        ("HEAD", [id, "archive"]) => archive::stat(call, id).await,
        ("GET", [id, "archive"]) => archive::get(call, id).await,
        ("PUT", [id, "archive"]) => archive::put(call, id).await,
        // Hull's own.
        ("POST", [id, "ports"]) => containers::ports::change(call, id).await,
        ("POST", [id, "update"]) => update::update(call, id).await,
        (_, [_, "checkpoints", ..]) => Err(Error::unsupported("checkpoint")),
        _ => Err(Error::no_page()),
    }
}

async fn exec_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("GET", [id, "json"]) => exec::inspect(call, id).await,
        ("POST", [id, "start"]) => exec::start(call, id).await,
        ("POST", [id, "resize"]) => exec::resize(call, id).await,
        // Hull's own.
        ("GET", [id, "ws"]) => exec::start_ws(call, id).await,
        _ => Err(Error::no_page()),
    }
}

/// An image's name may have any number of slashes in it.
async fn image_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("GET", ["json"]) => images::list(call),
        ("POST", ["create"]) => images::pull::create(call).await,
        ("GET", ["search"]) => images::search::search(call).await,
        ("GET", ["get"]) => images::archive::save(call, None).await,
        ("GET", [name @ .., "get"]) => images::archive::save(call, Some(&name.join("/"))).await,
        ("POST", ["load"]) => images::archive::load(call).await,
        ("POST", ["prune"]) => images::prune::prune(call).await,
        ("POST", [_, .., "push"]) => {
            images::push::push(call, &path[..path.len() - 1].join("/")).await
        }
        ("GET", [name @ .., "json"]) => images::inspect(call, &name.join("/")),
        ("GET", [name @ .., "history"]) => images::history::history(call, &name.join("/")),
        ("POST", [name @ .., "tag"]) => images::tag(call, &name.join("/")),
        ("DELETE", [_, ..]) => images::remove(call, &path.join("/")).await,
        _ => Err(Error::no_page()),
    }
}

async fn network_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("GET", [] | [""]) => networks::list(call).await,
        ("POST", ["create"]) => networks::create(call).await,
        ("POST", ["prune"]) => networks::prune(call).await,
        ("GET", [name]) => networks::inspect(call, name).await,
        ("DELETE", [name]) => networks::remove(call, name).await,
        ("POST", [name, "connect"]) => networks::connect(call, name).await,
        ("POST", [name, "disconnect"]) => networks::disconnect(call, name).await,
        _ => Err(Error::no_page()),
    }
}

async fn volume_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("GET", [] | [""]) => volumes::list(call),
        ("POST", ["create"]) => volumes::create(call).await,
        ("POST", ["prune"]) => volumes::prune(call).await,
        ("GET", [name]) => volumes::inspect(call, name),
        ("DELETE", [name]) => volumes::remove(call, name).await,
        ("POST", [name, "resize"]) => volumes::resize(call, name).await,
        ("POST", [name, "clone"]) => volumes::clone(call, name).await,
        ("POST", [name, "snapshot"]) => volumes::snapshot(call, name).await,
        ("PUT", [_]) => Err(system::no_swarm()),
        _ => Err(Error::no_page()),
    }
}

async fn system_page(call: &mut Call, method: &str, path: &[&str]) -> Answer {
    match (method, path) {
        ("GET" | "HEAD", ["_ping"]) => Ok(system::ping(method)),
        ("GET", ["version"]) => Ok(system::version()),
        ("GET", ["info"]) => system::info(call).await,
        ("GET", ["events"]) => events::events(call),
        ("GET", ["plugins"]) => Ok(system::plugins()),
        ("POST", ["auth"]) => auth::login(call).await,
        ("POST", ["build"]) => build::build(call).await,
        ("POST", ["build", "link"]) => build::link(call),
        ("POST", ["grpc"]) => build::grpc(call),
        ("POST", ["session"]) => build::session(call),
        ("POST", ["build", "prune"]) => usage::prune_builds(call).await,
        ("POST", ["commit"]) => commit::commit(call).await,
        ("GET", ["system", "df"]) => usage::usage(call).await,
        ("GET", ["distribution", name @ .., "json"]) => {
            distribution::inspect(call, &name.join("/")).await
        }
        // Hull's own.
        ("POST", ["dash"]) => dashboard::open(call).await,
        ("DELETE", ["dash"]) => dashboard::close(call).await,
        ("GET", ["plugins", name @ .., "json"]) => Err(system::no_plugin(&name.join("/"))),
        (_, ["plugins", ..]) => Err(Error::unsupported("plugin")),
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            Err(system::no_swarm())
        }
        _ => Err(Error::no_page()),
    }
}
