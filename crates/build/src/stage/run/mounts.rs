//! `RUN --mount`: what a command sees that is not in its layer.
//!
//! Files of the context, of stages and images are copied out for the command: nobody else sees what it
//! does to them, and nothing of that stays. Caches lie beneath the builder's own directory and live on.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use spec::Digest;

use super::Stage;
use crate::caches::{self, Wanted};
use crate::copy;
use crate::dockerfile::{self, Instruction, MountKind};
use crate::error::Error;
use crate::run::Mount;

/// Mounts, and what has to be there as long as they are.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<Mount>,
    scratch: Vec<Scratch>,
    locks: Vec<File>,
}

/// A directory that goes when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = image::disk::remove_tree(&self.0) {
            tracing::warn!(error = %error.source, path = %self.0.display(), "copy of a build not removed");
        }
    }
}

impl Stage<'_> {
    /// The words by which a command's mounts are known: those of files hold a digest of them.
    pub(super) async fn mounts_known_by(
        &self,
        instruction: &Instruction,
        mounts: &[dockerfile::Mount],
        file: Option<&(String, String)>,
    ) -> Result<String, Error> {
        let mut words = String::new();
        if let Some((_, content)) = file {
            let digest = Digest::from_sha256(Sha256::digest(content).into());
            let _ = write!(words, " # {digest}");
        }
        for mount in mounts {
            let _ = write!(words, " # --mount={}", mount.text);
            if mount.kind == MountKind::Bind {
                let (tree, _) = self.tree(instruction, mount.from.as_deref()).await?;
                let path = mount.source.clone().unwrap_or_default();
                let known = tokio::task::spawn_blocking(move || copy::known_by(&*tree, &path));
                let _ = write!(words, "@{}", known.await.map_err(|_| Error::GivenUp)??);
            }
        }
        Ok(words)
    }

    /// Makes the mounts of a command.
    pub(super) async fn mount(
        &self,
        instruction: &Instruction,
        mounts: Vec<dockerfile::Mount>,
        file: Option<(String, String)>,
    ) -> Result<Prepared, Error> {
        let mut prepared = Prepared::default();
        if let Some((target, content)) = file {
            let dir = self.scratch()?;
            let path = dir.0.join("script");
            let written = std::fs::write(&path, content)
                .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o755)));
            written.map_err(scratch("the script of RUN"))?;
            prepared.mounts.push(Mount { source: Some(path), target, readonly: true, size: None });
            prepared.scratch.push(dir);
        }
        for mount in mounts {
            self.mount_one(instruction, mount, &mut prepared).await?;
        }
        Ok(prepared)
    }

    async fn mount_one(
        &self,
        instruction: &Instruction,
        mount: dockerfile::Mount,
        prepared: &mut Prepared,
    ) -> Result<(), Error> {
        let no_target =
            || Error::at(instruction, format!("--mount={}: want target=PATH", mount.text));
        let target = mount.target.as_deref().map(|target| self.absolute(target));
        let (source, size) = match mount.kind {
            MountKind::Tmpfs => (None, mount.size),
            MountKind::Bind => {
                let (tree, _) = self.tree(instruction, mount.from.as_deref()).await?;
                let dir = self.scratch()?;
                let (path, to) = (mount.source.clone().unwrap_or_default(), dir.0.clone());
                let copied =
                    tokio::task::spawn_blocking(move || copy::copy_out(&*tree, &path, &to));
                let source = copied.await.map_err(|_| Error::GivenUp)??;
                prepared.scratch.push(dir);
                (Some(source), None)
            }
            MountKind::Cache => {
                if mount.from.is_some() {
                    return Err(Error::Unsupported {
                        line: instruction.line,
                        what: "RUN --mount=type=cache,from=".to_owned(),
                        why: "a cache begins empty; copy into it by the command",
                    });
                }
                let target = target.clone().ok_or_else(no_target)?;
                let id = mount.id.clone().unwrap_or(target);
                let (dir, lock) = self.cache(&id, &mount).await?;
                prepared.locks.push(lock);
                (Some(dir), None)
            }
            MountKind::Secret | MountKind::Ssh if !mount.required => return Ok(()),
            MountKind::Secret | MountKind::Ssh => {
                return Err(Error::Unsupported {
                    line: instruction.line,
                    what: format!("RUN --mount={}", mount.text),
                    why: "the classic build API carries no secrets; without required=true the command \
                          runs without it",
                });
            }
        };
        let target = target.ok_or_else(no_target)?;
        prepared.mounts.push(Mount { source, target, readonly: mount.readonly, size });
        Ok(())
    }

    /// A cache's directory, and what keeps others from it meanwhile.
    async fn cache(&self, id: &str, mount: &dockerfile::Mount) -> Result<(PathBuf, File), Error> {
        let wanted = Wanted {
            id: id.to_owned(),
            sharing: mount.sharing,
            owner: (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)),
            mode: mount.mode.unwrap_or(0o755),
        };
        let root = self.builder.request.scratch.clone();
        let opened = tokio::task::spawn_blocking(move || caches::open(&root, &wanted));
        opened.await.map_err(|_| Error::GivenUp)?.map_err(scratch("a cache of RUN"))
    }

    fn scratch(&self) -> Result<Scratch, Error> {
        let dir = image::disk::temporary(&self.builder.request.scratch);
        std::fs::create_dir(&dir).map_err(scratch("files for RUN"))?;
        Ok(Scratch(dir))
    }
}

fn scratch(what: &str) -> impl Fn(io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Scratch { what: what.clone(), source }
}
