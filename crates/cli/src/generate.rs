//! `hull completion` and `hull man`: made from the same table of verbs as the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::client::Client;
use crate::error::Error;
use crate::verb::Verb;
use crate::{Arguments, help, output};

/// `hull completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(hull completion bash)
  hull completion zsh >~/.zfunc/_hull
  hull completion fish >~/.config/fish/completions/hull.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

/// `hull man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo hull man /usr/local/share/man/man1 && man hull-run")]
pub(crate) struct Man {
    /// Where they are written, a page a verb
    directory: PathBuf,
}

impl Verb for Completion {
    async fn run(self, _: &Client) -> Result<u8, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "hull", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end());
        Ok(0)
    }
}

impl Verb for Man {
    async fn run(self, _: &Client) -> Result<u8, Error> {
        let failed = |source| Error::File { what: self.directory.display().to_string(), source };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        clap_mangen::generate_to(help::with_examples(Arguments::command()), &self.directory)
            .map_err(failed)?;
        Ok(0)
    }
}
