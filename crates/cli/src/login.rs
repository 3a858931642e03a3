//! `hull login` and `hull logout`.

use std::io::Read;

use clap::Args;
use serde_json::json;

use crate::client::{Client, Page};
use crate::credentials::{Credentials, HUB};
use crate::error::Error;
use crate::verb::Verb;
use crate::{output, terminal};

/// `hull login`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull login -u me --password-stdin registry.example.org <token")]
pub(crate) struct Login {
    /// User
    #[arg(short, long)]
    username: Option<String>,
    /// Password; others of this machine can see it
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry; Docker Hub if none
    registry: Option<String>,
}

/// `hull logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry; Docker Hub if none
    registry: Option<String>,
}

/// As the file calls it.
fn named(registry: Option<&str>) -> &str {
    match registry {
        None | Some("docker.io" | "index.docker.io") => HUB,
        Some(other) => {
            let host = other.trim_start_matches("https://").trim_start_matches("http://");
            host.split('/').next().unwrap_or(host)
        }
    }
}

impl Verb for Login {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let registry = named(self.registry.as_deref());
        if self.password_stdin && (self.password.is_some() || self.username.is_none()) {
            return Err(Error::Argument {
                option: "--password-stdin",
                value: "true".into(),
                want: "--username and no --password".into(),
            });
        }
        let user = self.username.map_or_else(|| terminal::ask("Username: ", false), Ok)?;
        let secret = if self.password_stdin {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(Error::file("read the password from standard input"))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            self.password.map_or_else(|| terminal::ask("Password: ", true), Ok)?
        };
        let body = json!({ "username": user, "password": secret, "serveraddress": registry });
        let answer = client.post(&Page::new(&["auth"]), &body).await?;
        let credentials = Credentials::read()?;
        let path = credentials.path();
        if credentials.store(registry, &user, &secret)? {
            eprintln!("WARNING: the password is stored unencrypted in {path}");
        }
        output::line(answer["Status"].as_str().unwrap_or("Login Succeeded"));
        Ok(0)
    }
}

impl Verb for Logout {
    async fn run(self, _: &Client) -> Result<u8, Error> {
        let registry = named(self.registry.as_deref());
        let known = Credentials::read()?.erase(registry)?;
        output::line(if known {
            format!("Removing login credentials for {registry}")
        } else {
            format!("Not logged in to {registry}")
        });
        Ok(0)
    }
}
