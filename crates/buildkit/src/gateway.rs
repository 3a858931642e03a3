//! The gateway: how a client has the parts of a build done that it has begun.
//!
//! buildx has one part, all of the Dockerfile; and of a context that is somewhere else it looks first at a file, which
//! is the only LLB that is carried out: a source.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use tokio::sync::OnceCell;
use tonic::Status;

use crate::Buildkit;
use crate::control::worker;
use crate::error::status;
use crate::job::{Fetched, Part};
use crate::lint::Verdict;
use crate::messages::gateway::{
    Cap, Definition, EvaluateRequest, EvaluateResponse, FileRange, Op, Outcome, PingRequest,
    PongResponse, ReadFileRequest, ReadFileResponse, Ref, Refs, ReturnRequest, ReturnResponse,
    SolveRequest, SolveResponse, StatFileRequest, StatFileResponse,
};
use crate::messages::session::Stat;
use crate::outputs;

/// What a client may do here, by the names of `frontend/gateway/pb/caps.go`.
const CAPS: [&str; 9] = [
    "solve.base",
    "return",
    "returnmap",
    "readfile",
    "statfile",
    "proto.refarray",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.evaluate",
];
/// What may be in a source that is looked at, by the names of `solver/pb/caps.go`.
const LLB_CAPS: [&str; 13] = [
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.httpauth",
    "source.git.knownsshhosts",
    "source.git.mountsshsock",
    "source.git.subdir",
    "source.http",
    "source.http.checksum",
    "file.base",
    "constraints",
    "platform",
    "meta.description",
];

impl Buildkit {
    /// `LLBBridge/Ping`: whether the build has begun, and what can be done.
    pub(crate) async fn ping(&self, build: &str, _: PingRequest) -> Result<PongResponse, Status> {
        self.jobs.find(build).await?;
        let caps = |ids: &[&str]| -> Vec<Cap> {
            ids.iter().map(|id| Cap { id: (*id).to_owned(), enabled: true }).collect()
        };
        Ok(PongResponse {
            frontend_caps: caps(&CAPS),
            llb_caps: caps(&LLB_CAPS),
            workers: vec![worker()],
        })
    }

    /// `LLBBridge/Solve`: has a Dockerfile built; ends with its client.
    pub(crate) async fn carry_out(
        self: &Arc<Self>,
        build: &str,
        mut request: SolveRequest,
    ) -> Result<SolveResponse, Status> {
        let job = self.jobs.find(build).await?;
        if !request.source_policies.is_empty() {
            return Err(outputs::policy());
        }
        let (part, metadata) = if let Some(definition) = &request.definition {
            let named = source(definition)?;
            let fetched = Fetched { named, context: OnceCell::new() };
            (Some(Part::Remote(Arc::new(fetched))), HashMap::new())
        } else if request.frontend_inputs.is_empty() {
            let mut of = job.request.clone();
            let cache = of.cache.get_or_insert_default();
            cache.imports.append(&mut request.cache_imports);
            match self.build(&job, &of, &request.frontend, &request.frontend_opt).await? {
                Verdict::Built(image) => (Some(Part::Image(image)), HashMap::new()),
                Verdict::Checked(metadata) => (None, metadata),
            }
        } else {
            return Err(outputs::llb());
        };
        let refs = part.map(|part| Refs::One(Ref { id: job.keep(part) }));
        Ok(SolveResponse { result: Some(Outcome { refs, metadata }) })
    }

    /// `LLBBridge/StatFile`, of a file that is somewhere else.
    pub(crate) async fn stat_file(
        &self,
        build: &str,
        request: StatFileRequest,
    ) -> Result<StatFileResponse, Status> {
        let text = self.look(build, &request.r#ref, &request.path).await?;
        let size = i64::try_from(text.len()).unwrap_or(i64::MAX);
        let stat = Stat { path: request.path, mode: 0o644, size, ..Stat::default() };
        Ok(StatFileResponse { stat: Some(stat) })
    }

    /// `LLBBridge/ReadFile`, of a file that is somewhere else.
    pub(crate) async fn read_file(
        &self,
        build: &str,
        request: ReadFileRequest,
    ) -> Result<ReadFileResponse, Status> {
        let text = self.look(build, &request.r#ref, &request.path).await?;
        let FileRange { offset, length } = request.range.unwrap_or_default();
        let natural = |number: i64| usize::try_from(number).unwrap_or(0);
        let most = if length > 0 { natural(length) } else { usize::MAX };
        let data = text.into_iter().skip(natural(offset)).take(most).collect();
        Ok(ReadFileResponse { data })
    }

    /// The file at `path` of a result.
    async fn look(&self, build: &str, id: &str, path: &str) -> Result<Vec<u8>, Status> {
        let Part::Remote(fetched) = self.jobs.find(build).await?.find(id)? else {
            return Err(crate::error::unsupported("a look into what was built: run it"));
        };
        let context = fetched.context.get_or_try_init(async || {
            let remote = self.engine.build_remote(&fetched.named).await;
            remote.map(|remote| remote.context).map_err(|error| status(error.kind(), &error))
        });
        let text = context.await?.text(path).map_err(|error| status(error.kind(), &error))?;
        text.ok_or_else(|| Status::not_found(format!("{path}: no such file")))
    }

    /// `LLBBridge/Evaluate`: whether a result is there. All are: nothing is put off.
    pub(crate) async fn evaluate(
        &self,
        build: &str,
        request: EvaluateRequest,
    ) -> Result<EvaluateResponse, Status> {
        self.jobs.find(build).await?.find(&request.r#ref)?;
        Ok(EvaluateResponse {})
    }

    /// `LLBBridge/Return`: what the build comes to.
    pub(crate) async fn give_back(
        &self,
        build: &str,
        request: ReturnRequest,
    ) -> Result<ReturnResponse, Status> {
        let job = self.jobs.find(build).await?;
        let returned = match request.error {
            Some(error) => Err(Status::new(error.code.into(), error.message)),
            None => match request.result.and_then(|result| result.refs) {
                None => Ok(None),
                Some(Refs::Old(id) | Refs::One(Ref { id })) => {
                    Ok(Some(id).filter(|id| !id.is_empty()))
                }
                Some(Refs::OldMap(_) | Refs::Map(_)) => Err(Status::unimplemented(
                    "results for several platforms: build each by itself",
                )),
            },
        };
        job.give_back(returned);
        Ok(ReturnResponse {})
    }
}

/// The address of the only source in a definition.
fn source(definition: &Definition) -> Result<String, Status> {
    let mut found = None;
    for bytes in &definition.def {
        let op = Op::decode(&bytes[..])
            .map_err(|error| Status::invalid_argument(format!("LLB: {error}")))?;
        if op.exec.is_some() || op.merge.is_some() || op.diff.is_some() {
            return Err(outputs::llb());
        }
        if let Some(source) = op.source
            && found.replace(source).is_some()
        {
            return Err(outputs::llb());
        }
    }
    let source = found.ok_or_else(outputs::llb)?;
    match source.identifier.split_once("://") {
        Some(("http" | "https", _)) => Ok(source.identifier),
        Some(("git", _)) => {
            let url = source.attrs.get("git.fullurl").unwrap_or(&source.identifier);
            let fragment =
                source.identifier.split_once('#').map(|(_, fragment)| format!("#{fragment}"));
            Ok(format!("{url}{}", fragment.unwrap_or_default()))
        }
        _ => Err(outputs::llb()),
    }
}

#[cfg(test)]
mod tests {
    use crate::messages::gateway::SourceOp;

    use super::*;

    fn definition(ops: &[Op]) -> Definition {
        Definition { def: ops.iter().map(Message::encode_to_vec).collect() }
    }

    fn op(identifier: &str, url: Option<&str>) -> Op {
        let attrs = url.map(|url| ("git.fullurl".to_owned(), url.to_owned()));
        let source =
            SourceOp { identifier: identifier.to_owned(), attrs: attrs.into_iter().collect() };
        Op { source: Some(source), ..Op::default() }
    }

    #[test]
    fn of_llb_only_a_source_is_looked_at() {
        let git = op("git://lab.example/a.git#main:sub", Some("https://lab.example/a.git"));
        // The last one only says which is the result.
        let named = source(&definition(&[git.clone(), Op::default()])).expect("a source");
        assert_eq!(named, "https://lab.example/a.git#main:sub");
        let http = op("https://lab.example/a.tar", None);
        assert_eq!(
            source(&definition(std::slice::from_ref(&http))).expect("one"),
            "https://lab.example/a.tar"
        );
        let run = Op { exec: Some(Vec::new()), ..Op::default() };
        for ops in [&[git, http.clone()][..], &[http, run], &[op("local://context", None)], &[]] {
            assert!(source(&definition(ops)).expect_err("LLB").message().contains("LLB"));
        }
    }
}
