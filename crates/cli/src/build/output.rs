//! `--output`: the image as something else than an image of the engine.
//!
//! ```text
//!   image         what the engine has anyway
//!   oci, docker   GET /images/get: an OCI layout, and docker's archive at once
//!   tar, local    the files alone, exported from a container that never runs
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio_util::io::SyncIoBridge;

use crate::client::{Client, Page};
use crate::container::{save, unpack};
use crate::error::Error;

/// Where a result goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// The engine's own image.
    Image,
    /// The image as an archive; `None` for standard output.
    Archive(Option<PathBuf>),
    /// The image as a directory.
    Layout(PathBuf),
    /// Its files as an archive; `None` for standard output.
    Tar(Option<PathBuf>),
    /// Its files in a directory.
    Local(PathBuf),
}

impl Output {
    /// What `--output` says: keys with values, or for short a directory or `-`.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |want: &str| Error::Argument {
            option: "--output",
            value: text.to_owned(),
            want: want.to_owned(),
        };
        if text == "-" {
            return Ok(Self::Tar(None));
        }
        if !text.contains('=') {
            return Ok(Self::Local(text.into()));
        }
        let (mut kind, mut dest, mut is_tar) = ("", None, true);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = value,
                Some(("dest", value)) => dest = Some(value),
                Some(("tar", "true")) => is_tar = true,
                Some(("tar", "false")) => is_tar = false,
                Some(("name" | "push", _)) => {
                    return Err(wrong("names by --tag, and hull push afterwards"));
                }
                _ => return Err(wrong("type=image|oci|docker|tar|local and dest=PATH")),
            }
        }
        let is_named = dest.is_some();
        let dest = dest.filter(|dest| *dest != "-").map(PathBuf::from);
        let directory = || dest.clone().ok_or_else(|| wrong("a directory: dest=PATH"));
        match kind {
            "image" if dest.is_none() => Ok(Self::Image),
            "image" => Err(wrong("no dest: an image is the engine's; oci and docker are files")),
            // As buildx has it: what is not to be a file is loaded.
            "docker" if is_tar && !is_named => Ok(Self::Image),
            "oci" | "docker" if is_tar => Ok(Self::Archive(dest)),
            "oci" => directory().map(Self::Layout),
            "tar" => Ok(Self::Tar(dest)),
            "local" => directory().map(Self::Local),
            _ => Err(wrong("a type: image, oci, docker, tar or local")),
        }
    }

    /// Whether it takes standard output.
    pub(super) fn is_printed(&self) -> bool {
        matches!(self, Self::Archive(None) | Self::Tar(None))
    }

    /// Writes the image with this id and these names.
    pub(super) async fn write(
        &self,
        client: &Client,
        names: &[String],
        id: &str,
    ) -> Result<(), Error> {
        match self {
            Self::Image => Ok(()),
            Self::Archive(to) => save(client, &image(names, id), to.as_deref()).await.map(drop),
            Self::Layout(to) => directory(client, &image(names, id), to).await,
            Self::Tar(_) | Self::Local(_) => self.files(client, id).await,
        }
    }

    /// Writes the files of the image.
    async fn files(&self, client: &Client, id: &str) -> Result<(), Error> {
        // It is never started: what it would run, and where, does not matter.
        let body = json!({ "Image": id, "Entrypoint": [], "Cmd": ["/"], "HostConfig": { "NetworkMode": "none" } });
        let made = client.post(&Page::new(&["containers", "create"]), &body).await?;
        let container = made["Id"].as_str().unwrap_or_default();
        let page = Page::new(&["containers", container, "export"]);
        let written = match self {
            Self::Tar(to) => save(client, &page, to.as_deref()).await.map(drop),
            Self::Local(to) => directory(client, &page, to).await,
            _ => Ok(()),
        };
        let gone = client
            .delete(&Page::new(&["containers", container]).query(&[("force", "1"), ("v", "1")]))
            .await;
        written.and(gone.map(drop::<Value>))
    }
}

/// The page of an image's archive.
fn image(names: &[String], id: &str) -> Page {
    let tagged: Vec<String> = names.iter().map(|name| crate::image::tagged(name)).collect();
    let names = if tagged.is_empty() { vec![id.to_owned()] } else { tagged };
    let query: Vec<_> = names.iter().map(|name| ("names", name.as_str())).collect();
    Page::new(&["images", "get"]).query(&query)
}

/// Unpacks an archive into a directory, made if need be.
async fn directory(client: &Client, page: &Page, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file(to.display().to_string()))?;
    let archive = client.stream(hyper::Method::GET, page).await?;
    unpack(SyncIoBridge::new(archive), to.to_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_docker() {
        let path = |text: &str| Some(PathBuf::from(text));
        let cases = [
            ("out", Output::Local("out".into())),
            ("-", Output::Tar(None)),
            ("type=image", Output::Image),
            ("type=oci,dest=a.tar", Output::Archive(path("a.tar"))),
            ("type=docker", Output::Image),
            ("type=docker,dest=-", Output::Archive(None)),
            ("type=oci", Output::Archive(None)),
            ("type=oci,tar=false,dest=a", Output::Layout("a".into())),
            ("type=tar,dest=-", Output::Tar(None)),
            ("type=tar,dest=a", Output::Tar(path("a"))),
            ("type=local,dest=a", Output::Local("a".into())),
        ];
        for (text, want) in cases {
            assert_eq!(Output::parse(text).expect(text), want, "{text}");
        }
        for text in [
            "type=local",
            "type=image,push=true",
            "type=registry",
            "dest=a",
            "type=oci,tar=maybe",
            "type=image,dest=x",
        ] {
            assert!(Output::parse(text).is_err(), "{text}");
        }
        assert!(Output::Tar(None).is_printed() && !Output::Tar(path("a")).is_printed());
    }
}
