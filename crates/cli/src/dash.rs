//! `hull dash`: the engine's web page.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::verb::Verb;

/// `hull dash`.
#[derive(Debug, Args)]
#[command(after_help = "\
The page is on loopback alone, and whoever has the token in its URL has the power of root. From another machine:
  ssh -L 8900:127.0.0.1:8900 HOST sudo hull dash --port 8900

Examples:
  hull dash
  hull dash --close")]
pub(crate) struct Dash {
    /// Port on 127.0.0.1; any that is free unless given
    #[arg(short, long, conflicts_with = "close")]
    port: Option<u16>,
    /// Close the page; its URL is worth nothing any more
    #[arg(long)]
    close: bool,
}

impl Verb for Dash {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["dash"]);
        if self.close {
            client.delete(&page).await?;
            return Ok(0);
        }
        let port = self.port.map(|port| port.to_string());
        let query: Vec<_> = port.iter().map(|port| ("port", port.as_str())).collect();
        let opened = client.post(&page.query(&query), &Value::Null).await?;
        println!("{}", opened["URL"].as_str().unwrap_or_default());
        Ok(0)
    }
}
