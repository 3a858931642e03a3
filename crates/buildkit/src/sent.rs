//! What is built of: the Dockerfile and the context, from the client or from where it says.
//!
//! ```text
//!   Dockerfile ─▶ is it one? its warnings ─▶ what is to be ignored ─▶ the context, without that
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use build::ignore::Ignore;
use build::remote::Remote;
use build::{Context, Named};
use tonic::Status;

use crate::Buildkit;
use crate::ask;
use crate::error::status;
use crate::files::{Wanted as Files, receive};
use crate::lint::Checked;
use crate::policy::Policy;
use crate::progress::Steps;
use crate::session::Session;
use crate::wanted::{Beside, DOCKERFILE, Wanted};

/// What clients call the directory of a build's context.
const CONTEXT: &str = "context";
/// What a context is not to have, alone or behind the name of the Dockerfile.
const IGNORED: &str = ".dockerignore";
/// Before the id of an archive that a client has of its standard input.
const UPLOAD: &str = "http://buildkit-session/";

/// What a client has sent.
pub(crate) enum Sent {
    /// What an image is to be built of.
    Whole(Box<Whole>),
    /// It wants only this said of its Dockerfile.
    Report(HashMap<String, Vec<u8>>),
}

/// A context and a Dockerfile.
pub(crate) struct Whole {
    pub(crate) context: Context,
    pub(crate) filename: String,
    pub(crate) text: Vec<u8>,
    /// Contexts beside the main one.
    pub(crate) contexts: BTreeMap<String, Named>,
}

/// A build's client.
pub(crate) struct Client<'a> {
    front: &'a Buildkit,
    wanted: &'a Wanted,
    steps: &'a Steps<'a>,
    session: &'a Session,
    policy: &'a Policy,
    scratch: &'a Path,
}

impl<'a> Client<'a> {
    pub(crate) fn new(
        front: &'a Buildkit,
        wanted: &'a Wanted,
        steps: &'a Steps<'a>,
        (session, policy): (&'a Session, &'a Policy),
        scratch: &'a Path,
    ) -> Self {
        Self { front, wanted, steps, session, policy, scratch }
    }

    /// Fetches all of it.
    pub(crate) async fn send(&self) -> Result<Sent, Status> {
        let mut filename = self.wanted.filename.clone();
        let beside = match &self.wanted.remote {
            Some(named) => {
                let Remote { context, dockerfile } = self.remote(named).await?;
                filename = dockerfile.map_or(filename, str::to_owned);
                Some(context)
            }
            None => None,
        };
        self.steps.begin(format!("[internal] load build definition from {filename}"));
        let own_ignore = format!("{filename}{IGNORED}");
        let definition = match &beside {
            Some(context) if !self.wanted.own_dockerfile => context,
            _ => &self.files(DOCKERFILE, &[filename.clone(), own_ignore.clone()]).await?,
        };
        let missing = || status(spec::Kind::Invalid, &build::Error::NoDockerfile(filename.clone()));
        let text = read(definition, &filename)?.ok_or_else(missing)?;
        let file = build::parse(&text, &filename).map_err(|error| status(error.kind(), &error))?;
        let ignore = match (read(definition, &own_ignore)?, &beside) {
            (Some(own), _) => Some(own),
            (None, Some(context)) => read(context, IGNORED)?,
            (None, None) => read(&self.files(CONTEXT, &[IGNORED.to_owned()]).await?, IGNORED)?,
        };
        let ignored = String::from_utf8_lossy(ignore.as_deref().unwrap_or_default());
        let ignore = Ignore::parse(&ignored).map_err(|error| status(error.kind(), &error))?;
        let checked = Checked::of(&file, self.wanted.lint.as_deref(), &ignore)?;
        if self.wanted.only_lint {
            return Ok(Sent::Report(checked.report(&filename, &text)));
        }
        checked.judge(self.steps)?;
        let mut context = if let Some(context) = beside {
            context
        } else {
            self.steps.begin("[internal] load build context");
            self.whole(CONTEXT, &ignored).await?
        };
        context.ignore(&ignore);
        let contexts = self.beside().await?;
        Ok(Sent::Whole(Box::new(Whole { context, filename, text, contexts })))
    }

    /// The contexts beside the main one.
    async fn beside(&self) -> Result<BTreeMap<String, Named>, Status> {
        let mut contexts = BTreeMap::new();
        for (name, beside) in &self.wanted.contexts {
            let named = match beside {
                Beside::Image(image) => Named::Image(image.clone()),
                Beside::Remote(named) => Named::Files(Arc::new(self.remote(named).await?.context)),
                Beside::Directory(dir) => Named::Files(Arc::new(self.directory(name, dir).await?)),
            };
            contexts.insert(name.clone(), named);
        }
        Ok(contexts)
    }

    /// A directory of the client's, but for what it says itself is to be ignored.
    async fn directory(&self, name: &str, dir: &str) -> Result<Context, Status> {
        let ignored = read(&self.files(dir, &[IGNORED.to_owned()]).await?, IGNORED)?;
        let ignored = String::from_utf8_lossy(ignored.as_deref().unwrap_or_default()).into_owned();
        let ignore = Ignore::parse(&ignored).map_err(|error| status(error.kind(), &error))?;
        self.steps.begin(format!("[context {name}] load from client"));
        let mut context = self.whole(dir, &ignored).await?;
        context.ignore(&ignore);
        Ok(context)
    }

    /// A context that is somewhere else.
    async fn remote(&self, named: &str) -> Result<Remote, Status> {
        let failed = |error: engine::Error| status(error.kind(), &error);
        if named.starts_with(UPLOAD) {
            self.steps.begin("[internal] load build context from standard input");
            self.policy.check_remote(named).await?;
            let archive = ask::upload(self.session, named.trim_start_matches("http://")).await?;
            let context = self.front.engine.build_context(archive).await.map_err(failed)?;
            return Ok(Remote { context, dockerfile: None });
        }
        self.steps.begin(format!("[internal] load build context from {named}"));
        self.policy.check_remote(named).await?;
        self.front.engine.build_remote(named).await.map_err(failed)
    }

    /// Some files of a directory of the client's.
    async fn files(&self, dir: &str, only: &[String]) -> Result<Context, Status> {
        self.policy.check_directory(dir).await?;
        let session = self.session_of(dir).await?;
        receive(&session, &Files { dir, only, but: &[] }, self.scratch, |_| ()).await
    }

    /// A directory of the client's, but for what is to be ignored.
    async fn whole(&self, dir: &str, ignored: &str) -> Result<Context, Status> {
        self.policy.check_directory(dir).await?;
        let session = self.session_of(dir).await?;
        let files = Files { dir, only: &[], but: &patterns(ignored) };
        let count = |bytes| self.steps.count("transferring context:", bytes, 0);
        receive(&session, &files, self.scratch, count).await
    }

    /// Who has a directory: builds that go on together share the clients of some.
    async fn session_of(&self, dir: &str) -> Result<Session, Status> {
        match self.wanted.sessions.get(dir) {
            Some(name) => self.front.sessions.find(name).await,
            None => Ok(self.session.clone()),
        }
    }
}

fn read(context: &Context, name: &str) -> Result<Option<Vec<u8>>, Status> {
    context.text(name).map_err(|error| status(error.kind(), &error))
}

/// Patterns by which a client leaves files out that would be left out here. What it does not understand as we do,
/// comes, and is left out then.
fn patterns(ignored: &str) -> Vec<String> {
    let lines = ignored.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    let pattern = |line: &str| match line.strip_prefix('!') {
        Some(kept) => format!("!{}", kept.trim().trim_start_matches('/')),
        None => line.trim_start_matches('/').to_owned(),
    };
    lines.filter(|line| !line.is_empty()).map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::patterns;

    #[test]
    fn a_client_is_told_patterns_beneath_its_directory() {
        let told = patterns("# no\n/target\n\n !  /target/keep \n*.o\n");
        assert_eq!(told, ["target", "!target/keep", "*.o"]);
    }
}
