//! The kernel that a container's VM gets: the usual one, or another beside it that the container asks for.

use std::fs;
use std::path::{Path, PathBuf};

use spec::Kind;
use spec::kernel::{Version, Wish};
use spec::oci::runtime as oci;
use spec::options::Options;
use vmm::Config;

/// What kernels' files are called, before their release.
const PREFIX: &str = "vmlinuz-";

/// There is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wish is none.
    #[error(transparent)]
    Wish(#[from] spec::kernel::Error),
    /// No kernel that is there is what is asked for; the reason is about the usual one.
    #[error("no kernel for the VM among {} in {}", have.join(", "), directory.display())]
    None {
        /// The releases.
        have: Vec<String>,
        /// Where they are.
        directory: PathBuf,
        /// What is wrong with the usual one.
        source: Box<spec::kernel::Error>,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Wish(error) => error.kind(),
            Self::None { .. } => Kind::Unsupported,
        }
    }
}

/// The options with the kernel for this configuration, and the kernel's release.
pub(super) fn choose(
    options: &Options,
    spec: &oci::Spec,
) -> Result<(Options, String), super::Error> {
    let wish = Wish::of(spec.annotations().as_ref()).map_err(Error::from)?;
    let usual = Config::locate(options)?.kernel;
    let known = release(&usual).unwrap_or_else(|| usual.display().to_string());
    let Err(source) = wish.check(&known) else { return Ok((options.clone(), known)) };
    let directory = usual.parent().unwrap_or(Path::new("/")).to_owned();
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut all: Vec<_> =
        entries.filter_map(|entry| Some((release(&entry.path())?, entry.path()))).collect();
    all.sort_by_key(|(release, _)| Version::parse(release));
    let fits = all.iter().rev().find(|(release, _)| wish.check(release).is_ok());
    let Some((release, path)) = fits else {
        let have = all.into_iter().map(|(release, _)| release).collect();
        let source = Box::new(source);
        return Err(Error::None { have, directory, source }.into());
    };
    let mut options = options.clone();
    (options.vm.kernel, options.vm.modules) = (Some(path.clone()), None);
    Ok((options, release.clone()))
}

/// Refuses a configuration that the kernel of a VM which runs already is not enough for.
pub(super) fn satisfies(release: &str, spec: &oci::Spec) -> Result<(), super::Error> {
    let wish = Wish::of(spec.annotations().as_ref()).map_err(Error::from)?;
    Ok(wish.check(release).map_err(Error::from)?)
}

fn release(kernel: &Path) -> Option<String> {
    Some(kernel.file_name()?.to_str()?.strip_prefix(PREFIX)?.to_owned())
}
