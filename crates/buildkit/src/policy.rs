//! What a build may be made of, as its client says: a policy beside the Dockerfile, or the client's own.
//!
//! The client is asked about each image, address and repository before it is fetched. A policy that wants to know
//! more of one than where it is, or wants another in its place, is not followed but refused.
//!
//! Spec: github.com/moby/buildkit `sourcepolicy/policysession/policysession.proto`.

use std::collections::HashMap;
use std::sync::Arc;

use build::git::Repository;
use build::run::Ingredient;
use engine::build::Permit;
use image::Platform;
use tonic::Status;

use crate::error::unsupported;
use crate::messages::control;
use crate::messages::gateway::SourceOp;
use crate::messages::policy::{CheckRequest, CheckResponse, Decision, SourceMeta, Verdict};
use crate::session::Session;

const CHECK: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";
/// `PolicyAction`s.
const ALLOW: i32 = 0;
const DENY: i32 = 1;

/// A client's policy; everything is allowed where there is none.
#[derive(Clone)]
pub(crate) struct Policy {
    session: Option<Session>,
    platform: control::Platform,
}

impl Policy {
    pub(crate) fn new(session: Option<Session>, platform: Option<&Platform>) -> Self {
        let Platform { os, architecture, variant, .. } =
            platform.cloned().unwrap_or_else(Platform::host);
        let variant = variant.unwrap_or_default();
        Self { session, platform: control::Platform { architecture, os, variant } }
    }

    /// Whether a build may be made of a directory of the client's.
    pub(crate) async fn check_directory(&self, name: &str) -> Result<(), Status> {
        let identifier = format!("local://{name}");
        self.judge(SourceOp { identifier, attrs: HashMap::new() }).await
    }

    /// Whether it may be made of a context that is somewhere else.
    pub(crate) async fn check_remote(&self, named: &str) -> Result<(), Status> {
        let is_repository = Repository::parse(named).is_some();
        let ingredient =
            if is_repository { Ingredient::Repository(named) } else { Ingredient::File(named) };
        self.judge(source(ingredient)).await
    }

    /// The same as the builder asks it.
    pub(crate) fn permit(&self) -> Permit {
        let policy = self.clone();
        Arc::new(move |ingredient| {
            let (policy, source) = (policy.clone(), source(ingredient));
            Box::pin(async move {
                policy.judge(source).await.map_err(|status| status.message().to_owned())
            })
        })
    }

    async fn judge(&self, source: SourceOp) -> Result<(), Status> {
        let Some(session) = &self.session else { return Ok(()) };
        let named = source.identifier.clone();
        let platform = Some(self.platform.clone());
        let question = CheckRequest { platform, source: Some(SourceMeta { source: Some(source) }) };
        let CheckResponse { verdict } = session.ask(CHECK, question).await?;
        match verdict {
            Some(Verdict::Decision(Decision { action: ALLOW, .. })) => Ok(()),
            Some(Verdict::Decision(Decision { action: DENY, messages, .. })) => {
                let messages: Vec<String> =
                    messages.into_iter().map(|message| format!(": {}", message.message)).collect();
                let told = messages.concat();
                Err(Status::permission_denied(format!(
                    "source {named:?} not allowed by policy{told}"
                )))
            }
            Some(Verdict::Decision(_)) => Err(unsupported(format!(
                "the policy wants something else in place of {named}: name that in the Dockerfile"
            ))),
            Some(Verdict::Request(_)) => Err(unsupported(format!(
                "the policy wants to know more of {named} than its name, which Hull's builder does not tell: \
                 --policy disabled=true builds without it"
            ))),
            None => Err(Status::internal(format!("the policy says nothing of {named}"))),
        }
    }
}

/// As BuildKit names it.
fn source(ingredient: Ingredient<'_>) -> SourceOp {
    let mut attrs = HashMap::new();
    let identifier = match ingredient {
        Ingredient::Image(name) => format!("docker-image://{name}"),
        Ingredient::File(address) => address.to_owned(),
        Ingredient::Repository(address) => {
            let (url, fragment) = address.split_once('#').unwrap_or((address, ""));
            attrs.insert("git.fullurl".to_owned(), url.to_owned());
            let place = url.split_once("://").map_or(url, |(_, place)| place);
            if fragment.is_empty() {
                format!("git://{place}")
            } else {
                format!("git://{place}#{fragment}")
            }
        }
    };
    SourceOp { identifier, attrs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_as_by_buildkit() {
        let image = source(Ingredient::Image("docker.io/library/busybox:latest"));
        assert_eq!(image.identifier, "docker-image://docker.io/library/busybox:latest");
        let git = source(Ingredient::Repository("https://lab.example/a.git#main:sub"));
        assert_eq!(git.identifier, "git://lab.example/a.git#main:sub");
        assert_eq!(git.attrs["git.fullurl"], "https://lab.example/a.git");
        let file = source(Ingredient::File("https://lab.example/a.tar"));
        assert_eq!(file.identifier, "https://lab.example/a.tar");
    }
}
