//! `moby.buildkit.v1.frontend.LLBBridge`: how a client has the parts of a build done.

use std::collections::HashMap;

use prost::{Message, Oneof};

use super::control::{CacheEntry, WorkerRecord};
use super::session::Stat;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PingRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PongResponse {
    /// What of this service may be used.
    #[prost(message, repeated, tag = "1")]
    pub(crate) frontend_caps: Vec<Cap>,
    /// What may be in a definition.
    #[prost(message, repeated, tag = "2")]
    pub(crate) llb_caps: Vec<Cap>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) workers: Vec<WorkerRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cap {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(bool, tag = "2")]
    pub(crate) enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SolveRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) definition: Option<Definition>,
    #[prost(string, tag = "2")]
    pub(crate) frontend: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) frontend_opt: HashMap<String, String>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) cache_imports: Vec<CacheEntry>,
    #[prost(map = "string, bytes", tag = "13")]
    pub(crate) frontend_inputs: HashMap<String, Vec<u8>>,
    /// Rules of what a build may be made of.
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub(crate) source_policies: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SolveResponse {
    #[prost(message, optional, tag = "3")]
    pub(crate) result: Option<Outcome>,
}

/// `Result`: what was built, and what a frontend has to say.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Outcome {
    #[prost(oneof = "Refs", tags = "1, 2, 3, 4")]
    pub(crate) refs: Option<Refs>,
    #[prost(map = "string, bytes", tag = "10")]
    pub(crate) metadata: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Refs {
    #[prost(string, tag = "1")]
    Old(String),
    #[prost(bytes, tag = "2")]
    OldMap(Vec<u8>),
    #[prost(message, tag = "3")]
    One(Ref),
    #[prost(bytes, tag = "4")]
    Map(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ref {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EvaluateRequest {
    #[prost(string, tag = "1")]
    pub(crate) r#ref: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EvaluateResponse {}

/// The end of what a client has done by the gateway.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReturnRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<Outcome>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReturnResponse {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatFileRequest {
    #[prost(string, tag = "1")]
    pub(crate) r#ref: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatFileResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) stat: Option<Stat>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadFileRequest {
    #[prost(string, tag = "1")]
    pub(crate) r#ref: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) range: Option<FileRange>,
}

/// Bytes of a file; all that follow for a length of 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileRange {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "2")]
    pub(crate) length: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadFileResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

/// LLB, `solver/pb/ops.proto`: operations, each as bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Definition {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) def: Vec<Vec<u8>>,
}

/// An operation, as far as one is looked at.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Op {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) exec: Option<Vec<u8>>,
    #[prost(message, optional, tag = "3")]
    pub(crate) source: Option<SourceOp>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(crate) merge: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(crate) diff: Option<Vec<u8>>,
}

/// Where files come from.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SourceOp {
    #[prost(string, tag = "1")]
    pub(crate) identifier: String,
    #[prost(map = "string, string", tag = "2")]
    pub(crate) attrs: HashMap<String, String>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}
