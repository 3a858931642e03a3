//! The engine's own service beside the task API: work on a container's files.
//!
//! Its messages are JSON, its one method [`files::METHOD`]; data passes through a socket of the engine's.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use spec::files;
use ttrpc::{Code, MethodHandler, Request, Response, TtrpcContext};

use crate::service::Methods;
use crate::tasks::Tasks;

/// Why the request was not understood or its data cannot pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not the engine's JSON.
    #[error("read the request")]
    Request(#[source] serde_json::Error),
    /// The configuration in it is none.
    #[error("read the configuration")]
    Config(#[source] io::Error),
    /// Nobody listens for the data.
    #[error("connect to {}", path.display())]
    Data { path: PathBuf, source: io::Error },
}

struct Service(Arc<Tasks>);

/// The service's method, as ttrpc names it.
pub(crate) fn methods(tasks: &Arc<Tasks>) -> Methods {
    let name = format!("/{}/{}", files::SERVICE, files::METHOD);
    [(name, Box::new(Service(Arc::clone(tasks))) as Box<dyn MethodHandler + Send + Sync>)].into()
}

impl MethodHandler for Service {
    fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<()> {
        let mut response = Response::new();
        match self.serve(&request.payload) {
            Ok(answer) => {
                response.set_status(ttrpc::get_status(Code::OK, String::new()));
                response.payload = serde_json::to_vec(&answer).expect("it becomes JSON");
            }
            Err(ttrpc::Error::RpcStatus(status)) => response.set_status(status),
            Err(error) => return Err(error),
        }
        context.respond(context.mh.stream_id, response)
    }
}

impl Service {
    fn serve(&self, payload: &[u8]) -> ttrpc::Result<files::Answer> {
        let call = serde_json::from_slice(payload).map_err(Error::Request);
        Ok(self.0.files(call.map_err(crate::error::Error::from)?)?)
    }
}

/// Opens the way for data.
pub(crate) fn connect(path: Option<PathBuf>) -> Result<Option<UnixStream>, Error> {
    let connect =
        |path: PathBuf| UnixStream::connect(&path).map_err(|source| Error::Data { path, source });
    path.map(connect).transpose()
}
