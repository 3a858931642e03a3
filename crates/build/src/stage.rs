//! One stage of a build: a base, and instruction by instruction what becomes of it.
//!
//! ```text
//!   instruction ─▶ variables replaced ─▶ words for the history ─┬─▶ known: that image is the next parent
//!                                                              └─▶ done: a step's image is
//! ```
//!
//! What a step is known by is its parent's id and the words in the history: they hold all that makes a
//! difference, as a digest where it is files.
//!
//! Spec: Dockerfile reference; the words in the history are those of Docker's classic builder.

mod run;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use image::{Contents, Image, Platform, Reference, Step};
use spec::{Digest, Signal};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::builder::{Builder, Named, base_of};
use crate::config::Config;
use crate::dockerfile::{Healthcheck, Instruction, Kind};
use crate::error::Error;
use crate::expand;
use crate::run::Ingredient;
use crate::told::Event;

/// What stands in front of an instruction that runs nothing.
const NO_OPERATION: &str = "/bin/sh -c #(nop) ";
/// The image without anything.
const SCRATCH: &str = "scratch";

/// A stage that is being built.
pub(crate) struct Stage<'a> {
    builder: &'a Builder<'a>,
    place: usize,
    /// Its number in the Dockerfile.
    number: usize,
    image: Option<Image>,
    /// The manifest of the base image, until a step on it says in its history where it comes from.
    base: Option<Digest>,
    config: Config,
    /// Build arguments that it has declared, with their values.
    args: BTreeMap<String, String>,
    platform: Platform,
    author: String,
}

/// Builds the stage `number`, whose first step is number `first`.
pub(crate) async fn build<'a>(
    builder: &'a Builder<'a>,
    place: usize,
    number: usize,
    first: usize,
) -> Result<Option<Image>, Error> {
    let plan = &builder.plan.stages[number];
    let mut stage = Stage {
        builder,
        place,
        number,
        image: None,
        base: None,
        config: Config::default(),
        args: BTreeMap::new(),
        platform: builder.platform(),
        author: String::new(),
    };
    let shown = |error: Error, at| error.shown(&builder.request.dockerfile, at);
    stage.step(first, &plan.from);
    stage.begin(&plan.from).await.map_err(|error| shown(error, &plan.from))?;
    for (at, instruction) in plan.instructions.iter().enumerate() {
        stage.step(first + 1 + at, instruction);
        stage.carry_out(instruction).await.map_err(|error| shown(error, instruction))?;
    }
    if number == builder.plan.target {
        stage.label().await?;
    }
    Ok(stage.image)
}

impl Stage<'_> {
    fn tell(&self, event: Event) {
        self.builder.order.tell(self.place, event);
    }

    fn step(&self, number: usize, instruction: &Instruction) {
        let (text, total) = (instruction.text.clone(), self.builder.total);
        self.tell(Event::Step { number, total, text });
    }

    /// The base image, and the instructions that it has left.
    async fn begin(&mut self, from: &Instruction) -> Result<(), Error> {
        let builder = self.builder;
        let lookup = |name: &str| builder.globals.get(name).cloned();
        let plan = &builder.plan.stages[self.number];
        let name = base_of(plan, builder.escape, &lookup);
        if name.is_empty() {
            return Err(Error::at(
                from,
                "base name should not be blank: its variables are not set",
            ));
        }
        if let Kind::From { platform: Some(text), .. } = &from.kind {
            let text = expand::word(text, builder.escape, &lookup)
                .map_err(|error| Error::expand(from, &error))?;
            self.platform = text
                .parse()
                .map_err(|error: image::InvalidPlatform| Error::at(from, error.to_string()))?;
        }
        let given = builder.request.contexts.get(&name);
        let stage = builder.plan.named(&name, self.number).filter(|_| given.is_none());
        self.image = match (given, stage) {
            (Some(Named::Image(image)), _) => Some(self.pulled(from, image).await?),
            (Some(Named::Files(_)), _) => {
                let problem = format!(
                    "{name} is a build context of files: want an image, or COPY --from={name}"
                );
                return Err(Error::at(from, problem));
            }
            (None, Some(other)) => builder.of_stage(other).await?,
            (None, None) if name == SCRATCH => None,
            (None, None) => Some(self.pulled(from, &name).await?),
        };
        if let Some(image) = &self.image {
            self.config = Config::of(&builder.images.configuration(&image.id).await?["config"]);
        } else {
            self.config.set_env("PATH", DEFAULT_PATH);
        }
        // A stage without steps of its own is its base image.
        let base = self.image.as_ref().filter(|image| stage.is_none() || image.parent.is_none());
        self.base = base.map(|image| image.manifest.clone());
        self.tell(Event::Image(self.image.as_ref().map(|image| image.id.clone())));
        let triggers = self.config.take_triggers();
        if !triggers.is_empty() {
            self.tell(Event::Triggers(triggers.len()));
        }
        for trigger in triggers {
            let instruction =
                Instruction::parse_one(&trigger, builder.escape).map_err(|error| {
                    Error::at(from, format!("ONBUILD {trigger} of {name}: {error}"))
                })?;
            builder.permit(&instruction, from.line)?;
            self.carry_out(&instruction).await?;
        }
        Ok(())
    }

    /// An image by name, fetched if it is not here.
    async fn pulled(&self, at: &Instruction, name: &str) -> Result<Image, Error> {
        let builder = self.builder;
        let reference: Result<Reference, _> = name.parse();
        let whole = reference.as_ref().map_or(name.to_owned(), Reference::canonical);
        builder.runner.permit(Ingredient::Image(&whole)).await?;
        let here = builder.images.get(name);
        let fits = |image: &Image| {
            let config = &image.config;
            let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
            self.platform.accepts(&os, &architecture, config.variant().as_deref())
        };
        match here {
            Ok(image) if !builder.request.pull && fits(&image) => return Ok(image),
            // By id there is nothing to fetch.
            Ok(image) if image.id.to_string().contains(name) => return Ok(image),
            _ => {}
        }
        let reference = reference.map_err(|error| Error::at(at, error.to_string()))?;
        let told = |progress| self.tell(Event::Pull(progress));
        Ok(builder.runner.pull(&reference, &self.platform, &told).await?)
    }

    /// One instruction.
    async fn carry_out(&mut self, instruction: &Instruction) -> Result<(), Error> {
        match &instruction.kind {
            Kind::From { .. } => Ok(()),
            Kind::Run(run) => self.run(instruction, run).await,
            Kind::Copy(transfer) => self.transfer(instruction, "COPY", transfer).await,
            Kind::Add(transfer) => self.transfer(instruction, "ADD", transfer).await,
            Kind::Workdir(path) => self.workdir(instruction, path).await,
            _ => {
                let text = self.configure(instruction)?;
                self.set(format!("{NO_OPERATION} {text}")).await
            }
        }
    }

    /// Takes an instruction that only changes the configuration; gives its words.
    fn configure(&mut self, instruction: &Instruction) -> Result<String, Error> {
        let word = |stage: &Self, text: &str| stage.word(instruction, text);
        match &instruction.kind {
            Kind::Arg(args) => {
                let mut text = "ARG".to_owned();
                for (name, default) in args {
                    let value = self.declare(instruction, name, default.as_deref())?;
                    let value = value.map(|value| format!("={value}")).unwrap_or_default();
                    let _ = write!(text, " {name}{value}");
                }
                Ok(text)
            }
            Kind::Env(pairs) => {
                let pairs = self.pairs(instruction, pairs)?;
                for (name, value) in &pairs {
                    self.config.set_env(name, value);
                }
                Ok(listed("ENV", &pairs))
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(instruction, pairs)?;
                for (name, value) in &pairs {
                    self.config.set_label(name, value);
                }
                Ok(listed("LABEL", &pairs))
            }
            Kind::Maintainer(author) => {
                self.author.clone_from(author);
                Ok(format!("MAINTAINER {author}"))
            }
            Kind::Cmd(command) => {
                self.config.set_command(command);
                Ok(format!("CMD {}", json(&self.config.words(command))))
            }
            Kind::Entrypoint(command) => {
                self.config.set_entrypoint(command);
                Ok(format!("ENTRYPOINT {}", json(&self.config.words(command))))
            }
            Kind::Shell(words) => {
                self.config.set_shell(words);
                Ok(format!("SHELL {}", json(words)))
            }
            Kind::Expose(ports) => {
                let ports = self.words(instruction, ports)?;
                for port in &ports {
                    let each = ports_of(port).ok_or_else(|| {
                        Error::at(
                            instruction,
                            format!(
                                "invalid containerPort: {port}: want PORT[-PORT][/tcp|udp|sctp]"
                            ),
                        )
                    })?;
                    for port in &each {
                        self.config.expose(port);
                    }
                }
                Ok(format!("EXPOSE {}", ports.join(" ")))
            }
            Kind::Volume(paths) => {
                let each = paths.iter().map(|path| word(self, path));
                let paths: Vec<String> = each.collect::<Result<_, _>>()?;
                if paths.iter().any(|path| path.trim().is_empty()) {
                    return Err(Error::at(
                        instruction,
                        "VOLUME specified can not be an empty string",
                    ));
                }
                for path in &paths {
                    self.config.add_volume(path);
                }
                Ok(format!("VOLUME {}", json(&paths)))
            }
            Kind::User(user) => {
                let user = word(self, user)?;
                self.config.set("User", &user);
                Ok(format!("USER {user}"))
            }
            Kind::StopSignal(signal) => {
                let signal = word(self, signal)?;
                if signal.parse::<Signal>().is_err() {
                    return Err(Error::at(instruction, format!("invalid signal: {signal}")));
                }
                self.config.set("StopSignal", &signal);
                Ok(format!("STOPSIGNAL {signal}"))
            }
            Kind::Healthcheck(check) => {
                self.config.set_healthcheck(check);
                Ok(match check {
                    Healthcheck::None => "HEALTHCHECK NONE".to_owned(),
                    Healthcheck::Check { .. } => instruction.text.clone(),
                })
            }
            Kind::Onbuild(trigger) => {
                self.config.add_trigger(trigger);
                Ok(format!("ONBUILD {trigger}"))
            }
            Kind::From { .. } | Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_) => {
                Ok(String::new())
            }
        }
    }

    /// Declares a build argument; gives its value.
    fn declare(
        &mut self,
        instruction: &Instruction,
        name: &str,
        default: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let builder = self.builder;
        let value = match (builder.request.args.get(name), default) {
            (Some(Some(given)), _) => Some(given.clone()),
            (_, Some(default)) => Some(self.word(instruction, default)?),
            (_, None) => builder.globals.get(name).cloned(),
        };
        if let Some(value) = &value {
            self.args.insert(name.to_owned(), value.clone());
        }
        Ok(value)
    }

    /// `WORKDIR`, which makes the directory.
    async fn workdir(&mut self, instruction: &Instruction, path: &str) -> Result<(), Error> {
        let path = self.word(instruction, path)?;
        if path.is_empty() {
            return Err(Error::at(
                instruction,
                "WORKDIR requires a path: its variables are not set",
            ));
        }
        let path = self.absolute(&path);
        let path = format!("/{}", String::from_utf8_lossy(&tree::path::normal(&path)));
        self.config.set("WorkingDir", &path);
        let words = format!("{NO_OPERATION}WORKDIR {path}");
        if self.take_known(&words).await? {
            return Ok(());
        }
        let draft = self.draft().await?;
        let made = tokio::task::spawn_blocking(move || {
            crate::copy::make_directory(&draft, &path).map(|()| draft)
        });
        let draft = made.await.map_err(|_| Error::GivenUp)??;
        self.make(words, Contents::Draft(draft)).await
    }

    /// The labels that were asked for with the build.
    async fn label(&mut self) -> Result<(), Error> {
        let labels = self.builder.request.labels.clone();
        if labels.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = labels.into_iter().collect();
        for (name, value) in &pairs {
            self.config.set_label(name, value);
        }
        let (text, total) = (listed("LABEL", &pairs), self.builder.total);
        self.tell(Event::Step { number: total, total, text: text.clone() });
        self.set(format!("{NO_OPERATION} {text}")).await
    }

    /// The image of a step that only changes the configuration.
    async fn set(&mut self, words: String) -> Result<(), Error> {
        if self.take_known(&words).await? {
            return Ok(());
        }
        self.make(words, Contents::Nothing).await
    }

    /// Takes the image that the same step has made before, here or in an image that came from elsewhere.
    async fn take_known(&mut self, words: &str) -> Result<bool, Error> {
        let request = &self.builder.request;
        if request.no_cache {
            return Ok(false);
        }
        let (parent, images) = (self.image.as_ref(), self.builder.images);
        if let Some(known) = images.known(parent.map(|image| &image.id), words) {
            self.tell(Event::Cached);
            self.tell(Event::Image(Some(known.id.clone())));
            (self.image, self.base) = (Some(known), None);
            return Ok(true);
        }
        let Some(same) = images.known_from(parent, words, &request.cache_from) else {
            return Ok(false);
        };
        self.tell(Event::Cached);
        self.make(words.to_owned(), Contents::Same(Box::new(same))).await?;
        Ok(true)
    }

    async fn make(&mut self, words: String, contents: Contents) -> Result<(), Error> {
        let created = match self.builder.epoch {
            Some(epoch) => OffsetDateTime::from_unix_timestamp(epoch)
                .map_err(|_| Error::Epoch(epoch.to_string()))?,
            None => OffsetDateTime::now_utc(),
        };
        let step = Step {
            parent: self.image.as_ref().map(|image| image.id.clone()),
            platform: self.platform.clone(),
            config: self.config.value(),
            created: created.format(&Rfc3339).unwrap_or_default(),
            created_by: words,
            comment: self.base.take().map(|base| format!("FROM {base}")).unwrap_or_default(),
            author: self.author.clone(),
        };
        let image = self.builder.images.step(step, contents, self.builder.epoch).await?;
        self.tell(Event::Image(Some(image.id.clone())));
        self.image = Some(image);
        Ok(())
    }

    async fn draft(&self) -> Result<image::Draft, Error> {
        let parent = self.image.as_ref().map(|image| &image.id);
        Ok(self.builder.images.draft(parent).await?)
    }

    /// A path beneath the working directory.
    fn absolute(&self, path: &str) -> String {
        match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("{}/{path}", self.config.working_dir().trim_end_matches('/')),
        }
    }

    /// What a variable stands for: the image's own before build arguments.
    fn variable(&self, name: &str) -> Option<String> {
        self.config.variable(name).or_else(|| self.args.get(name).cloned())
    }

    fn word(&self, instruction: &Instruction, text: &str) -> Result<String, Error> {
        expand::word(text, self.builder.escape, &|name| self.variable(name))
            .map_err(|error| Error::expand(instruction, &error))
    }

    fn words(&self, instruction: &Instruction, texts: &[String]) -> Result<Vec<String>, Error> {
        let words = |text: &String| {
            expand::words(text, self.builder.escape, &|name| self.variable(name))
                .map_err(|error| Error::expand(instruction, &error))
        };
        Ok(texts.iter().map(words).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Names and values with the variables that are set before the instruction.
    fn pairs(
        &self,
        instruction: &Instruction,
        pairs: &[(String, String)],
    ) -> Result<Vec<(String, String)>, Error> {
        let each = |(name, value): &(String, String)| {
            Ok((self.word(instruction, name)?, self.word(instruction, value)?))
        };
        pairs.iter().map(each).collect()
    }
}

/// Where programs are looked for in an image that does not say it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `ENV a=1 b=2`.
fn listed(verb: &str, pairs: &[(String, String)]) -> String {
    pairs.iter().fold(verb.to_owned(), |text, (name, value)| format!("{text} {name}={value}"))
}

fn json(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

/// `80` is `80/tcp`; `80-82/udp` are three.
fn ports_of(text: &str) -> Option<BTreeSet<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let legal = matches!(protocol.as_str(), "tcp" | "udp" | "sctp") && first <= last;
    legal.then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// As a command is shown in the history.
fn shown(words: &[String]) -> String {
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_tcp_unless_it_says_otherwise() {
        let of = |text| ports_of(text).map(|ports| ports.into_iter().collect::<Vec<_>>());
        assert_eq!(of("80"), Some(vec!["80/tcp".to_owned()]));
        assert_eq!(of("80-81/UDP"), Some(vec!["80/udp".to_owned(), "81/udp".to_owned()]));
        for wrong in ["", "a", "80/icmp", "81-80", "70000"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
