//! `moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier`: what a build may be made of.

use prost::{Message, Oneof};

use super::control::Platform;
use super::gateway::SourceOp;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) platform: Option<Platform>,
    #[prost(message, optional, tag = "2")]
    pub(crate) source: Option<SourceMeta>,
}

/// `ResolveSourceMetaResponse`: what is known of a source.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SourceMeta {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<SourceOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckResponse {
    #[prost(oneof = "Verdict", tags = "1, 2")]
    pub(crate) verdict: Option<Verdict>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Verdict {
    #[prost(message, tag = "1")]
    Decision(Decision),
    /// It wants to know more.
    #[prost(bytes, tag = "2")]
    Request(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Decision {
    #[prost(int32, tag = "1")]
    pub(crate) action: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) messages: Vec<DenyMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DenyMessage {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}
