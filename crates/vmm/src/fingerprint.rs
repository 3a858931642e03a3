//! Telling whether a file is still the one that something was made from.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A file's identity without reading it. The change time moves with every write and cannot be set
/// back, so equal fingerprints on one host mean equal contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Fingerprint {
    /// The fingerprint of what `path` leads to now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether the file is there and the same.
    pub(crate) fn holds(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

/// A short name for everything `inputs` say: 32 hexadecimal digits.
pub(crate) fn key(inputs: &impl Serialize) -> String {
    use std::fmt::Write;
    let text = serde_json::to_vec(inputs).expect("keys are plain structs of text and numbers");
    Sha256::digest(&text).iter().take(16).fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String works");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewritten_file_has_another_fingerprint() {
        let path = std::env::temp_dir().join(format!("vmm-fingerprint-{}", std::process::id()));
        fs::write(&path, "one").unwrap();
        let before = Fingerprint::of(&path).unwrap();
        assert!(before.holds());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        assert!(!before.holds());
        assert_ne!(key(&before), key(&Fingerprint::of(&path).unwrap()));
        fs::remove_file(&path).unwrap();
        assert!(!before.holds());
    }
}
