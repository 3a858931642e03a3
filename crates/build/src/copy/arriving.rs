//! Members on their way to where they are copied to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek};

use tree::archive::{self, Member, Members, Type};

use super::{Single, Target, now};
use crate::source::{self, join, parts};

/// Members under their names at the destination, after the directories that lead there.
pub(super) struct Arriving<'a, M> {
    members: M,
    target: &'a Target<'a>,
    before: VecDeque<Member>,
    begun: bool,
}

impl<'a, M: Members> Arriving<'a, M> {
    pub(super) fn at(target: &'a Target<'a>, members: M) -> Self {
        Self { members, target, before: VecDeque::new(), begun: false }
    }

    fn dressed(&self, mut member: Member) -> Member {
        if let Some((uid, gid)) = self.target.arrive.owner {
            (member.uid, member.gid) = (uid, gid);
        }
        if let Some(mode) = &self.target.arrive.mode
            && member.kind != Type::Symlink
        {
            member.mode = mode.of(member.mode, member.kind == Type::Directory);
        }
        member
    }

    /// The directories that lead to `path`.
    fn lead(&mut self, path: &[u8]) {
        let mut dir = Vec::new();
        for part in parts(path) {
            dir = join(&dir, part);
            let made = source::member(dir.clone(), Type::Directory, 0o755);
            let mut made = Member { mtime: now(), ..made };
            if let Some((uid, gid)) = self.target.arrive.owner {
                (made.uid, made.gid) = (uid, gid);
            }
            self.before.push_back(made);
        }
    }
}

impl<M: Members> Members for Arriving<'_, M> {
    fn next_member(&mut self) -> Result<Option<Member>, archive::Error> {
        if let Some(before) = self.before.pop_front() {
            return Ok(Some(before));
        }
        let Some(member) = self.members.next_member()? else { return Ok(None) };
        let at = |name: &[u8]| join(&self.target.base, name);
        let own = parts(&member.name).fold(Vec::new(), |name, part| join(&name, part));
        let is_directory = member.kind == Type::Directory;
        let name = if self.target.inside || is_directory || own.contains(&b'/') {
            at(&own)
        } else {
            self.target.base.clone()
        };
        let link = match member.kind {
            Type::HardLink => at(&member.link),
            _ => member.link.clone(),
        };
        let member = self.dressed(Member { name: name.clone(), link, ..member });
        if !std::mem::replace(&mut self.begun, true) {
            let whole = if own.is_empty() && is_directory {
                name.len()
            } else {
                name.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
            };
            self.lead(&name[..whole]);
        }
        if own.is_empty() && is_directory {
            // The destination itself, which is led to as any other.
            return self.next_member();
        }
        if self.before.is_empty() {
            return Ok(Some(member));
        }
        // Its data comes when it does: nothing is read of directories.
        self.before.push_back(member);
        self.next_member()
    }
}

impl<M: Members> Read for Arriving<'_, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.members.read(buffer)
    }
}

/// A file or the destination's own directory by itself, as members.
pub(super) struct One {
    member: Option<Member>,
    data: Option<io::Take<File>>,
}

impl One {
    pub(super) fn of(mut file: Single) -> io::Result<Self> {
        file.data.rewind()?;
        let member = source::member(file.name.into_bytes(), Type::File, file.mode);
        let member = Member { size: file.size, mtime: (file.mtime, 0), ..member };
        Ok(Self { member: Some(member), data: Some(file.data.take(file.size)) })
    }

    pub(super) fn directory() -> Self {
        let member = source::member(Vec::new(), Type::Directory, 0o755);
        Self { member: Some(member), data: None }
    }
}

impl Members for One {
    fn next_member(&mut self) -> Result<Option<Member>, archive::Error> {
        Ok(self.member.take())
    }
}

impl Read for One {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.data.as_mut().map_or(Ok(0), |data| data.read(buffer))
    }
}
