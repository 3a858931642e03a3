//! Images.

pub(crate) mod pull;

use std::collections::BTreeMap;
use std::time::SystemTime;

use hyper::StatusCode;
use image::{Image, Platform, Reference, Removed};
use serde_json::{Value, json};
use spec::Kind;

use crate::call::Call;
use crate::clock;
use crate::error::Error;
use crate::filters::Filters;
use crate::reply;
use crate::route::Answer;

/// `GET /images/json`.
pub(crate) fn list(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["before", "dangling", "label", "reference", "since"])?;
    let mut chosen = chosen(call, &filters)?;
    chosen.sort_by_key(|image| std::cmp::Reverse(created(image)));
    let rows = chosen.iter().map(|image| row(image, call));
    Ok(reply::ok(&rows.collect()))
}

/// The images that pass the filters.
fn chosen(call: &Call, filters: &Filters) -> Result<Vec<Image>, Error> {
    let dangling = filters.switch("dangling")?;
    let bound = |name: &str| filters.values(name).next().map(|image| get(call, image)).transpose();
    let (before, since) = (bound("before")?, bound("since")?);
    if let Some(pattern) = filters.values("reference").find(|pattern| pattern.contains(['[', '\\']))
    {
        return Err(Error::invalid(format!(
            "invalid filter 'reference={pattern}': want * and ? only"
        )));
    }
    let passes = |image: &Image| {
        dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
            && before.as_ref().is_none_or(|bound| created(image) < created(bound))
            && since.as_ref().is_none_or(|bound| created(image) > created(bound))
            && filters.labels(&labels(image))
            && filters.any("reference", |pattern| {
                image.tags.iter().any(|name| {
                    glob(pattern, &name.to_string()) || glob(pattern, &name.familiar_name())
                })
            })
    };
    Ok(call.engine.images().list().into_iter().filter(passes).collect())
}

/// Whether `text` is of the form that `pattern` gives: `?` is any character and `*` any number of
/// them, but for the slash.
fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends =
                text.char_indices().map(|(at, c)| (at, c == '/')).chain([(text.len(), true)]);
            let mut reachable = true;
            ends.take_while(|(_, stop)| std::mem::replace(&mut reachable, !stop))
                .any(|(at, _)| glob(rest.as_str(), &text[at..]))
        }
        Some(wanted) => text.chars().next().is_some_and(|found| {
            (found == wanted || (wanted == '?' && found != '/'))
                && glob(rest.as_str(), &text[found.len_utf8()..])
        }),
    }
}

fn row(image: &Image, call: &Call) -> Value {
    let mut row = json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": names(&image.tags),
        "RepoDigests": names(&image.digests),
        "Created": created(image).map_or(0, clock::unix),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": labels(image),
        "Containers": -1,
    });
    if !call.version.since_minor(44) {
        row["VirtualSize"] = json!(image.size);
    }
    row
}

/// `GET /images/NAME/json`.
pub(crate) fn inspect(call: &mut Call, name: &str) -> Answer {
    if call.query.flag("manifests") {
        return Err(Error::invalid("manifests is not supported by Hull yet"));
    }
    if let Some(text) = call.query.text("platform") {
        check_platform(name, text)?;
    }
    let image = get(call, name)?;
    let config = &image.config;
    let mut document = json!({
        "Id": image.id,
        "RepoTags": names(&image.tags),
        "RepoDigests": names(&image.digests),
        "Parent": "",
        "Comment": "",
        "Created": config.created().clone().unwrap_or_else(|| clock::zero().to_owned()),
        "DockerVersion": "",
        "Author": config.author().clone().unwrap_or_default(),
        "Config": config.config().as_ref().map_or_else(|| json!({}), |config| json!(config)),
        "Architecture": config.architecture().to_string(),
        "Os": config.os().to_string(),
        "Size": image.size,
        "GraphDriver": { "Name": "overlay2", "Data": {} },
        "RootFS": { "Type": "layers", "Layers": config.rootfs().diff_ids() },
        "Metadata": { "LastTagTime": clock::zero() },
    });
    if let Some(variant) = config.variant() {
        document["Variant"] = json!(variant);
    }
    if !call.version.since_minor(44) {
        document["VirtualSize"] = json!(image.size);
    }
    Ok(reply::ok(&document))
}

/// `platform` of an inspect is JSON. Every image is kept for the host's platform alone.
fn check_platform(name: &str, text: &str) -> Result<(), Error> {
    let wanted: Value = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("invalid platform {text:?}: {error}")))?;
    let field = |key: &str| wanted[key].as_str();
    let host = Platform::host();
    let os = field("os").unwrap_or(&host.os);
    let architecture = field("architecture").unwrap_or(&host.architecture);
    if host.accepts(os, architecture, field("variant")) {
        return Ok(());
    }
    let message = format!(
        "image with reference {name} was found but does not provide the specified platform \
         ({os}/{architecture})"
    );
    Err(Error::new(StatusCode::NOT_FOUND, message))
}

/// `POST /images/NAME/tag`.
pub(crate) fn tag(call: &mut Call, name: &str) -> Answer {
    let repository = call.query.text("repo").unwrap_or_default();
    let target = reference(repository, call.query.text("tag"))?;
    call.engine.images().tag(name, &target).map_err(|error| Error::of(error.kind(), &error))?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `DELETE /images/NAME`.
pub(crate) async fn remove(call: &mut Call, name: &str) -> Answer {
    // `noprune` keeps untagged parents, of which there are none.
    let removed = call.engine.remove_image(name, call.query.flag("force")).await?;
    let rows = removed.iter().map(|removed| match removed {
        Removed::Untagged(name) => json!({ "Untagged": name }),
        Removed::Deleted(digest) => json!({ "Deleted": digest }),
    });
    Ok(reply::ok(&rows.collect()))
}

/// The name `repository` with the tag or digest `tag`, where that is given apart.
pub(crate) fn reference(repository: &str, tag: Option<&str>) -> Result<Reference, Error> {
    let text = match tag {
        None => repository.to_owned(),
        Some(digest) if digest.contains(':') => format!("{repository}@{digest}"),
        Some(tag) => format!("{repository}:{tag}"),
    };
    text.parse().map_err(|error: image::InvalidReference| Error::of(Kind::Invalid, &error))
}

fn get(call: &Call, name: &str) -> Result<Image, Error> {
    call.engine.images().get(name).map_err(|error| Error::of(error.kind(), &error))
}

fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::to_string).collect()
}

fn labels(image: &Image) -> BTreeMap<String, String> {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    labels.unwrap_or_default().into_iter().collect()
}

fn created(image: &Image) -> Option<SystemTime> {
    clock::parse("created", image.config.created().as_deref()?).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_but_a_slash() {
        for (pattern, text, want) in [
            ("alpine", "alpine", true),
            ("alpine*", "alpine:3.10", true),
            ("*", "alpine", true),
            ("*", "", true),
            ("*", "me/app", false),
            ("*/*", "me/app", true),
            ("*/app", "me/app:1", false),
            ("*pp*", "app", true),
            ("a?pine", "alpine", true),
            ("a?pine", "a/pine", false),
            ("", "alpine", false),
            ("alpine", "", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn a_tag_or_digest_may_be_given_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = |repository, tag| reference(repository, tag).map(|r| r.to_string());
        assert_eq!(text("alpine", Some("3.10")), Ok("alpine:3.10".into()));
        assert_eq!(text("docker.io/library/alpine", Some("3")), Ok("alpine:3".into()));
        assert_eq!(text("alpine:3.10", None), Ok("alpine:3.10".into()));
        assert_eq!(text("alpine", Some(&digest)), Ok(format!("alpine@{digest}")));
        assert!(text("Not A Name", None).is_err());
    }

    #[test]
    fn another_platform_is_not_here() {
        assert_eq!(check_platform("a", "{}"), Ok(()));
        let error = check_platform("a", r#"{"os":"linux","architecture":"s390x"}"#).unwrap_err();
        assert_eq!(error.status(), StatusCode::NOT_FOUND);
        assert!(check_platform("a", "linux/amd64").is_err());
    }
}
