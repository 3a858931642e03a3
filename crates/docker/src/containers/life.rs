//! Requests that change a container.

use engine::{Change, List, Remove, Size, Stop};
use hyper::StatusCode;
use serde_json::{Value, json};
use spec::Kind;

use crate::call::Call;
use crate::clock;
use crate::containers::create;
use crate::error::Error;
use crate::fields::is_blank;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::Answer;
use crate::version::Version;

/// `POST /containers/create`.
pub(crate) async fn create(call: &mut Call) -> Answer {
    let name = call.query.text("name").map(str::to_owned);
    let mut body = call.value().await?;
    of_old(&mut body, call.version)?;
    let request = create::parse(body, name)?;
    check_platform(call.query.text("platform"), &request.config.image)?;
    let created =
        call.engine.create(request).await.map_err(|error| Error::from(error).by_field())?;
    let body = json!({ "Id": created.id, "Warnings": created.warnings });
    Ok(reply::json(StatusCode::CREATED, &body))
}

/// Gives a request the meaning that it had in its version of the API.
fn of_old(body: &mut Value, version: Version) -> Result<(), Error> {
    let endpoints = &body["NetworkingConfig"]["EndpointsConfig"];
    if let Some(endpoints) = endpoints.as_object().filter(|named| named.len() > 1)
        && !version.since_minor(44)
    {
        let names = endpoints.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid(format!(
            "Container cannot be created with multiple network endpoints: {names}"
        )));
    }
    let mounts = body["HostConfig"]["Mounts"].as_array();
    for mount in mounts.into_iter().flatten() {
        let asks = |options: &str, name: &str| !is_blank(&mount[options][name]);
        let newer = [
            (44, asks("BindOptions", "ReadOnlyNonRecursive"), "BindOptions.ReadOnlyNonRecursive"),
            (
                44,
                asks("BindOptions", "ReadOnlyForceRecursive"),
                "BindOptions.ReadOnlyForceRecursive",
            ),
            (45, asks("VolumeOptions", "Subpath"), "VolumeOptions.Subpath"),
            (48, mount["Type"] == "image", "Mount type \"Image\""),
        ];
        let early = newer.iter().find(|(since, asked, _)| *asked && !version.since_minor(*since));
        if let Some((since, _, what)) = early {
            return Err(Error::invalid(format!("{what} needs API v1.{since} or newer")));
        }
    }
    // What it is to share by default was private only since.
    let ipc = body["HostConfig"]["IpcMode"].as_str().unwrap_or_default();
    if ipc.is_empty() && !version.since_minor(40) && body.is_object() {
        let host = &mut body["HostConfig"];
        if host.is_null() || host.is_object() {
            host["IpcMode"] = "shareable".into();
        }
    }
    Ok(())
}

/// Images are kept for one platform, the host's. Of another one none is here: clients pull then.
fn check_platform(text: Option<&str>, image: &str) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    let platform: image::Platform = text
        .parse()
        .map_err(|error| Error::of(Kind::Invalid, &error as &image::InvalidPlatform))?;
    let host = image::Platform::host();
    if host.accepts(&platform.os, &platform.architecture, None) {
        return Ok(());
    }
    Err(Error::new(
        StatusCode::NOT_FOUND,
        format!(
            "image with reference {image} was found but does not match the specified platform: \
             wanted {platform}, actual: {host}"
        ),
    ))
}

/// `POST /containers/ID/start`.
pub(crate) async fn start(call: &mut Call, id: &str) -> Answer {
    Ok(changed(call.engine.start(id).await?))
}

/// `POST /containers/ID/stop`.
pub(crate) async fn stop(call: &mut Call, id: &str) -> Answer {
    let how = how_to_stop(&call.query)?;
    Ok(changed(call.engine.stop(id, how).await?))
}

/// `POST /containers/ID/restart`.
pub(crate) async fn restart(call: &mut Call, id: &str) -> Answer {
    let how = how_to_stop(&call.query)?;
    call.engine.restart(id, how).await?;
    Ok(reply::done())
}

/// `POST /containers/ID/kill`.
pub(crate) async fn kill(call: &mut Call, id: &str) -> Answer {
    let signal = create::signal(call.query.text("signal").unwrap_or_default())?;
    call.engine.kill(id, signal).await?;
    Ok(reply::done())
}

/// `POST /containers/ID/pause`.
pub(crate) async fn pause(call: &mut Call, id: &str) -> Answer {
    call.engine.pause(id).await?;
    Ok(reply::done())
}

/// `POST /containers/ID/unpause`.
pub(crate) async fn unpause(call: &mut Call, id: &str) -> Answer {
    call.engine.unpause(id).await?;
    Ok(reply::done())
}

/// `POST /containers/ID/rename`.
pub(crate) async fn rename(call: &mut Call, id: &str) -> Answer {
    let new = call
        .query
        .text("name")
        .ok_or_else(|| Error::invalid("Neither old nor new names may be empty"))?;
    call.engine.rename(id, new).await?;
    Ok(reply::done())
}

/// `POST /containers/ID/resize`.
pub(crate) async fn resize(call: &mut Call, id: &str) -> Answer {
    if let Some(size) = size(&call.query)? {
        call.engine.resize(id, size).await?;
    }
    Ok(reply::empty(StatusCode::OK))
}

/// `DELETE /containers/ID`.
pub(crate) async fn remove(call: &mut Call, id: &str) -> Answer {
    if call.query.flag("link") {
        return Err(Error::invalid("link is not supported by Hull yet"));
    }
    let how = Remove { force: call.query.flag("force"), volumes: call.query.flag("v") };
    call.engine.remove(id, how).await?;
    Ok(reply::done())
}

/// `POST /containers/prune`: removes what does not run.
pub(crate) async fn prune(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["label", "label!", "until"])?;
    let until = match filters.values("until").next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    let which = List {
        all: true,
        status: ["created", "exited", "dead"].map(str::to_owned).to_vec(),
        label: filters.values("label").map(str::to_owned).collect(),
        ..List::default()
    };
    let (mut deleted, mut reclaimed) = (Vec::new(), 0);
    let listed = call.engine.list(which).await?.into_iter();
    let chosen = listed.filter(|container| {
        until.is_none_or(|until| container.created <= until)
            && !filters.unwanted(&container.config.labels)
    });
    for container in chosen {
        let id = container.id.to_string();
        // Of one that is gone meanwhile nothing is reclaimed.
        let size = call.engine.written(&container).await.unwrap_or_default();
        // One that was started or removed in between is not to be pruned.
        match call.engine.remove(&id, Remove::default()).await {
            Ok(()) => {
                deleted.push(id);
                reclaimed += size;
            }
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reply::ok(&json!({ "ContainersDeleted": deleted, "SpaceReclaimed": reclaimed })))
}

fn how_to_stop(query: &Query) -> Result<Stop, Error> {
    let signal = create::signal(query.text("signal").unwrap_or_default())?;
    Ok(Stop { timeout: query.value("t")?, signal })
}

/// `h` and `w`; `None` when one is zero, which a client sends that does not know.
pub(crate) fn size(query: &Query) -> Result<Option<Size>, Error> {
    let side = |name: &str, what: &str| -> Result<u16, Error> {
        let text = query.text(name).unwrap_or_default();
        // What is a number but no size is told apart, as Docker does it.
        let problem =
            if text.parse::<i64>().is_ok() { "value out of range" } else { "invalid syntax" };
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid resize {what} {text:?}: {problem}")))
    };
    let (rows, columns) = (side("h", "height")?, side("w", "width")?);
    Ok((rows > 0 && columns > 0).then_some(Size { rows, columns }))
}

fn changed(change: Change) -> Reply {
    match change {
        Change::Done => reply::done(),
        Change::Already => reply::empty(StatusCode::NOT_MODIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_platform_is_accepted() {
        let host = image::Platform::host().to_string();
        assert_eq!(check_platform(None, "a"), Ok(()));
        assert_eq!(check_platform(Some(&host), "a"), Ok(()));
        let error = check_platform(Some("linux/s390x"), "a").unwrap_err();
        assert_eq!(error.status(), StatusCode::NOT_FOUND);
        assert!(error.message().contains("wanted linux/s390x, actual: "), "{error}");
    }

    #[test]
    fn a_request_of_old_means_what_it_meant_then() {
        let version = |text: &str| Version::split(text).expect("legal").0;
        let two = json!({ "NetworkingConfig": { "EndpointsConfig": { "a": {}, "b": null } } });
        let error = of_old(&mut two.clone(), version("/v1.43/x")).unwrap_err();
        let want = "Container cannot be created with multiple network endpoints: a, b";
        assert_eq!(error.message(), want);
        assert_eq!(of_old(&mut two.clone(), version("/v1.44/x")), Ok(()));

        for (host, at, want) in [
            (json!({ "HostConfig": {} }), "/v1.39/x", json!("shareable")),
            (json!({}), "/v1.39/x", json!("shareable")),
            (json!({ "HostConfig": { "IpcMode": "private" } }), "/v1.39/x", json!("private")),
            (json!({ "HostConfig": {} }), "/v1.40/x", Value::Null),
        ] {
            let mut body = host;
            assert_eq!(of_old(&mut body, version(at)), Ok(()));
            assert_eq!(body["HostConfig"]["IpcMode"], want, "{at}");
        }
    }

    #[test]
    fn a_size_of_nothing_is_no_size() {
        let size = |text| size(&Query::parse(text));
        assert_eq!(size("h=24&w=80"), Ok(Some(Size { rows: 24, columns: 80 })));
        assert_eq!(size("h=0&w=0"), Ok(None));
        assert!(size("").is_err());
        assert!(size("h=-1&w=80").is_err());
        assert!(size("h=70000&w=80").is_err());
    }
}
