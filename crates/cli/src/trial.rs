//! Containers that a verb makes for its own purpose: all of them are removed, whatever happens.

use std::sync::Mutex;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::client::{Client, Page};
use crate::error::Error;

/// What was made and is not yet removed.
pub(crate) struct Trial<'a> {
    client: &'a Client,
    made: Mutex<Vec<String>>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, made: Mutex::default() }
    }

    /// Makes a container behind this wall; gives its id.
    pub(crate) async fn create(&self, isolation: &str, body: &Value) -> Result<String, Error> {
        let mut body = body.clone();
        body["HostConfig"]["Isolation"] = json!(isolation);
        let made = self.client.post(&Page::new(&["containers", "create"]), &body).await?;
        let id = made["Id"].as_str().unwrap_or_default().to_owned();
        self.made.lock().expect("nothing panics while it is held").push(id.clone());
        Ok(id)
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), Error> {
        let page = Page::new(&["containers", id, "start"]);
        self.client.post(&page, &Value::Null).await.map(drop)
    }

    /// Runs a program to its end; gives what it said. It needs `Tty`, or its output has frames.
    pub(crate) async fn run(&self, isolation: &str, body: &Value) -> Result<String, Error> {
        let id = self.create(isolation, body).await?;
        self.start(&id).await?;
        self.client.post(&Page::new(&["containers", &id, "wait"]), &Value::Null).await?;
        let page = Page::new(&["containers", &id, "logs"]).query(&[("stdout", "1")]);
        let mut said = String::new();
        let mut logs = self.client.stream(Method::GET, &page).await?;
        logs.read_to_string(&mut said).await.map_err(Error::file("read a container's output"))?;
        self.remove(&id).await?;
        Ok(said)
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let page = Page::new(&["containers", id]).query(&[("force", "1"), ("v", "1")]);
        self.client.delete(&page).await?;
        self.made.lock().expect("nothing panics while it is held").retain(|made| made != id);
        Ok(())
    }

    /// Removes what an error or an interruption left.
    pub(crate) async fn clean(&self) -> Result<(), Error> {
        let left = self.made.lock().expect("nothing panics while it is held").clone();
        let mut done = Ok(());
        for id in left {
            done = done.and(self.remove(&id).await);
        }
        done
    }
}
