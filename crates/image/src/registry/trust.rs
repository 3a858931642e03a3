//! Whose certificates are trusted, and which are ours.
//!
//! As dockerd has it in `/etc/docker/certs.d/HOST`: files `*.crt` are certificates that vouch for the
//! registry, beside the system's; `NAME.cert` with `NAME.key` are what we show the registry.
//!
//! A certificate in `*.crt` may be the registry's own. Go takes that, and so people have one that they
//! made with a single `openssl req -x509`, which calls itself an authority; rustls refuses an authority
//! at a server's place. Such a one is compared with what the server shows, byte by byte: then its times
//! and names still count, and who has issued it does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::Error;
use crate::disk;

/// What lies in a registry's directories.
#[derive(Debug, Default)]
struct Files {
    vouching: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// How TLS with `host` is done. With `anyone`, whatever certificate it shows is taken.
///
/// # Errors
///
/// [`Error::Certificate`] for a file that cannot be read or used.
pub(super) fn config(
    directories: &[PathBuf],
    host: &str,
    anyone: bool,
) -> Result<ClientConfig, Error> {
    let files = Files::of(directories, host)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: rustls::Error| unusable(Path::new(host), error.to_string());
    let trust = if anyone {
        Trust::Anyone
    } else {
        let known = files.vouching;
        let usual = Verifier::new_with_extra_roots(known.clone(), Arc::clone(&provider));
        Trust::Known { usual: Box::new(usual.map_err(unusable)?), known }
    };
    let judge = Judge { provider: Arc::clone(&provider), trust };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge));
    match files.own {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(unusable),
        None => Ok(config.with_no_client_auth()),
    }
}

impl Files {
    fn of(directories: &[PathBuf], host: &str) -> Result<Self, Error> {
        let mut found = Self::default();
        for directory in directories.iter().map(|directory| directory.join(host)) {
            if !directory.is_dir() {
                continue;
            }
            let listed = disk::list(&directory);
            let mut files =
                listed.map_err(|error| unusable(&directory, error.source.to_string()))?;
            files.sort();
            for file in files {
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => found.vouching.extend(certificates(&file)?),
                    Some("cert") => found.own = Some((certificates(&file)?, key_of(&file)?)),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let problem = |error: rustls::pki_types::pem::Error| unusable(path, error.to_string());
    let all = CertificateDer::pem_file_iter(path).map_err(problem)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(problem)?;
    if all.is_empty() { Err(unusable(path, "no certificate in PEM is in it")) } else { Ok(all) }
}

/// The key beside our own certificate.
fn key_of(certificate: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let path = certificate.with_extension("key");
    PrivateKeyDer::from_pem_file(&path).map_err(|error| unusable(&path, error.to_string()))
}

fn unusable(path: &Path, problem: impl Into<String>) -> Error {
    Error::Certificate { path: path.to_owned(), problem: problem.into() }
}

/// Who decides whether a server is the one that was meant. That it has the key to what it shows is looked
/// at in any case.
#[derive(Debug)]
struct Judge {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

#[derive(Debug)]
enum Trust {
    /// Whatever a server shows will do.
    Anyone,
    /// What someone vouches for, and what is known itself.
    Known { usual: Box<Verifier>, known: Vec<CertificateDer<'static>> },
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Known { usual, known } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        match usual.verify_server_cert(shown, between, name, ocsp, now) {
            // Its times were looked at before: an expired one says so in an error of its own.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            )) if known.iter().any(|known| known == shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_registry_has_the_certificates_of_its_own_directory() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = root.path().join("a.example:5000");
        std::fs::create_dir(&dir).expect("create");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"])
            .args(["-keyout", "client.key", "-out", "ca.crt"])
            .current_dir(&dir)
            .output()
            .expect("openssl");
        assert!(made.status.success());
        std::fs::write(dir.join("README"), "").expect("write");
        let of = |host: &str| Files::of(&[root.path().to_owned()], host);
        let found = of("a.example:5000").expect("files");
        assert_eq!((found.vouching.len(), found.own.is_some()), (1, false));
        assert!(of("a.example").expect("none").vouching.is_empty());
        std::fs::copy(dir.join("ca.crt"), dir.join("client.cert")).expect("copy");
        assert!(of("a.example:5000").expect("files").own.is_some());
        std::fs::remove_file(dir.join("client.key")).expect("remove");
        let error = of("a.example:5000").expect_err("a certificate without its key").to_string();
        assert!(error.contains("client.key"), "{error}");
        std::fs::write(dir.join("ca.crt"), "pem").expect("write");
        let error = of("a.example:5000").expect_err("no certificate").to_string();
        assert!(error.contains("ca.crt"), "{error}");
    }
}
