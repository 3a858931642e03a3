//! Verbs that move images: from and to registries, archives, other names.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use tokio::io::AsyncBufRead;

use crate::client::{self, Client, Page};
use crate::container::{last_message, save};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::output;
use crate::progress::Progress;
use crate::verb::Verb;

/// `hull pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Every tag of the name
    #[arg(short, long)]
    all_tags: bool,
    /// Print the name alone
    #[arg(short, long)]
    quiet: bool,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The image's name
    image: String,
}

/// `hull push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Every tag of the name
    #[arg(short, long)]
    all_tags: bool,
    /// Print the name alone
    #[arg(short, long)]
    quiet: bool,
    /// The image's name
    image: String,
}

/// `hull tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Name or id
    image: String,
    /// The further name
    name: String,
}

/// `hull save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Platform of the images
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

/// `hull load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read it from a file
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// `hull import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply a Dockerfile instruction, e.g. 'CMD sh'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Leave a comment
    #[arg(short, long, default_value = "")]
    message: String,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The archive; - for standard input
    archive: PathBuf,
    /// The image's name
    image: Option<String>,
}

/// A name with the tag that is meant when none is said.
pub(crate) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Fetches an image and tells how it goes.
pub(crate) async fn fetch(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    auth: Option<&str>,
    mut progress: Progress,
) -> Result<(), Error> {
    let mut query = vec![("fromImage", image)];
    query.extend(platform.map(|platform| ("platform", platform)));
    let page = Page::new(&["images", "create"]).query(&query);
    let messages = client.stream_as(Method::POST, &page, auth).await?;
    client::lines(messages, |message| progress.tell(&message)).await
}

/// Progress unless it is to be quiet.
fn progress(quiet: bool) -> Progress {
    if quiet { Progress::Quiet } else { Progress::output() }
}

impl Verb for Pull {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let auth = Credentials::for_image(&self.image)?;
        // A name without a tag is every tag to the API.
        let name = if self.all_tags { self.image.clone() } else { tagged(&self.image) };
        let platform = self.platform.as_deref();
        fetch(client, &name, platform, auth.as_deref(), progress(self.quiet)).await?;
        output::line(qualified(&name));
        Ok(0)
    }
}

/// A name with its registry, as docker prints it at the end of a pull.
pub(crate) fn qualified(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

impl Verb for Push {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let auth = Credentials::for_image(&self.image)?;
        let name = if self.all_tags { self.image.clone() } else { tagged(&self.image) };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && !self.all_tags => (name, Some(tag)),
            _ => (&*name, None),
        };
        let query: Vec<_> = tag.iter().map(|tag| ("tag", *tag)).collect();
        let page = Page::new(&["images", name, "push"]).query(&query);
        // A push must say who asks, even when it is nobody: `{}`.
        let auth = auth.unwrap_or_else(|| "e30=".to_owned());
        let messages = client.stream_as(Method::POST, &page, Some(&auth)).await?;
        let mut progress = progress(self.quiet);
        client::lines(messages, |message| progress.tell(&message)).await?;
        if self.quiet {
            output::line(qualified(&self.image));
        }
        Ok(0)
    }
}

impl Verb for Tag {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let name = tagged(&self.name);
        let (repo, tag) = name.rsplit_once(':').unwrap_or((&name, "latest"));
        let page =
            Page::new(&["images", &self.image, "tag"]).query(&[("repo", repo), ("tag", tag)]);
        client.post(&page, &Value::Null).await.map(|_| 0)
    }
}

impl Verb for Save {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let platform = self.platform.as_deref().map(platform);
        let mut query: Vec<_> = self.images.iter().map(|image| ("names", image.as_str())).collect();
        query.extend(platform.iter().map(|platform| ("platform", platform.as_str())));
        save(client, &Page::new(&["images", "get"]).query(&query), self.output.as_deref()).await
    }
}

/// `OS/ARCH[/VARIANT]` as the API has it.
fn platform(text: &str) -> String {
    let mut parts = text.splitn(3, '/');
    let keys = ["os", "architecture", "variant"];
    let fields = keys.iter().filter_map(|key| Some((*key, parts.next()?)));
    serde_json::to_string(&fields.collect::<std::collections::BTreeMap<_, _>>()).unwrap_or_default()
}

impl Verb for Load {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let quiet = if self.quiet { "1" } else { "0" };
        let page = Page::new(&["images", "load"]).query(&[("quiet", quiet)]);
        let mut progress = Progress::output();
        if let Some(path) = &self.input {
            let failed = Error::file(path.display().to_string());
            let file = tokio::fs::File::open(path).await.map_err(failed)?;
            told(client.upload(Method::POST, &page, file).await?, &mut progress).await
        } else if crate::terminal::input() {
            let terminal = std::io::Error::other("it is a terminal; name a file with -i");
            Err(Error::file("read the archive from standard input")(terminal))
        } else {
            told(client.upload(Method::POST, &page, tokio::io::stdin()).await?, &mut progress).await
        }
    }
}

async fn told(answer: impl AsyncBufRead + Unpin, progress: &mut Progress) -> Result<u8, Error> {
    client::lines(answer, |message| progress.tell(&message)).await.map(|()| 0)
}

impl Verb for Import {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let mut query = vec![("fromSrc", "-"), ("message", self.message.as_str())];
        query.extend(self.change.iter().map(|change| ("changes", change.as_str())));
        query.extend(self.image.iter().map(|image| ("repo", image.as_str())));
        query.extend(self.platform.iter().map(|platform| ("platform", platform.as_str())));
        let page = Page::new(&["images", "create"]).query(&query);
        let answer = if self.archive.as_os_str() == "-" {
            last_message(client.upload(Method::POST, &page, tokio::io::stdin()).await?).await?
        } else {
            let failed = Error::file(self.archive.display().to_string());
            let file = tokio::fs::File::open(&self.archive).await.map_err(failed)?;
            last_message(client.upload(Method::POST, &page, file).await?).await?
        };
        output::line(answer["status"].as_str().unwrap_or_default());
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_latest() {
        for (image, want) in [
            ("alpine", "alpine:latest"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
            ("a:1", "a:1"),
            ("a@sha256:0", "a@sha256:0"),
        ] {
            assert_eq!(tagged(image), want);
        }
        assert_eq!(qualified("alpine:1"), "docker.io/library/alpine:1");
        assert_eq!(
            platform("linux/arm64/v8"),
            r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#
        );
    }
}
