//! Blobs by digest, as an OCI image layout.
//!
//! ```text
//!   content/oci-layout
//!   content/index.json            which manifests there are and their names (index.rs)
//!   content/blobs/sha256/<hex>    whole and verified; on disk before the index speaks of it
//!   content/ingest/*.tmp          being written; removed when the store is opened
//! ```
//!
//! Spec: OCI image-spec, image-layout.md.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use spec::Digest;

use crate::disk::{self, Context, Error};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;
/// The layout's marker.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The blobs beneath one data root.
#[derive(Debug)]
pub(crate) struct Content {
    root: PathBuf,
}

/// A blob being written: hashed on the way, without a name until [`Content::commit`].
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    hash: Sha256,
    length: u64,
}

impl Content {
    /// Opens or makes the layout and removes blobs that were never finished.
    pub(crate) fn open(data_root: &Path) -> Result<Self, Error> {
        let content = Self { root: data_root.join("content") };
        disk::make_private(&content.root)?;
        disk::remove_tree(&content.ingest())?;
        let half = disk::list(&content.root)?.into_iter().filter(|path| disk::is_temporary(path));
        half.into_iter().try_for_each(|path| disk::remove_file(&path))?;
        disk::make_dir(&content.ingest())?;
        disk::make_dir(&content.blobs())?;
        let layout = content.root.join("oci-layout");
        if !layout.exists() {
            disk::replace(&layout, LAYOUT)?;
        }
        Ok(content)
    }

    /// Where the manifests are listed.
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Where a blob is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether the blob is here.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// A small blob's bytes; an error with [`Error::is_damage`] when they are not what they were.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        let mut file = File::open(&path).on("open", &path)?;
        file.read_to_end(&mut bytes).on("read", &path)?;
        if digest_of(&bytes) != *digest {
            return Err(disk::damage(&path));
        }
        Ok(bytes)
    }

    /// Reads the blob once; an error with [`Error::is_damage`] when it is not what it was.
    pub(crate) fn check(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let mut file = File::open(&path).on("open", &path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer).on("read", &path)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        let found = Digest::from_sha256(hash.finalize().into());
        if found == *digest { Ok(()) } else { Err(disk::damage(&path)) }
    }

    /// Whether the blob is here as it was. One that is damaged goes, so that it can come again.
    pub(crate) fn has_whole(&self, digest: &Digest) -> Result<bool, Error> {
        if !self.has(digest) {
            return Ok(false);
        }
        match self.check(digest) {
            Err(e) if e.is_damage() => {
                tracing::warn!(digest = %digest, "blob is damaged and goes");
                disk::remove_file(&self.path(digest))?;
                Ok(false)
            }
            checked => checked.map(|()| true),
        }
    }

    /// Stores a small blob, unless it is here.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = digest_of(bytes);
        if !self.has_whole(&digest)? {
            let mut writer = self.writer()?;
            writer.write(bytes)?;
            self.commit(writer)?;
        }
        Ok(digest)
    }

    /// Begins a blob.
    pub(crate) fn writer(&self) -> Result<Writer, Error> {
        let path = disk::temporary(&self.ingest());
        let file = File::create_new(&path).on("create", &path)?;
        Ok(Writer { file, path, hash: Sha256::new(), length: 0 })
    }

    /// Gives a finished blob its name; what had it before can only have been the same, or damaged. The
    /// caller has compared [`Writer::digest`] with what it wanted. On disk it is once its filesystem was synced.
    #[expect(clippy::needless_pass_by_value, reason = "what is committed is written no more")]
    pub(crate) fn commit(&self, writer: Writer) -> Result<Digest, Error> {
        let digest = writer.digest();
        std::fs::rename(&writer.path, self.path(&digest)).on("rename", &writer.path)?;
        Ok(digest)
    }

    /// Where all of it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The digests of all blobs.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, Error> {
        let digest = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            format!("sha256:{name}").parse().ok()
        };
        Ok(disk::list(&self.blobs())?.into_iter().filter_map(digest).collect())
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }
}

impl Writer {
    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).on("write", &self.path)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest::from_sha256(self.hash.clone().finalize().into())
    }

    /// Where the bytes are meanwhile.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a commit there is nothing of this name.
        drop(disk::remove_file(&self.path));
    }
}

/// The digest of bytes in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_no_name_before_it_is_whole() {
        let root = tempfile::tempdir().expect("temporary directory");
        let content = Content::open(root.path()).expect("open");
        let digest = digest_of(b"hello");
        let mut writer = content.writer().expect("writer");
        writer.write(b"hel").expect("write");
        assert!(!content.has(&digest));
        writer.write(b"lo").expect("write");
        assert_eq!(content.commit(writer).expect("commit"), digest);
        assert_eq!(content.read(&digest).expect("read"), b"hello");
        assert_eq!(content.list().expect("list"), [digest]);
    }

    #[test]
    fn a_blob_given_up_leaves_nothing() {
        let root = tempfile::tempdir().expect("temporary directory");
        let content = Content::open(root.path()).expect("open");
        let mut writer = content.writer().expect("writer");
        writer.write(b"half").expect("write");
        let path = writer.path().to_owned();
        assert!(path.exists());
        drop(writer);
        assert!(!path.exists());
    }
}
