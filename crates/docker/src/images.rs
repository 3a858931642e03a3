//! Images.

pub(crate) mod archive;
mod glob;
pub(crate) mod history;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod search;
pub(crate) mod told;

use std::collections::BTreeMap;
use std::time::SystemTime;

use hyper::StatusCode;
use image::{Extension, Image, Platform, Reference, Usage};
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
    let known = ["before", "dangling", "label", "label!", "reference", "since", "until"];
    let filters = call.query.filters(&known)?;
    let mut chosen = chosen(call, &filters)?;
    chosen.sort_by_key(|image| std::cmp::Reverse(created(image)));
    let (shared, manifests) = (call.query.flag("shared-size"), call.query.flag("manifests"));
    let usage = if shared || manifests { call.engine.images().usage() } else { Usage::default() };
    let rows = chosen.iter().map(|image| {
        let mut row = row(image, call);
        if shared {
            row["SharedSize"] = json!(usage.shared.get(&image.id));
        }
        if manifests {
            row["Manifests"] = json!([manifest(image, call, &usage)]);
        }
        row
    });
    Ok(reply::ok(&rows.collect()))
}

/// A row for each image, with what `system df` wants to know besides.
pub(crate) fn rows(call: &Call, usage: &Usage) -> Value {
    let uses = call.engine.image_uses();
    let row = |image: &Image| {
        let mut row = row(image, call);
        row["SharedSize"] = json!(usage.shared.get(&image.id).copied().unwrap_or(0));
        row["Containers"] = json!(uses.iter().filter(|user| user.image == image.id).count());
        row
    };
    listed(call).iter().map(row).collect()
}

/// All images but those that are only a step of a build on the way to another.
pub(crate) fn listed(call: &Call) -> Vec<Image> {
    let parents = call.engine.images().parents();
    let mut images = call.engine.images().list();
    images.retain(|image| {
        !image.tags.is_empty() || !image.digests.is_empty() || !parents.contains(&image.id)
    });
    images
}

/// How an index would speak of the image.
fn descriptor(image: &Image) -> Value {
    json!({
        "mediaType": image.media_type(), "digest": image.manifest, "size": image.manifest_size(),
    })
}

/// What the image has of its one platform.
fn manifest(image: &Image, call: &Call, usage: &Usage) -> Value {
    let by_it = call.engine.image_uses().into_iter().filter(|user| user.image == image.id);
    let containers: Vec<_> = by_it.map(|user| user.container).collect();
    let content = usage.blobs.get(&image.id).copied().unwrap_or(0);
    let mut platform = json!({
        "architecture": image.config.architecture().to_string(),
        "os": image.config.os().to_string(),
    });
    if let Some(variant) = image.config.variant() {
        platform["variant"] = json!(variant);
    }
    json!({
        "ID": image.manifest,
        "Descriptor": descriptor(image),
        "Available": true,
        "Kind": "image",
        "Size": { "Content": content, "Total": content + image.size },
        "ImageData": {
            "Platform": platform,
            "Containers": containers,
            "Size": { "Unpacked": image.size },
        },
    })
}

/// The images that pass the filters.
fn chosen(call: &Call, filters: &Filters) -> Result<Vec<Image>, Error> {
    let dangling = filters.switch("dangling")?;
    let bound = |name: &str| filters.values(name).next().map(|image| get(call, image)).transpose();
    let (before, since) = (bound("before")?, bound("since")?);
    let until = match filters.values("until").next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    // Before API 1.41 there was a parameter for the one filter that there was.
    let old = call.query.text("filter").filter(|_| !call.version.since_minor(41));
    let patterns: Vec<&str> = filters.values("reference").chain(old).collect();
    if let Some(pattern) = patterns.iter().find(|pattern| !glob::is_whole(pattern)) {
        return Err(Error::invalid(format!("invalid filter 'reference={pattern}'")));
    }
    let passes = |image: &Image| {
        dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
            && before.as_ref().is_none_or(|bound| created(image) < created(bound))
            && since.as_ref().is_none_or(|bound| created(image) > created(bound))
            && until.is_none_or(|until| created(image).is_some_and(|created| created <= until))
            && filters.labels(&labels(image))
            && !filters.unwanted(&labels(image))
    };
    // Of an image that is chosen by some of its names, these alone are shown.
    let named = |mut image: Image| {
        if patterns.is_empty() {
            return Some(image);
        }
        let chosen = |name: &Reference| {
            patterns.iter().any(|pattern| {
                glob::fits(pattern, &name.to_string()) || glob::fits(pattern, &name.familiar_name())
            })
        };
        image.tags.retain(chosen);
        image.digests.retain(chosen);
        (!image.tags.is_empty() || !image.digests.is_empty()).then_some(image)
    };
    let all = if call.query.flag("all") { call.engine.images().list() } else { listed(call) };
    Ok(all.into_iter().filter(passes).filter_map(named).collect())
}

/// The id of the image that a build made it of.
fn parent(image: &Image) -> String {
    image.parent.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn row(image: &Image, call: &Call) -> Value {
    let mut row = json!({
        "Id": image.id,
        "ParentId": parent(image),
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
    if call.version.since_minor(48) {
        row["Descriptor"] = descriptor(image);
    }
    row
}

/// `GET /images/NAME/json`.
pub(crate) fn inspect(call: &mut Call, name: &str) -> Answer {
    if let Some(text) = call.query.text("platform") {
        check_platform(name, text)?;
    }
    let image = get(call, name)?;
    let config = &image.config;
    let mut document = json!({
        "Id": image.id,
        "RepoTags": names(&image.tags),
        "RepoDigests": names(&image.digests),
        "Parent": parent(&image),
        "Comment": comment(&image),
        "Created": config.created().clone().unwrap_or_else(|| clock::zero().to_owned()),
        "DockerVersion": "",
        "Author": config.author().clone().unwrap_or_default(),
        "Config": run_config(&image),
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
    if call.version.since_minor(48) {
        document["Descriptor"] = descriptor(&image);
    }
    if call.query.flag("manifests") {
        document["Manifests"] = json!([manifest(&image, call, &call.engine.images().usage())]);
    }
    Ok(reply::ok(&document))
}

/// What was said of the image's last step.
fn comment(image: &Image) -> String {
    let last = image.config.history().as_ref().and_then(|steps| steps.last());
    last.and_then(|step| step.comment().clone()).unwrap_or_default()
}

/// How the image's program is to run, with what Docker adds to the OCI's keys.
fn run_config(image: &Image) -> Value {
    let mut config = image.config.config().as_ref().map_or_else(|| json!({}), |c| json!(c));
    let Extension { healthcheck, on_build, shell } = &image.extension;
    let more = [
        ("Healthcheck", healthcheck.as_ref().map(|check| json!(check))),
        ("OnBuild", on_build.as_ref().map(|lines| json!(lines))),
        ("Shell", shell.as_ref().map(|words| json!(words))),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            config[key] = value;
        }
    }
    config
}

/// `platform` of an inspect is JSON. Every image is kept for the host's platform alone.
pub(crate) fn check_platform(name: &str, text: &str) -> Result<(), Error> {
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
    if repository == "sha256" {
        return Err(Error::invalid(
            "refusing to create an ambiguous tag using digest algorithm as name",
        ));
    }
    call.engine.tag(name, &target)?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `DELETE /images/NAME`.
pub(crate) async fn remove(call: &mut Call, name: &str) -> Answer {
    // `noprune` keeps untagged parents, of which there are none.
    let removed = call.engine.remove_image(name, call.query.flag("force")).await?;
    Ok(reply::ok(&removed.iter().map(prune::row).collect()))
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

pub(crate) fn get(call: &Call, name: &str) -> Result<Image, Error> {
    call.engine.images().get(name).map_err(|error| Error::of(error.kind(), &error))
}

pub(crate) fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::to_string).collect()
}

pub(crate) fn labels(image: &Image) -> BTreeMap<String, String> {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    labels.unwrap_or_default().into_iter().collect()
}

pub(crate) fn created(image: &Image) -> Option<SystemTime> {
    clock::parse("created", image.config.created().as_deref()?).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

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
