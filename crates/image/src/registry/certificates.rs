//! Authorities that vouch for one registry alone, as dockerd has them in `/etc/docker/certs.d`.

use std::path::{Path, PathBuf};

use oci_client::client::{Certificate, CertificateEncoding};

use super::Error;
use crate::disk;

/// The certificates for `host` beneath `directories`; none where nobody put any.
///
/// # Errors
///
/// [`Error::Certificate`] for a file that cannot be read, and for `*.cert`, the client's own certificate,
/// which would be passed over otherwise.
pub(super) fn of(directories: &[PathBuf], host: &str) -> Result<Vec<Certificate>, Error> {
    let mut certificates = Vec::new();
    for directory in directories.iter().map(|directory| directory.join(host)) {
        if !directory.is_dir() {
            continue;
        }
        let mut files = disk::list(&directory)
            .map_err(|error| unusable(&directory, error.source.to_string()))?;
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => certificates.push(read(&file)?),
                Some("cert") => {
                    return Err(unusable(&file, "certificates of clients are not supported"));
                }
                _ => {}
            }
        }
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Certificate, Error> {
    let data = std::fs::read(path).map_err(|error| unusable(path, error.to_string()))?;
    Ok(Certificate { encoding: CertificateEncoding::Pem, data })
}

fn unusable(path: &Path, problem: impl Into<String>) -> Error {
    Error::Certificate { path: path.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_the_certificates_of_its_own_directory() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = root.path().join("a.example:5000");
        std::fs::create_dir(&dir).expect("create");
        std::fs::write(dir.join("ca.crt"), "pem").expect("write");
        std::fs::write(dir.join("README"), "").expect("write");
        let count = |host| of(&[root.path().to_owned()], host).map(|found| found.len()).ok();
        assert_eq!(count("a.example:5000"), Some(1));
        assert_eq!(count("a.example"), Some(0));
        std::fs::write(dir.join("client.cert"), "pem").expect("write");
        assert_eq!(count("a.example:5000"), None, "it would be passed over");
    }
}
