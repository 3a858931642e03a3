//! Verbs for images.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use crate::client::{self, Client, Page};
use crate::error::Error;
use crate::{output, table};

/// `hull pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The image's name
    pub(crate) image: String,
}

/// `hull images`.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
}

/// `hull import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply a Dockerfile instruction, e.g. `CMD sh`
    #[arg(short, long)]
    change: Vec<String>,
    /// Leave a comment
    #[arg(short, long, default_value = "")]
    message: String,
    /// The archive; - for standard input
    archive: PathBuf,
    /// The image's name
    image: Option<String>,
}

/// `hull rmi`.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Remove it though containers use it
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

/// Fetches an image and says how it goes.
pub(crate) async fn pull(client: &Client, image: &str) -> Result<(), Error> {
    fetch(client, image, output::line).await
}

/// Fetches an image; tells each step that is not merely another number of bytes.
pub(crate) async fn fetch(
    client: &Client,
    image: &str,
    mut tell: impl FnMut(String),
) -> Result<(), Error> {
    let mut parameters = vec![("fromImage", image)];
    let last = image.rsplit('/').next().unwrap_or(image);
    if !last.contains([':', '@']) {
        parameters.push(("tag", "latest"));
    }
    let page = Page::new(&["images", "create"]).query(&parameters);
    let messages = client.stream(Method::POST, &page).await?;
    client::lines(messages, |message| {
        if !message["progressDetail"]["current"].is_null() {
            return;
        }
        let status = message["status"].as_str().unwrap_or_default();
        match message["id"].as_str() {
            Some(id) => tell(format!("{id}: {status}")),
            None => tell(status.to_owned()),
        }
    })
    .await
}

/// Lists images.
pub(crate) async fn images(client: &Client, verb: &Images) -> Result<(), Error> {
    let images = client.get(&Page::new(&["images", "json"])).await?;
    let images = images.as_array().map(Vec::as_slice).unwrap_or_default();
    let short = |image: &Value| -> String {
        let id = image["Id"].as_str().unwrap_or_default();
        id.trim_start_matches("sha256:").chars().take(12).collect()
    };
    if verb.quiet {
        for image in images {
            output::line(short(image));
        }
        return Ok(());
    }
    let rows = images.iter().flat_map(|image| {
        let size = table::bytes(image["Size"].as_u64().unwrap_or(0));
        let row = move |name: &str, tag: &str| {
            vec![name.to_owned(), tag.to_owned(), short(image), size.clone()]
        };
        match image["RepoTags"].as_array().filter(|tags| !tags.is_empty()) {
            None => vec![row("<none>", "<none>")],
            Some(tags) => tags
                .iter()
                .filter_map(|name| name.as_str()?.rsplit_once(':'))
                .map(|(name, tag)| row(name, tag))
                .collect(),
        }
    });
    table::print(&["REPOSITORY", "TAG", "IMAGE ID", "SIZE"], rows);
    Ok(())
}

/// Makes an image of a tar archive and prints its id.
pub(crate) async fn import(client: &Client, verb: &Import) -> Result<(), Error> {
    let mut parameters = vec![("fromSrc", "-"), ("message", verb.message.as_str())];
    parameters.extend(verb.change.iter().map(|change| ("changes", change.as_str())));
    parameters.extend(verb.image.iter().map(|image| ("repo", image.as_str())));
    let page = Page::new(&["images", "create"]).query(&parameters);
    let answer = if verb.archive.as_os_str() == "-" {
        client.upload(&page, tokio::io::stdin()).await?
    } else {
        let name = verb.archive.display().to_string();
        let file = tokio::fs::File::open(&verb.archive).await.map_err(Error::file(name))?;
        client.upload(&page, file).await?
    };
    output::line(answer["status"].as_str().unwrap_or_default());
    Ok(())
}

/// Removes images and prints what went.
pub(crate) async fn rmi(client: &Client, verb: &Rmi) -> Result<(), Error> {
    let force = if verb.force { "1" } else { "0" };
    for image in &verb.images {
        let page = Page::new(&["images", image]).query(&[("force", force)]);
        let removed = client.delete(&page).await?;
        for record in removed.as_array().into_iter().flatten() {
            for (what, name) in record.as_object().into_iter().flatten() {
                output::line(format_args!("{what}: {}", name.as_str().unwrap_or_default()));
            }
        }
    }
    Ok(())
}
