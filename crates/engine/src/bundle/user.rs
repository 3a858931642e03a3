//! Who the program runs as: names to numbers, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! Spec: passwd(5), group(5); the rules of `USER` in a Dockerfile.

use std::io;
use std::path::PathBuf;

use spec::Kind;

use super::layers;

/// What the kernel is told of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one among them.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// The user cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A user that the image does not have.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A group that the image does not have.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is no id.
    #[error("uids and gids must be in range 0-2147483647, not {0}")]
    Range(String),
    /// The image's file cannot be read.
    #[error("read {path} of the image")]
    Read {
        /// Which.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoUser(_) | Self::NoGroup(_) | Self::Range(_) => Kind::Invalid,
            Self::Read { .. } => Kind::Internal,
        }
    }
}

/// The image's users and groups.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    passwd: Vec<User>,
    group: Vec<Group>,
}

#[derive(Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Those in the files of `layers`, topmost first. Lines that make no sense are skipped.
    pub(crate) fn read(layers: &[PathBuf]) -> Result<Self, Error> {
        let text = |path: &'static str| {
            layers::read(layers, path)
                .map(Option::unwrap_or_default)
                .map_err(|source| Error::Read { path, source })
        };
        Ok(Self::parse(&text("etc/passwd")?, &text("etc/group")?))
    }

    fn parse(passwd: &str, group: &str) -> Self {
        Self {
            passwd: passwd.lines().filter_map(User::parse).collect(),
            group: group.lines().filter_map(Group::parse).collect(),
        }
    }

    /// The name that `uid` has in the image.
    pub(crate) fn name(&self, uid: u32) -> Option<&str> {
        self.passwd.iter().find(|user| user.uid == uid).map(|user| user.name.as_str())
    }

    /// The group's name.
    pub(crate) fn group_name(&self, gid: u32) -> Option<&str> {
        self.group.iter().find(|group| group.gid == gid).map(|group| group.name.as_str())
    }

    /// Who `wanted` (`user[:group]`, empty for root) is, with `added` groups.
    pub(crate) fn resolve(&self, wanted: &str, added: &[String]) -> Result<Identity, Error> {
        let (user, group) = match wanted.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (wanted, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        // A number is never a name: an image could give root's account the name `1000`.
        let number_of_user = number(user)?;
        let entry = self.passwd.iter().find(|entry| match number_of_user {
            Some(uid) => entry.uid == uid,
            None => entry.name == user,
        });
        let uid = match (number_of_user, entry) {
            (Some(uid), _) => uid,
            (None, Some(entry)) => entry.uid,
            (None, None) => return Err(Error::NoUser(user.to_owned())),
        };
        let gid = match group {
            Some(group) => self.gid(group)?,
            None => entry.map_or(0, |entry| entry.gid),
        };
        let mut groups = vec![gid];
        if let (None, Some(entry)) = (group, entry) {
            let member = |group: &&Group| group.members.contains(&entry.name);
            groups.extend(self.group.iter().filter(member).map(|group| group.gid));
        }
        for group in added {
            groups.push(self.gid(group)?);
        }
        let mut seen = std::collections::HashSet::new();
        groups.retain(|gid| seen.insert(*gid));
        let home = entry.map_or("", |entry| entry.home.as_str());
        let home = if home.is_empty() { "/" } else { home };
        Ok(Identity { uid, gid, groups, home: home.to_owned() })
    }

    fn gid(&self, group: &str) -> Result<u32, Error> {
        if let Some(gid) = number(group)? {
            return Ok(gid);
        }
        let entry = self.group.iter().find(|entry| entry.name == group);
        entry.map(|entry| entry.gid).ok_or_else(|| Error::NoGroup(group.to_owned()))
    }
}

/// `None` for a name, an error for a number that is no id.
fn number(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(number) if i32::try_from(number).is_ok() => Ok(Some(number)),
        _ => Err(Error::Range(text.to_owned())),
    }
}

impl User {
    /// `name:password:uid:gid:gecos:home:shell`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default().to_owned();
        Some(Self { name, uid, gid, home })
    }
}

impl Group {
    /// `name:password:gid:member,member`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        let members = members.split(',').filter(|name| !name.is_empty());
        Some(Self { name, gid, members: members.map(str::to_owned).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number_and_brings_its_groups() {
        let accounts = Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:33:33::/var/www:/bin/false\n",
            "root:x:0:\nweb:x:33:\nssl:x:104:web,mail\nwheel:x:10:root\n",
        );
        let cases = [
            ("", Some((0, 0, vec![0, 10], "/root"))),
            ("0", Some((0, 0, vec![0, 10], "/root"))),
            ("web", Some((33, 33, vec![33, 104], "/var/www"))),
            ("33", Some((33, 33, vec![33, 104], "/var/www"))),
            ("web:wheel", Some((33, 10, vec![10], "/var/www"))),
            ("1000", Some((1000, 0, vec![0], "/"))),
            ("1000:2000", Some((1000, 2000, vec![2000], "/"))),
            ("nobody", None),
            ("web:nobody", None),
            ("-1", None),
            ("4294967296", None),
            ("3000000000", None),
        ];
        for (user, want) in cases {
            let got = accounts.resolve(user, &[]).ok();
            let want = want.map(|(uid, gid, groups, home)| Identity {
                uid,
                gid,
                groups,
                home: home.to_owned(),
            });
            assert_eq!(got, want, "{user}");
        }
        let added = accounts.resolve("web", &["wheel".into(), "77".into()]).expect("known");
        assert_eq!(added.groups, [33, 104, 10, 77]);
    }
}
