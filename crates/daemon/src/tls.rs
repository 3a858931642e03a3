//! The API over TCP, for those alone who show a certificate of our authority.
//!
//! A TLS end in front of the socket: each client that has proven itself gets a connection of its own
//! to the socket, so that the API meets one kind of stream.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tracing::{debug, warn};

use crate::error::Error;

/// How long a client may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, as for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// Who we are and whom we believe: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The authority that clients' certificates must be of.
    pub(crate) authority: PathBuf,
    /// Our certificate, and those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// An address that is listened at.
pub(crate) struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Listens; whoever connects is kept waiting until [`Tls::serve`].
    pub(crate) async fn listen(address: SocketAddr, files: &Files) -> Result<Self, Error> {
        let acceptor = TlsAcceptor::from(Arc::new(configuration(files)?));
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self { listener, acceptor })
    }

    /// Joins each client to `socket`, until it is dropped.
    pub(crate) async fn serve(self, socket: PathBuf) {
        let socket: Arc<Path> = socket.into();
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let (acceptor, socket) = (self.acceptor.clone(), Arc::clone(&socket));
                        clients.spawn(async move {
                            if let Err(error) = join(stream, &acceptor, &socket).await {
                                debug!(%peer, %error, "client of TLS ended");
                            }
                        });
                    }
                    Err(error) => {
                        warn!(%error, "connection not accepted");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

async fn join(stream: TcpStream, acceptor: &TlsAcceptor, socket: &Path) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let mut api = UnixStream::connect(socket).await?;
    tokio::io::copy_bidirectional(&mut client, &mut api).await.map(drop)
}

fn configuration(files: &Files) -> Result<ServerConfig, Error> {
    let Files { authority, certificate, key } = files;
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for root in certificates(authority)? {
        roots.add(root).map_err(|error| wrong(authority, &error))?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(authority, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, &error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(certificate)?, secret)
        .map_err(|error| wrong(certificate, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| wrong(path, &error))?;
    if all.is_empty() { Err(wrong(path, &"no certificate in it")) } else { Ok(all) }
}

fn wrong(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::Certificate { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "no certificate\n").expect("written");
        let files = Files { authority: path.clone(), certificate: path.clone(), key: path.clone() };
        let error = configuration(&files).expect_err("none").to_string();
        assert_eq!(error, format!("{}: no certificate in it", path.display()));
        std::fs::remove_file(&path).expect("removed");
        let error = configuration(&files).expect_err("gone").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}
