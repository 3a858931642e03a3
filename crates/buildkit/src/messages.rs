//! BuildKit's messages, as far as they mean something here. What Hull only has to tell is there at all, such as a
//! definition of LLB, is kept as bytes.
//!
//! Spec: github.com/moby/buildkit `api/services/control/control.proto`, `frontend/gateway/pb/gateway.proto`,
//! `session/*/*.proto`; github.com/tonistiigi/fsutil `types/*.proto`.

pub(crate) mod control;
pub(crate) mod gateway;
pub(crate) mod policy;
pub(crate) mod session;
