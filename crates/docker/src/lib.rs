//! The Docker Engine HTTP API over the engine: translates, and holds no state.
//!
//! ```text
//!   server   connections, one task each        hijack   streams that take a connection over
//!   route    one table of every page           reply    answers; error: answers that say no
//!   version  which API a request speaks        fields   what Hull does not do, by name
//!   containers, exec, images, networks, volumes, system, archive, commit, auth, distribution, usage:
//!   the pages
//! ```
//!
//! Two rules hold for every page. A handler runs to its end even when its client goes away, so that
//! nothing is left half done; what is to end with its client (a pull, a log, a wait) is in the body of
//! the answer. And nothing that a client asks for is passed over in silence.
//!
//! Spec: Docker Engine API 1.51; what clients really send is recorded in `tests/recorded`.

mod answers;
mod archive;
mod auth;
mod body;
mod build;
mod call;
mod clock;
mod commit;
mod containers;
mod dashboard;
mod distribution;
mod error;
mod events;
mod exec;
mod fields;
mod filters;
mod hijack;
mod images;
mod networks;
mod query;
mod reply;
mod route;
mod server;
mod system;
mod usage;
mod version;
mod volumes;

pub use answers::Answers;
pub use server::serve;
