//! `RUN --mount`: what a command sees that is not in its layer.
//!
//! Files of the context, of stages and images are copied out for the command: nobody else sees what it
//! does to them, and nothing of that stays. Caches lie beneath the builder's own directory and live on; a
//! new one may begin with files of a stage or image.
//! Secrets and the sockets of agents are in memory; the words of a step hold their names alone.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use spec::Digest;

use super::Stage;
use crate::agent::Agent;
use crate::caches::{self, Content, Wanted};
use crate::copy;
use crate::dockerfile::{self, Instruction, MountKind};
use crate::error::Error;
use crate::link::{Link, Question};
use crate::room::Hidden;
use crate::run::Mount;
use crate::scratch::Scratch;

/// Mounts, and what has to be there as long as they are.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<Mount>,
    pub(super) hidden: Option<Arc<Hidden>>,
    /// Where the first agent's socket is in the container.
    pub(super) agent: Option<String>,
    scratch: Vec<Scratch>,
    locks: Vec<File>,
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
            if mount.kind == MountKind::Bind || mount.from.is_some() {
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
            let path = dir.path().join("script");
            let written = std::fs::write(&path, content)
                .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o755)));
            written.map_err(scratch("the script of RUN"))?;
            prepared.mounts.push(Mount { source: Some(path), target, readonly: true, size: None });
            prepared.scratch.push(dir);
        }
        let mut hidden = None;
        for mount in mounts {
            match mount.kind {
                MountKind::Secret => {
                    self.secret(instruction, &mount, &mut prepared, &mut hidden).await?;
                }
                MountKind::Ssh => {
                    self.agent(instruction, &mount, &mut prepared, &mut hidden).await?;
                }
                _ => self.mount_one(instruction, mount, &mut prepared).await?,
            }
        }
        prepared.hidden = hidden.map(Arc::new);
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
                let (path, to) = (mount.source.clone().unwrap_or_default(), dir.path().to_owned());
                let copied =
                    tokio::task::spawn_blocking(move || copy::copy_out(&*tree, &path, &to));
                let source = copied.await.map_err(|_| Error::GivenUp)??;
                prepared.scratch.push(dir);
                (Some(source), None)
            }
            MountKind::Cache => {
                let target = target.clone().ok_or_else(no_target)?;
                let id = mount.id.clone().unwrap_or(target);
                let (dir, lock) = self.cache(instruction, id, &mount).await?;
                prepared.locks.push(lock);
                (Some(dir), None)
            }
            // Neither is a directory or file of the builder's, see `mount`.
            MountKind::Secret | MountKind::Ssh => return Ok(()),
        };
        let target = target.ok_or_else(no_target)?;
        prepared.mounts.push(Mount { source, target, readonly: mount.readonly, size });
        Ok(())
    }

    /// A secret of the client as a file, a variable, or both.
    async fn secret(
        &self,
        instruction: &Instruction,
        mount: &dockerfile::Mount,
        prepared: &mut Prepared,
        hidden: &mut Option<Hidden>,
    ) -> Result<(), Error> {
        let last = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = mount.id.clone().or(mount.target.as_ref().map(last)).unwrap_or_default();
        let question = Question::Secret { id: id.clone() };
        let Some(content) = self.asked(instruction, question).await? else {
            return absent(
                instruction,
                mount,
                &format!("secret {id}: not found"),
                "--secret id=…,src=FILE|env=NAME",
            );
        };
        let hidden = self.hidden(hidden)?;
        if let Some(name) = &mount.env {
            let text = str::from_utf8(&content).ok().filter(|text| !text.contains('\0'));
            let problem = || format!("secret {id} cannot be the variable {name}: it is no text");
            hidden.add_variable(name, text.ok_or_else(|| Error::at(instruction, problem()))?);
        }
        if mount.target.is_none() && mount.env.is_some() {
            return Ok(());
        }
        let target = mount.target.as_deref().map(|target| self.absolute(target));
        let target = target.unwrap_or_else(|| format!("/run/secrets/{}", last(&id)));
        let added = hidden.add_file(&content, owner(mount), mount.mode.unwrap_or(0o400));
        let source = Some(added.map_err(scratch("a secret of RUN"))?);
        prepared.mounts.push(Mount { source, target, readonly: true, size: None });
        Ok(())
    }

    /// The client's ssh agent as a socket.
    async fn agent(
        &self,
        instruction: &Instruction,
        mount: &dockerfile::Mount,
        prepared: &mut Prepared,
        hidden: &mut Option<Hidden>,
    ) -> Result<(), Error> {
        let id = mount.id.as_deref().unwrap_or(DEFAULT);
        let mode = mount.mode.unwrap_or(0o600);
        let Some(source) = self.lent_agent(instruction, id, owner(mount), mode, hidden).await?
        else {
            return absent(
                instruction,
                mount,
                &format!("no SSH key {id:?} forwarded from the client"),
                "--ssh default[=SOCKET]",
            );
        };
        let number =
            prepared.mounts.iter().filter(|mount| mount.target.starts_with(AGENTS)).count();
        let target = mount.target.as_deref().map(|target| self.absolute(target));
        let target = target.unwrap_or_else(|| format!("{AGENTS}{number}"));
        prepared.agent.get_or_insert_with(|| target.clone());
        let source = Some(source);
        prepared.mounts.push(Mount { source, target, readonly: true, size: None });
        Ok(())
    }

    /// A socket in memory behind which is the agent that the client lends by this id; `None` if it lends none.
    pub(in crate::stage) async fn lent_agent(
        &self,
        instruction: &Instruction,
        id: &str,
        owner: (u32, u32),
        mode: u32,
        hidden: &mut Option<Hidden>,
    ) -> Result<Option<PathBuf>, Error> {
        let there = self.asked(instruction, Question::Agent { id: id.to_owned() }).await?;
        let Some(link) = self.link().filter(|_| there.is_some()) else { return Ok(None) };
        let (link, id) = (Arc::clone(link), id.to_owned());
        let listen = |path: &std::path::Path| Agent::listen(link, id, path, owner, mode);
        let added = self.hidden(hidden)?.add_agent(listen);
        Ok(Some(added.map_err(scratch("an agent's socket"))?))
    }

    fn link(&self) -> Option<&Arc<Link>> {
        self.builder.request.link.as_ref()
    }

    /// What the client says; nothing where it is one that cannot be asked.
    async fn asked(
        &self,
        instruction: &Instruction,
        question: Question,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(link) = self.link() else { return Ok(None) };
        let answer = link.ask(question).await;
        answer.map_err(|error| Error::at(instruction, format!("ask the client: {error}")))
    }

    fn hidden<'a>(&self, hidden: &'a mut Option<Hidden>) -> Result<&'a mut Hidden, Error> {
        if hidden.is_none() {
            let made = Hidden::new(&self.builder.request.memory);
            *hidden = Some(made.map_err(scratch("secrets of RUN in memory"))?);
        }
        Ok(hidden.as_mut().expect("made just now"))
    }

    /// A cache's directory, and what keeps others from it meanwhile.
    async fn cache(
        &self,
        instruction: &Instruction,
        id: String,
        mount: &dockerfile::Mount,
    ) -> Result<(PathBuf, File), Error> {
        let from = mount.from.as_deref();
        let tree = match from {
            Some(_) => Some(self.tree(instruction, from).await?.0),
            None => None,
        };
        let path = mount.source.clone().unwrap_or_default();
        let root = self.builder.request.scratch.clone();
        let (sharing, owner, mode) = (mount.sharing, (mount.uid, mount.gid), mount.mode);
        let opened = tokio::task::spawn_blocking(move || {
            let content = tree.map(|tree| Content::find(tree, path)).transpose()?;
            let wanted = Wanted { id, sharing, content, owner, mode };
            caches::open(&root, &wanted).map_err(scratch("a cache of RUN"))
        });
        opened.await.map_err(|_| Error::GivenUp)?
    }

    fn scratch(&self) -> Result<Scratch, Error> {
        Scratch::beneath(&self.builder.request.scratch).map_err(scratch("files for RUN"))
    }
}

/// The agent that is meant where none is named.
pub(in crate::stage) const DEFAULT: &str = "default";
/// Where sockets of agents are unless a mount says otherwise; their numbers come behind.
const AGENTS: &str = "/run/buildkit/ssh_agent.";

fn owner(mount: &dockerfile::Mount) -> (u32, u32) {
    (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))
}

/// What the client does not have: an error where the mount says that it must.
fn absent(
    instruction: &Instruction,
    mount: &dockerfile::Mount,
    what: &str,
    option: &str,
) -> Result<(), Error> {
    if !mount.required {
        return Ok(());
    }
    let hint = format!("give it by hull build {option}; docker's classic client can send none");
    Err(Error::at(instruction, format!("{what}: {hint}")))
}

fn scratch(what: &str) -> impl Fn(io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Scratch { what: what.clone(), source }
}
