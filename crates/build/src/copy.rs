//! COPY and ADD: what is picked from a tree goes to its place in a layer.
//!
//! ```text
//!   patterns ─▶ picks (names beneath the destination) ─▶ fingerprint: known?  else
//!   destination, as the image has it ─▶ its directories, then members ─▶ the layer's root
//! ```
//!
//! Spec: Dockerfile reference, "COPY", "ADD"; where that is silent, BuildKit.

mod arriving;

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arriving::{Arriving, One};
use image::Draft;
use sha2::{Digest as _, Sha256};
use spec::Kind;
use tree::archive::{self, Archive, Members};
use tree::unpack::extract::{self, Extract, place};

use crate::ignore::Ignore;
use crate::layers::Layers;
use crate::mode::Chmod;
use crate::scratch::Scratch;
use crate::source::{self, Found, Pick, Source, join, parts, resolve, resolve_new};

/// The longest beginning of a file that tells whether it is an archive.
const MAGIC: u64 = 512;
/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("{verb} failed: {place}stat {pattern}: file does not exist")]
    Absent {
        /// The instruction.
        verb: &'static str,
        /// As it was asked for.
        pattern: String,
        /// Where it was looked for, and what may hide it, with a colon.
        place: String,
    },
    /// Several things cannot go by one name.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and end \
         with a /"
    )]
    Several(&'static str),
    /// A path or pattern that cannot be followed.
    #[error("{verb} {pattern:?}")]
    Look {
        /// The instruction.
        verb: &'static str,
        /// As it was asked for.
        pattern: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Extract(#[from] extract::Error),
    /// An archive to be unpacked.
    #[error("unpack {name:?}")]
    Archive {
        /// Its name.
        name: String,
        /// Why not.
        source: image::compression::Error,
    },
    /// The layer cannot be used.
    #[error("open the layer")]
    Layer(#[source] io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Absent { .. } | Self::Several(_) | Self::Look { .. } => Kind::Invalid,
            Self::Extract(error) => error.kind(),
            Self::Archive { source, .. } => source.kind(),
            Self::Layer(_) => Kind::Internal,
        }
    }
}

/// What is to be copied.
pub struct Copy {
    /// The instruction's name.
    pub verb: &'static str,
    /// Where from.
    pub tree: Arc<dyn Source>,
    /// What to say where something is not in it, with a colon and a blank behind; may be empty.
    pub place: String,
    /// What of it, as patterns.
    pub patterns: Vec<String>,
    /// Whether the sources' directories come along.
    pub parents: bool,
    /// What stays behind.
    pub exclude: Vec<String>,
    /// Files that come with the instruction itself or from elsewhere.
    pub files: Vec<Single>,
    /// Trees from elsewhere.
    pub(crate) wholes: Vec<Whole>,
    /// How they arrive.
    pub arrive: Arrive,
}

/// How what is copied arrives.
#[derive(Debug, Clone, Default)]
pub struct Arrive {
    /// Absolute; a directory if it ends with a slash.
    pub destination: String,
    /// Whose everything becomes; `None` leaves the owners.
    pub owner: Option<(u32, u32)>,
    /// The mode of all files and directories; `None` leaves it.
    pub mode: Option<Chmod>,
    /// Whether archives among the files are unpacked in place of being copied.
    pub unpack: bool,
    /// Whether what the image has at the destination and on the way to it makes no difference: symlinks
    /// there give way to directories.
    pub link: bool,
}

/// One file by itself.
#[derive(Debug)]
pub struct Single {
    /// Its name, where the destination is a directory.
    pub name: String,
    /// Its bytes.
    pub data: File,
    /// Their number.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Permissions.
    pub mode: u32,
    /// Whether it is unpacked if it is an archive.
    pub unpack: bool,
}

/// A tree that is copied whole.
pub(crate) struct Whole {
    pub(crate) tree: Layers,
    /// Where its files are.
    pub(crate) _kept: Scratch,
}

/// What was found to be copied.
pub struct Picked {
    copy: Copy,
    picks: Vec<Pick>,
    /// Of each whole tree.
    of_wholes: Vec<Pick>,
    /// Whether the destination is a directory, whatever is there.
    into_directory: bool,
}

impl Picked {
    /// Finds what is to be copied. Blocks.
    pub fn find(copy: Copy) -> Result<Self, Error> {
        let mut picks = Vec::new();
        let mut directories = 0;
        for pattern in &copy.patterns {
            let look = |source| Error::Look { verb: copy.verb, pattern: pattern.clone(), source };
            let found = source::glob(&*copy.tree, pattern).map_err(look)?;
            if found.is_empty() {
                let (verb, pattern, place) = (copy.verb, pattern.clone(), copy.place.clone());
                return Err(Error::Absent { verb, pattern, place });
            }
            for path in found {
                let (pick, is_directory) = copy.pick(&*copy.tree, &path, pattern).map_err(look)?;
                directories += usize::from(is_directory);
                picks.push(pick);
            }
        }
        let mut of_wholes = Vec::new();
        for whole in &copy.wholes {
            let look = |source| Error::Look { verb: copy.verb, pattern: String::new(), source };
            of_wholes.push(copy.pick(&whole.tree, b"", "").map_err(look)?.0);
        }
        let several = picks.len() + copy.files.len() + copy.wholes.len() > 1;
        let slash = copy.arrive.destination.ends_with('/');
        if several
            && !slash
            && !(copy.parents || directories == picks.len() && copy.files.is_empty())
        {
            return Err(Error::Several(copy.verb));
        }
        let into_directory = slash || several || copy.parents;
        Ok(Self { copy, picks, of_wholes, into_directory })
    }

    /// A digest of all that makes a difference, as `file:` or `dir:` or `multi:` and hexadecimal digits.
    pub fn fingerprint(&mut self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        let failed = |source| Error::Look { verb: self.copy.verb, pattern: String::new(), source };
        self.copy.tree.fingerprint(&self.picks, &mut hash).map_err(failed)?;
        for (whole, pick) in self.copy.wholes.iter().zip(&self.of_wholes) {
            whole.tree.fingerprint(std::slice::from_ref(pick), &mut hash).map_err(failed)?;
        }
        for file in &mut self.copy.files {
            let unpack = if file.unpack { " unpack" } else { "" };
            hash.update(format!("{} {:o} {}{unpack}", file.name, file.mode, file.size));
            let read =
                file.data.rewind().and_then(|()| io::copy(&mut file.data, &mut Hash(&mut hash)));
            read.map_err(|source| Error::Look {
                verb: self.copy.verb,
                pattern: file.name.clone(),
                source,
            })?;
        }
        let Arrive { destination: _, owner, mode, unpack, link } = &self.copy.arrive;
        hash.update(format!("{owner:?} {mode:?} {unpack} {link}"));
        // What layers are known by says nothing of what is left of them.
        if !self.copy.exclude.is_empty() {
            hash.update(format!("{:?}", self.copy.exclude));
        }
        let what = match &self.picks[..] {
            [] if self.copy.files.is_empty() => "dir",
            [only] if self.copy.files.is_empty() && only.name.is_empty() => "dir",
            [_] if self.copy.files.is_empty() => "file",
            [] if self.copy.files.len() == 1 => "file",
            _ => "multi",
        };
        let digest = hash.finalize();
        Ok(format!("{what}:{}", spec::Digest::from_sha256(digest.into()).hex()))
    }

    /// Puts everything into a layer. Blocks.
    pub fn put(self, draft: &Draft) -> Result<(), Error> {
        let root = draft.root().map_err(Error::Layer)?;
        let there = Layers::at(root.try_clone().map_err(Error::Layer)?);
        let Arrive { destination, .. } = &self.copy.arrive;
        let look =
            |source| Error::Look { verb: self.copy.verb, pattern: destination.clone(), source };
        let base = if self.copy.arrive.link {
            tree::path::normal(destination)
        } else {
            resolve_new(&there, destination.as_bytes()).map_err(look)?
        };
        let is_directory = there.look(&base).map_err(look)? == Some(Found::Directory);
        let inside = self.into_directory || is_directory;
        for pick in &self.picks {
            // What is in a directory goes into one.
            let inside = inside || pick.name.is_empty();
            let target = Target { base: base.clone(), inside, arrive: &self.copy.arrive };
            let picks = std::slice::from_ref(pick);
            let members = self.copy.tree.members(picks).map_err(look)?;
            if self.copy.arrive.unpack && !pick.name.is_empty() {
                target.unpack_or_place(&*self.copy.tree, members, picks, &root)?;
            } else {
                target.place(members, &root)?;
            }
        }
        for (whole, pick) in self.copy.wholes.iter().zip(&self.of_wholes) {
            let target = Target { base: base.clone(), inside: true, arrive: &self.copy.arrive };
            let members = whole.tree.members(std::slice::from_ref(pick)).map_err(look)?;
            target.place(members, &root)?;
        }
        let target = Target { base, inside, arrive: &self.copy.arrive };
        for file in self.copy.files {
            target.place_file(file, &root)?;
        }
        Ok(())
    }
}

impl Copy {
    /// One thing that is copied, and whether it is a directory.
    fn pick(&self, tree: &dyn Source, path: &[u8], pattern: &str) -> io::Result<(Pick, bool)> {
        let real = resolve(tree, path)?.ok_or(io::ErrorKind::NotFound)?;
        let is_directory = tree.look(&real)? == Some(Found::Directory);
        let name = if self.parents {
            // From where `/./` in the pattern says, if it does.
            let pivot =
                pattern.find("/./").map_or(0, |at| parts(&pattern.as_bytes()[..at]).count());
            parts(path).skip(pivot).fold(Vec::new(), |name, part| join(&name, part))
        } else if is_directory {
            Vec::new()
        } else {
            parts(path).last().unwrap_or_default().to_vec()
        };
        let exclude = if self.exclude.is_empty() {
            None
        } else {
            let base = String::from_utf8_lossy(&real).into_owned();
            let line = |pattern: &String| match pattern.strip_prefix('!') {
                Some(pattern) => format!("!{base}/{pattern}\n"),
                None => format!("{base}/{pattern}\n"),
            };
            let lines: String = self.exclude.iter().map(line).collect();
            Some(Ignore::parse(&lines).map_err(io::Error::other)?)
        };
        Ok((Pick { path: real, name, exclude }, is_directory))
    }
}

/// Where things go.
struct Target<'a> {
    /// The destination, from the root.
    base: Vec<u8>,
    /// Whether that is a directory.
    inside: bool,
    arrive: &'a Arrive,
}

impl Target<'_> {
    fn place(&self, members: impl Members, root: &OwnedFd) -> Result<(), Error> {
        let how =
            Extract { keep_kinds: !self.arrive.link, keep_directories: true, ..Extract::default() };
        let root = root.try_clone().map_err(Error::Layer)?;
        let members = Arriving::at(self, members);
        Ok(place(members, root, &how)?)
    }

    /// Unpacks the one file of `members` into the destination if it is an archive.
    fn unpack_or_place(
        &self,
        tree: &dyn Source,
        mut members: Box<dyn Members + '_>,
        picks: &[Pick],
        root: &OwnedFd,
    ) -> Result<(), Error> {
        let name = String::from_utf8_lossy(&picks[0].name).into_owned();
        let failed = |source| Error::Archive { name: name.clone(), source };
        let look = |source| Error::Look { verb: "ADD", pattern: name.clone(), source };
        let member = members.next_member().map_err(|error| look(io::Error::other(error)))?;
        let size = member.map_or(0, |member| member.size);
        if is_archive(members.take(size)).map_err(failed)? {
            let mut members = tree.members(picks).map_err(look)?;
            members.next_member().map_err(|error| look(io::Error::other(error)))?;
            return self.unpack(members.take(size), &name, root);
        }
        self.place(tree.members(picks).map_err(look)?, root)
    }

    /// Places one file, or what is in it.
    fn place_file(&self, mut file: Single, root: &OwnedFd) -> Result<(), Error> {
        let name = file.name.clone();
        let look = |source| Error::Look { verb: "ADD", pattern: name.clone(), source };
        let failed = |source| Error::Archive { name: name.clone(), source };
        file.data.rewind().map_err(look)?;
        if file.unpack && is_archive(&file.data).map_err(failed)? {
            file.data.rewind().map_err(look)?;
            return self.unpack(&file.data, &name, root);
        }
        self.place(One::of(file).map_err(look)?, root)
    }

    /// Unpacks an archive into the destination.
    fn unpack(&self, data: impl Read, name: &str, root: &OwnedFd) -> Result<(), Error> {
        let failed = |source| Error::Archive { name: name.to_owned(), source };
        let (plain, _) = image::compression::decompress(data).map_err(failed)?;
        let inside = Target { base: self.base.clone(), inside: true, arrive: self.arrive };
        inside.place(Archive::new(io::BufReader::new(plain)), root)
    }
}

/// Whether data begins as an archive does, perhaps compressed.
fn is_archive(data: impl Read) -> Result<bool, image::compression::Error> {
    let Ok((plain, _)) = image::compression::decompress(data) else { return Ok(false) };
    let mut block = Vec::new();
    match plain.take(MAGIC).read_to_end(&mut block) {
        // It is one, but larger than anyone may ask for.
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            Err(image::compression::Error::Read(error))
        }
        Err(_) => Ok(false),
        Ok(read) => Ok(read as u64 == MAGIC
            && matches!(
                Archive::new(&block[..]).next_member(),
                Ok(Some(_)) | Err(archive::Error::Unsupported { .. })
            )),
    }
}

/// A digest as something to write to.
struct Hash<'a>(&'a mut Sha256);

impl io::Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the directory at an absolute path, and those that lead to it, unless they are there.
pub(crate) fn make_directory(draft: &Draft, path: &str) -> Result<(), Error> {
    let look = |source| Error::Look { verb: "WORKDIR", pattern: path.to_owned(), source };
    let root = draft.root().map_err(Error::Layer)?;
    let there = Layers::at(root.try_clone().map_err(Error::Layer)?);
    let base = resolve_new(&there, path.as_bytes()).map_err(look)?;
    let arrive = Arrive { destination: path.to_owned(), ..Arrive::default() };
    let target = Target { base, inside: true, arrive: &arrive };
    target.place(One::directory(), &root)
}

/// Copies what is at `path` to the empty directory `dir`; gives where it is then: `dir` itself for a
/// directory, with its owner and mode.
pub(crate) fn copy_out(tree: &dyn Source, path: &str, dir: &Path) -> Result<PathBuf, Error> {
    let (pick, is_directory) = picked(tree, path)?;
    let root = tree::view::open(dir).map_err(Error::Layer)?;
    let arrive = Arrive::default();
    let target = Target { base: Vec::new(), inside: true, arrive: &arrive };
    let look = |source| Error::Look { verb: "RUN --mount", pattern: path.to_owned(), source };
    let picks = [Pick { name: if is_directory { Vec::new() } else { b"file".to_vec() }, ..pick }];
    target.place(tree.members(&picks).map_err(look)?, &root)?;
    if !is_directory {
        return Ok(dir.join("file"));
    }
    let first = tree.members(&picks).map_err(look)?.next_member();
    let first = first.map_err(|error| look(io::Error::other(error)))?;
    if let Some(member) = first.filter(|member| member.name.is_empty()) {
        let permissions = Permissions::from_mode(member.mode);
        let dressed = chown(dir, Some(member.uid), Some(member.gid))
            .and_then(|()| std::fs::set_permissions(dir, permissions));
        dressed.map_err(Error::Layer)?;
    }
    Ok(dir.to_owned())
}

/// A digest of what is at `path`.
pub(crate) fn known_by(tree: &dyn Source, path: &str) -> Result<String, Error> {
    let (pick, _) = picked(tree, path)?;
    let mut hash = Sha256::new();
    let look = |source| Error::Look { verb: "RUN --mount", pattern: path.to_owned(), source };
    tree.fingerprint(&[pick], &mut hash).map_err(look)?;
    Ok(spec::Digest::from_sha256(hash.finalize().into()).hex().to_owned())
}

/// The same of a directory, and of nothing else.
pub(crate) fn directory_known_by(tree: &dyn Source, path: &str) -> Result<String, Error> {
    if !picked(tree, path)?.1 {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(Error::Look { verb: "RUN --mount", pattern: path.to_owned(), source });
    }
    known_by(tree, path)
}

/// What is at `path`, and whether it is a directory.
fn picked(tree: &dyn Source, path: &str) -> Result<(Pick, bool), Error> {
    let verb = "RUN --mount";
    let look = |source| Error::Look { verb, pattern: path.to_owned(), source };
    let absent = || Error::Absent { verb, pattern: path.to_owned(), place: String::new() };
    let real = resolve(tree, path.as_bytes()).map_err(look)?.ok_or_else(absent)?;
    let is_directory = tree.look(&real).map_err(look)? == Some(Found::Directory);
    Ok((Pick { path: real, name: Vec::new(), exclude: None }, is_directory))
}

/// Seconds since 1970.
pub(crate) fn now() -> (i64, u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0)), 0)
}
