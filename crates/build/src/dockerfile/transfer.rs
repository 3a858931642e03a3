//! `COPY` and `ADD`.

use super::Heredoc;
use super::error::Reason;
use super::flags::{Flags, Takes};
use super::instruction::wants;
use super::node::{Args, Node};

/// Files to put into the image. Words are not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// At least one.
    pub sources: Vec<Source>,
    /// A path in the stage, relative to its working directory.
    pub destination: String,
    /// `--from`: a stage's name or number, or an image. Only `COPY`.
    pub from: Option<String>,
    /// `--chown`: `user[:group]`, names or numbers.
    pub chown: Option<String>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on those below.
    pub link: bool,
    /// `--parents`: sources keep the directories they are in. Only `COPY`.
    pub parents: bool,
    /// `--exclude`: patterns of what to leave out.
    pub exclude: Vec<String>,
    /// `--checksum` of the one source, `sha256:...` for a URL, a commit for git. Only `ADD`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`. Only `ADD`.
    pub keep_git_dir: bool,
    /// `--unpack`; without it, local archives are unpacked and those from URLs are not. Only `ADD`.
    pub unpack: Option<bool>,
}

/// What a transfer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern in the context, a URL, or a git repository.
    Path(String),
    /// A file with this content.
    Heredoc(Heredoc),
}

const BOTH: [(&str, Takes); 4] = [
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("exclude", Takes::Values),
];
const OF_COPY: [(&str, Takes); 2] = [("from", Takes::Value), ("parents", Takes::Bool)];
const OF_ADD: [(&str, Takes); 3] =
    [("checksum", Takes::Value), ("keep-git-dir", Takes::Bool), ("unpack", Takes::Bool)];

impl Transfer {
    pub(super) fn from_node(node: &Node) -> Result<Self, Reason> {
        let own = if node.name == "COPY" { &OF_COPY[..] } else { &OF_ADD[..] };
        let flags = Flags::parse(&node.flags, &[&BOTH[..], own].concat())?;
        let (Args::Words(words) | Args::Json(words)) = &node.args else {
            unreachable!("a transfer has words")
        };
        let (destination, sources) = match words.split_last() {
            None => return Err(wants(&node.name, "requires at least two arguments")),
            Some((_, [])) => return Err(wants(&node.name, NO_DESTINATION)),
            Some(parts) => parts,
        };
        let is_json = matches!(node.args, Args::Json(_));
        let mut heredocs = node.heredocs().iter().peekable();
        let mut next_heredoc =
            |word: &String| heredocs.next_if(|heredoc| !is_json && heredoc.is_named_in(word));
        let sources: Vec<Source> = sources
            .iter()
            .map(|word| match next_heredoc(word) {
                Some(heredoc) => Source::Heredoc(heredoc.clone()),
                None => Source::Path(word.clone()),
            })
            .collect();
        let place = match () {
            () if next_heredoc(destination).is_some() => Some("a destination"),
            () if flags.value("from").is_some() && has_heredoc(&sources) => {
                Some("a source with --from")
            }
            () => None,
        };
        if let Some(place) = place {
            return Err(Reason::MisplacedHeredoc { name: node.name.clone(), place });
        }
        Ok(Self {
            sources,
            destination: destination.clone(),
            from: flags.value("from").filter(|from| !from.is_empty()),
            chown: flags.value("chown").filter(|owner| !owner.is_empty()),
            chmod: flags.value("chmod").filter(|mode| !mode.is_empty()),
            link: flags.switch("link") == Some(true),
            parents: flags.switch("parents") == Some(true),
            exclude: flags.values("exclude"),
            checksum: flags.value("checksum").filter(|sum| !sum.is_empty()),
            keep_git_dir: flags.switch("keep-git-dir") == Some(true),
            unpack: flags.switch("unpack"),
        })
    }
}

const NO_DESTINATION: &str = "requires at least two arguments, but only one was provided. Destination could not be determined";

fn has_heredoc(sources: &[Source]) -> bool {
    sources.iter().any(|source| matches!(source, Source::Heredoc(_)))
}
