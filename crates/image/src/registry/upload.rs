//! What is sent to a registry.
//!
//! Spec: OCI distribution-spec, "Push".

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use spec::Digest;

use super::{Error, Session, failure};

impl Session {
    /// Asks whether the credentials are good. A repository that there is not says that they are: there
    /// is no other question that all registries answer to.
    pub(crate) async fn log_in(&self) -> Result<(), Error> {
        match self.tags().await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            // A token for nobody's repository may open nothing, yet it was given.
            Err(Error::Denied { .. }) if self.has_token().await => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the registry's token service takes the credentials.
    async fn has_token(&self) -> bool {
        let operation = oci_client::RegistryOperation::Pull;
        let asked = self.auth != RegistryAuth::Anonymous;
        asked && matches!(self.client.auth(&self.remote, &self.auth, operation).await, Ok(Some(_)))
    }

    /// Whether the repository has this blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        self.client.store_auth_if_needed(self.remote.resolve_registry(), &self.auth).await;
        let exists = self.client.blob_exists(&self.remote, &digest.to_string()).await;
        exists.map_err(|e| failure(&self.host, e))
    }

    /// Sends a blob of `size` bytes.
    pub(crate) async fn put_blob(
        &self,
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        digest: &Digest,
        size: u64,
    ) -> Result<(), Error> {
        self.client.store_auth_if_needed(self.remote.resolve_registry(), &self.auth).await;
        let bytes = bytes.map(|piece| piece.map_err(OciDistributionError::from));
        let digest = digest.to_string();
        let sent = self.client.push_blob_stream(&self.remote, bytes, &digest, Some(size)).await;
        sent.map(drop).map_err(|e| failure(&self.host, e))
    }

    /// Names a manifest whose blobs are all there.
    pub(crate) async fn put_manifest(&self, bytes: Vec<u8>, media_type: &str) -> Result<(), Error> {
        self.client.store_auth_if_needed(self.remote.resolve_registry(), &self.auth).await;
        let media_type = media_type.parse().map_err(|_| Error::Protocol {
            host: self.host.clone(),
            source: Box::new(OciDistributionError::UnsupportedMediaTypeError(
                media_type.to_owned(),
            )),
        })?;
        let sent = self.client.push_manifest_raw(&self.remote, bytes, media_type).await;
        sent.map(drop).map_err(|e| failure(&self.host, e))
    }
}
