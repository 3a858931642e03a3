//! From a Dockerfile and a context to an image.
//!
//! ```text
//!   parse ─▶ plan ─▶ the stages that are needed, side by side ─▶ labels ─▶ names
//!                      each: base, then instruction by instruction (stage.rs)
//! ```
//!
//! What a stage needs of another it waits for. When one fails, or nobody waits for the image any more, all
//! are dropped, and with them their containers and drafts; steps that were finished are known to the next
//! build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::try_join_all;
use image::{Image, Images, Platform, Reference};
use tokio::sync::watch;

use crate::context::Context;
use crate::dockerfile::{Dockerfile, Instruction, Kind};
use crate::error::Error;
use crate::expand;
use crate::ignore::Ignore;
use crate::link::Link;
use crate::plan::{self, Plan};
use crate::run::Runner;
use crate::stage;
use crate::told::{Event, Order};

/// The build argument that says when everything was made, in seconds since 1970.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// BuildKit's, for an image whose steps others may take; here that is every one.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";
/// Build arguments that need not be declared.
pub(crate) const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What is to be built.
#[derive(Debug)]
pub struct Request {
    /// Where the Dockerfile is in the context, or what it is called.
    pub dockerfile: String,
    /// The Dockerfile itself, where the client has sent it beside the context; nothing of that is to be ignored
    /// any more then, and no warning told.
    pub text: Option<Vec<u8>>,
    /// What names mean that no stage and no image is meant by.
    pub contexts: BTreeMap<String, Named>,
    /// The stage to build; `None` for the last.
    pub target: Option<String>,
    /// Build arguments; without a value it is as if it were not given.
    pub args: BTreeMap<String, Option<String>>,
    /// Labels over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// What the image is to be called.
    pub names: Vec<Reference>,
    /// For which platform; `None` for the engine's own.
    pub platform: Option<Platform>,
    /// Whether every step is to be made anew.
    pub no_cache: bool,
    /// Whether base images are fetched though they are here.
    pub pull: bool,
    /// Images whose steps are taken for steps of this build where they are the same.
    pub cache_from: Vec<String>,
    /// Whether commands may ask for all that root may do.
    pub insecure: bool,
    /// Where files may lie meanwhile.
    pub scratch: PathBuf,
    /// A directory for mounts of memory.
    pub memory: PathBuf,
    /// The client, where it can be asked for secrets.
    pub link: Option<Arc<Link>>,
}

/// What a name in a Dockerfile means because whoever builds it says so. Spec: docs.docker.com/build/concepts/context,
/// "Additional contexts".
#[derive(Debug)]
pub enum Named {
    /// An image, by its name.
    Image(String),
    /// Files to copy from.
    Files(Arc<Context>),
}

/// What became of a stage; one with nothing in it has no image.
#[derive(Clone)]
struct Done(Option<Image>);

/// A build that goes on.
pub(crate) struct Builder<'a> {
    pub(crate) images: &'a Images,
    pub(crate) runner: &'a dyn Runner,
    pub(crate) context: Arc<Context>,
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    pub(crate) escape: char,
    /// Build arguments from before the first stage.
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) order: Order<'a>,
    /// The stages that are built.
    pub(crate) needed: BTreeSet<usize>,
    /// How many steps there are.
    pub(crate) total: usize,
    pub(crate) epoch: Option<i64>,
    /// The images of stages, as they come to their ends.
    done: Vec<watch::Sender<Option<Done>>>,
}

/// Builds an image of the files in `context`. `listener` hears what happens; it must not block.
pub async fn build(
    images: &Images,
    runner: &dyn Runner,
    mut context: Context,
    request: Request,
    listener: &(dyn Fn(Event) + Send + Sync),
) -> Result<Image, Error> {
    let dockerfile = match &request.text {
        Some(text) => text.clone(),
        None => read_from(&mut context, &request.dockerfile)?,
    };
    let parsed = parse(&dockerfile, &request.dockerfile)?;
    // Who sends it beside the context has judged it by its rules, and told what there was to tell.
    for warning in parsed.warnings.iter().filter(|_| request.text.is_none()) {
        let text = format!("{}: {} (line {})", warning.rule, warning.message, warning.line);
        listener(Event::Warning(text));
    }
    for name in request.cache_from.iter().filter(|name| images.get(name).is_err()) {
        listener(Event::Warning(format!("no steps are taken from {name}: no such image: pull it")));
    }
    let escape = parsed.directives.escape;
    let plan = Plan::of(parsed, request.target.as_deref())?;
    let epoch = epoch(&request.args)?;
    let globals = globals(&plan, &request, escape)?;
    let lookup = |name: &str| globals.get(name).cloned();
    let needed = plan.needed(|stage| base_of(stage, escape, &lookup));
    let total = plan.globals.len()
        + needed.iter().map(|at| plan.stages[*at].instructions.len() + 1).sum::<usize>();
    let total = total + usize::from(!request.labels.is_empty());
    let builder = Builder {
        images,
        runner,
        context: Arc::new(context),
        order: Order::new(needed.len(), listener),
        done: plan.stages.iter().map(|_| watch::Sender::new(None)).collect(),
        request,
        plan,
        escape,
        globals,
        needed,
        total,
        epoch,
    };
    let built = builder.all().await;
    // Also after a failure: the next build begins with what this one has done.
    let idle = builder.idle();
    if built.is_ok() && !idle.is_empty() {
        let text = format!("One or more build-args {idle:?} were not consumed");
        listener(Event::Warning(text));
    }
    let names = builder.request.names.clone();
    let kept = images.keep(built.as_ref().ok().map(|image| &image.id), &names).await;
    let built = built?;
    kept.map_err(Error::Keep)?;
    images.get(&built.id.to_string()).map_err(|error| Error::Keep(error.into()))
}

impl Builder<'_> {
    async fn all(&self) -> Result<Image, Error> {
        for (at, instruction) in self.plan.globals.iter().enumerate() {
            let text = instruction.text.clone();
            self.order.tell(0, Event::Step { number: at + 1, total: self.total, text });
        }
        for instruction in self.needed.iter().flat_map(|at| &self.plan.stages[*at].instructions) {
            let permitted = self.permit(instruction, instruction.line);
            permitted.map_err(|error| error.shown(&self.request.dockerfile, instruction))?;
        }
        let mut first = self.plan.globals.len() + 1;
        let mut stages = Vec::new();
        for (place, number) in self.needed.iter().copied().enumerate() {
            let begins = first;
            first += self.plan.stages[number].instructions.len() + 1;
            stages.push(async move {
                let made = stage::build(self, place, number, begins).await;
                match &made {
                    Ok(image) => drop(self.done[number].send_replace(Some(Done(image.clone())))),
                    Err(_) => self.order.fail(place),
                }
                if made.is_ok() {
                    self.order.end(place);
                }
                made.map(|image| (number, image))
            });
        }
        let made = try_join_all(stages).await?;
        let target = made.into_iter().find(|(number, _)| *number == self.plan.target);
        target.and_then(|(_, image)| image).ok_or(Error::Nothing)
    }

    /// Refuses, for an instruction of this line, what nobody has allowed to this build.
    pub(crate) fn permit(&self, instruction: &Instruction, line: usize) -> Result<(), Error> {
        match &instruction.kind {
            Kind::Run(run) if run.is_insecure() && !self.request.insecure => {
                Err(Error::Insecure { line })
            }
            _ => Ok(()),
        }
    }

    /// Build arguments that were given, but that nothing declares.
    fn idle(&self) -> Vec<&str> {
        let stages = self.plan.stages.iter().flat_map(|stage| &stage.instructions);
        let declared: BTreeSet<&str> = self
            .plan
            .globals
            .iter()
            .chain(stages)
            .filter_map(|instruction| match &instruction.kind {
                Kind::Arg(args) => Some(args),
                _ => None,
            })
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let given = self.request.args.keys().map(String::as_str);
        let known = |name: &str| declared.contains(name) || PREDEFINED.contains(&name);
        given.filter(|name| !known(name) && ![EPOCH, INLINE_CACHE].contains(name)).collect()
    }

    /// Waits for a stage that is built beside.
    pub(crate) async fn of_stage(&self, number: usize) -> Result<Option<Image>, Error> {
        let mut done = self.done[number].subscribe();
        let done = done.wait_for(Option::is_some).await.map_err(|_| Error::GivenUp)?;
        Ok(done.as_ref().and_then(|Done(image)| image.clone()))
    }

    /// The platform that is built for.
    pub(crate) fn platform(&self) -> Platform {
        self.request.platform.clone().unwrap_or_else(Platform::host)
    }
}

/// What a stage begins with, its variables replaced as far as that can be.
pub(crate) fn base_of(
    stage: &plan::Stage,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> String {
    let Kind::From { image, .. } = &stage.from.kind else { return String::new() };
    expand::word(image, escape, lookup).unwrap_or_else(|_| image.clone())
}

/// What a Dockerfile called `name` says.
pub fn parse(text: &[u8], name: &str) -> Result<Dockerfile, Error> {
    Dockerfile::parse(text)
        .map_err(|error| Error::Language { shown: error.shown(name), kind: error.kind() })
}

/// The Dockerfile in the context, of which what is to be ignored is taken away.
fn read_from(context: &mut Context, name: &str) -> Result<Vec<u8>, Error> {
    let dockerfile = context.text(name)?.ok_or_else(|| Error::NoDockerfile(name.to_owned()))?;
    for name in [format!("{name}.dockerignore"), ".dockerignore".to_owned()] {
        if let Some(text) = context.text(&name)? {
            context.ignore(&Ignore::parse(&String::from_utf8_lossy(&text))?);
            break;
        }
    }
    Ok(dockerfile)
}

fn epoch(args: &BTreeMap<String, Option<String>>) -> Result<Option<i64>, Error> {
    let Some(Some(text)) = args.get(EPOCH) else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 0);
    seconds.map(Some).ok_or_else(|| Error::Epoch(text.clone()))
}

/// The values of the arguments before the first stage, and of those that are always there.
fn globals(
    plan: &Plan,
    request: &Request,
    escape: char,
) -> Result<BTreeMap<String, String>, Error> {
    let mut globals = platforms(request);
    for instruction in &plan.globals {
        let Kind::Arg(args) = &instruction.kind else { continue };
        for (name, default) in args {
            let lookup = |name: &str| globals.get(name).cloned();
            let value = match (request.args.get(name), default) {
                (Some(Some(given)), _) => Some(given.clone()),
                (_, Some(default)) => Some(
                    expand::word(default, escape, &lookup)
                        .map_err(|error| Error::expand(instruction, &error))?,
                ),
                (_, None) => None,
            };
            globals.extend(value.map(|value| (name.clone(), value)));
        }
    }
    Ok(globals)
}

/// `TARGETPLATFORM` and its kind. Spec: Dockerfile reference, "Automatic platform ARGs".
fn platforms(request: &Request) -> BTreeMap<String, String> {
    let host = Platform::host();
    let target = request.platform.clone().unwrap_or_else(|| host.clone());
    let of = |side: &str, platform: &Platform| {
        let variant = platform.variant.clone().unwrap_or_default();
        [
            (format!("{side}PLATFORM"), platform.to_string()),
            (format!("{side}OS"), platform.os.clone()),
            (format!("{side}ARCH"), platform.architecture.clone()),
            (format!("{side}VARIANT"), variant),
        ]
    };
    let mut all: BTreeMap<_, _> =
        of("BUILD", &host).into_iter().chain(of("TARGET", &target)).collect();
    let name = request.target.clone().filter(|name| !name.is_empty());
    all.insert("TARGETSTAGE".to_owned(), name.unwrap_or_else(|| "default".to_owned()));
    all
}
