//! `RUN`.

use std::fmt::Write as _;

use image::Contents;

use crate::builder::PREDEFINED;
use crate::dockerfile::{self, Instruction, Script};
use crate::error::Error;
use crate::run::Command;
use crate::told::Event;

use super::{Stage, shown};

pub(super) mod mounts;

/// By which programs find the ssh agent.
const AGENT: &str = "SSH_AUTH_SOCK";

impl Stage<'_> {
    /// Runs a command in a container of the stage's image.
    pub(super) async fn run(
        &mut self,
        instruction: &Instruction,
        run: &dockerfile::Run,
    ) -> Result<(), Error> {
        let script = self.words_of(instruction, run)?;
        let mut words = self.declared();
        if !words.is_empty() {
            words = format!("|{} {words}", self.args.len());
        }
        let _ = write!(words, "{}", shown(&script.words));
        let mounts = self.expanded(instruction, &run.mounts)?;
        words.push_str(&self.mounts_known_by(instruction, &mounts, script.file.as_ref()).await?);
        for (name, value) in [("network", &run.network), ("security", &run.security)] {
            if let Some(value) = value {
                let _ = write!(words, " # --{name}={value}");
            }
        }
        if self.take_known(&words).await? {
            return Ok(());
        }
        if self.image.is_none() {
            return Err(Error::at(
                instruction,
                "nothing can be run in an empty image: copy a program first, or begin FROM another",
            ));
        }
        let prepared = self.mount(instruction, mounts, script.file).await?;
        let mut env = self.environment();
        if let Some(socket) = prepared.agent.as_ref().filter(|_| !has(&env, AGENT)) {
            env.push(format!("{AGENT}={socket}"));
        }
        let command = Command {
            image: self.image.as_ref().map(|image| image.id.clone()),
            words: script.words,
            env,
            working_dir: self.config.working_dir().to_owned(),
            user: self.config.user().to_owned(),
            network: run.network.clone().filter(|mode| mode != "default"),
            insecure: run.is_insecure(),
            mounts: prepared.mounts.clone(),
            hidden: prepared.hidden.clone(),
        };
        let told = |told| self.tell(Event::Run(told));
        let draft = self.builder.runner.run(command, &told).await?;
        drop(prepared);
        self.make(words, Contents::Draft(draft)).await
    }

    /// Mounts with the variables replaced.
    fn expanded(
        &self,
        instruction: &Instruction,
        mounts: &[dockerfile::Mount],
    ) -> Result<Vec<dockerfile::Mount>, Error> {
        let one = |mount: &dockerfile::Mount| {
            mount
                .expand(self.builder.escape, &|name| self.variable(name))
                .map_err(|error| Error::expand(instruction, &error))
        };
        mounts.iter().map(one).collect()
    }

    /// The words to execute, and a file that they need.
    fn words_of(&self, instruction: &Instruction, run: &dockerfile::Run) -> Result<Words, Error> {
        let shell = |text: String| self.config.words(&dockerfile::Command::Shell(text));
        let words = match instruction.script() {
            None => self.config.words(&run.command),
            Some(Script::Shell(text)) => shell(text),
            Some(Script::File { name, content }) => {
                let path = format!("/dev/pipes/{name}");
                return Ok(Words { words: vec![path.clone()], file: Some((path, content)) });
            }
        };
        if words.is_empty() {
            return Err(Error::at(instruction, "RUN requires at least one argument"));
        }
        Ok(Words { words, file: None })
    }

    /// Build arguments as they stand in front of a command in the history.
    fn declared(&self) -> String {
        self.args.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = write!(text, "{name}={value} ");
            text
        })
    }

    /// The environment of a command: the image's, and build arguments that it does not set.
    fn environment(&self) -> Vec<String> {
        let mut env = self.config.env();
        let mut add = |name: &str, value: &str| {
            if !has(&env, name) {
                env.push(format!("{name}={value}"));
            }
        };
        for (name, value) in &self.args {
            add(name, value);
        }
        for name in PREDEFINED {
            if let Some(Some(value)) = self.builder.request.args.get(name) {
                add(name, value);
            }
        }
        env
    }
}

/// Whether a variable is among `env`.
fn has(env: &[String], name: &str) -> bool {
    env.iter().any(|entry| entry.split('=').next() == Some(name))
}

/// A command, and a file that is to be seen at a path.
struct Words {
    words: Vec<String>,
    file: Option<(String, String)>,
}
