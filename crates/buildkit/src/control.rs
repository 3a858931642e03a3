//! Builds from beginning to end, what is told of them, and what they leave for the next ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use build::Event;
use engine::build::{Credentials, Keep, Prune, Surroundings};
use futures_util::{Stream, stream};
use image::{Image, Platform};
use tonic::Status;

use crate::Buildkit;
use crate::ask;
use crate::error::{status, unsupported};
use crate::job::Job;
use crate::lint::Verdict;
use crate::messages::control;
use crate::messages::control::{
    BuildkitVersion, DiskUsageRequest, DiskUsageResponse, InfoResponse, ListWorkersResponse,
    PruneRequest, SolveRequest, SolveResponse, StatusRequest, StatusResponse, UsageRecord,
    WorkerRecord,
};
use crate::out;
use crate::outputs::Outputs;
use crate::policy::Policy;
use crate::progress::{Steps, follow};
use crate::sent::{Client, Sent, Whole};
use crate::wanted::{FRONTEND, Wanted};

/// The version of BuildKit whose API this is, as far as it goes.
const VERSION: &str = "v0.34.0";

impl Buildkit {
    /// `Control/Solve`: a build; ends with its client.
    pub(crate) async fn solve(
        self: &Arc<Self>,
        request: SolveRequest,
    ) -> Result<SolveResponse, Status> {
        let outputs = Outputs::of(&request)?;
        let running = self.jobs.begin(request)?;
        let job = &running.job;
        let frontend = job.request.frontend.as_str();
        let image = if frontend.is_empty() {
            job.returned().await?
        } else {
            match self.build(job, &job.request, frontend, &job.request.frontend_attrs).await? {
                Verdict::Built(image) => Some(*image),
                Verdict::Checked(_) => None,
            }
        };
        let mut exporter_response = HashMap::new();
        if let Some(image) = image {
            self.put_out(job, &outputs, &image).await?;
            let id = image.id.to_string();
            let mut add =
                |key: &str, value: String| exporter_response.insert(key.to_owned(), value);
            add("containerimage.config.digest", id.clone());
            add("containerimage.digest", id);
            if !outputs.names.is_empty() {
                let names: Vec<String> = outputs.names.iter().map(ToString::to_string).collect();
                add("image.name", names.join(","));
            }
        }
        Ok(SolveResponse { exporter_response })
    }

    /// Sends the client what it wants of an image besides that.
    async fn put_out(&self, job: &Job, outputs: &Outputs, image: &Image) -> Result<(), Status> {
        for output in &outputs.files {
            let session = self.sessions.find(&job.request.session).await?;
            let steps = Steps::new(job);
            steps.begin("exporting to client");
            let sent = out::send(&self.engine, &session, image, *output).await;
            steps.finish(sent.as_ref().err().map_or("", Status::message));
            sent?;
        }
        Ok(())
    }

    /// `Control/Status`: all that a build tells, until its end.
    pub(crate) async fn status(
        self: &Arc<Self>,
        request: StatusRequest,
    ) -> Result<impl Stream<Item = Result<StatusResponse, Status>> + Send + use<>, Status> {
        Ok(follow(self.jobs.find(&request.r#ref).await?))
    }

    /// Builds what `options` say of a frontend, of the build that began with `of`.
    pub(crate) async fn build(
        &self,
        job: &Job,
        of: &SolveRequest,
        frontend: &str,
        options: &HashMap<String, String>,
    ) -> Result<Verdict, Status> {
        if frontend != FRONTEND {
            return Err(unsupported(format!(
                "the frontend {frontend:?}: Hull's builder is {FRONTEND}, and knows the language itself: leave \
                 BUILDKIT_SYNTAX out"
            )));
        }
        let wanted = Wanted::read(options, of)?;
        let names = Outputs::of(&job.request)?.names;
        let steps = Steps::new(job);
        let built = async {
            let session = self.sessions.find(&of.session).await?;
            let scratch =
                self.engine.build_scratch().map_err(|error| status(error.kind(), &error))?;
            let policy = match of.source_policy_session.as_str() {
                "" => None,
                name => Some(self.sessions.find(name).await?),
            };
            let policy = Policy::new(policy, wanted.platform.as_ref());
            let client = Client::new(self, &wanted, &steps, (&session, &policy), &scratch);
            let Whole { context, filename, text, contexts } = match client.send().await? {
                Sent::Whole(whole) => *whole,
                Sent::Report(report) => return Ok(Verdict::Checked(report)),
            };
            let (secrets, _answering) = ask::link(session.clone());
            let request = build::Request {
                dockerfile: filename,
                text: Some(text),
                contexts,
                target: wanted.target,
                args: wanted.args,
                labels: wanted.labels,
                names,
                platform: wanted.platform,
                no_cache: wanted.no_cache,
                pull: wanted.pull,
                cache_from: wanted.cache_from,
                insecure: wanted.insecure,
                scratch,
                memory: self.engine.build_memory(),
                link: Some(Arc::new(secrets)),
            };
            let surroundings = Surroundings {
                host: wanted.host,
                credentials: Credentials::Asked(ask::credentials(session)),
                permit: Some(policy.permit()),
                keep: false,
                keep_failed: false,
            };
            let listener = |event: Event| steps.hear(event);
            let built = self.engine.build(context, request, surroundings, &listener).await;
            built
                .map(|image| Verdict::Built(Box::new(image)))
                .map_err(|error| status(error.kind(), &error))
        };
        let built = built.await;
        steps.finish(built.as_ref().err().map_or("", Status::message));
        built
    }

    /// `Control/DiskUsage`: what builds keep for the next ones.
    pub(crate) fn usage(&self, request: &DiskUsageRequest) -> Result<DiskUsageResponse, Status> {
        if is_filtered(&request.filter) {
            return Err(unsupported("docker buildx du --filter: Hull's builder lists all"));
        }
        let record = self.engine.cached_steps().into_iter().map(|step| UsageRecord {
            id: step.image.id.to_string(),
            in_use: step.needed,
            size: i64::try_from(step.size).unwrap_or(i64::MAX),
            last_used_at: Some(step.used.into()),
            description: String::new(),
            record_type: "regular".to_owned(),
            shared: false,
        });
        Ok(DiskUsageResponse { record: record.collect() })
    }

    /// `Control/Prune`: takes away what builds keep, and tells what.
    pub(crate) async fn prune(
        self: &Arc<Self>,
        request: PruneRequest,
    ) -> Result<impl Stream<Item = Result<UsageRecord, Status>> + Send + use<>, Status> {
        if is_filtered(&request.filter) {
            return Err(unsupported(
                "docker buildx prune --filter: Hull's builder knows ages and sizes",
            ));
        }
        let natural = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let age = Duration::from_nanos(natural(request.keep_duration));
        let prune = Prune {
            until: (!age.is_zero()).then(|| SystemTime::now().checked_sub(age)).flatten(),
            caches: request.all,
            keep: Keep {
                reserved: natural(request.reserved_space),
                at_most: natural(request.max_used_space),
                free: natural(request.min_free_space),
            },
        };
        let sizes: HashMap<_, _> = self
            .engine
            .cached_steps()
            .into_iter()
            .map(|step| (step.image.id.clone(), step.size))
            .collect();
        let pruned = self.engine.prune_builds(prune).await;
        let pruned = pruned.map_err(|error| status(error.kind(), &error))?;
        let gone = pruned.steps.into_iter().map(move |id| {
            Ok(UsageRecord {
                size: sizes.get(&id).and_then(|size| i64::try_from(*size).ok()).unwrap_or(0),
                id: id.to_string(),
                record_type: "regular".to_owned(),
                ..UsageRecord::default()
            })
        });
        Ok(stream::iter(gone.collect::<Vec<_>>()))
    }
}

/// `Control/ListWorkers`.
pub(crate) fn workers() -> ListWorkersResponse {
    ListWorkersResponse { record: vec![worker()] }
}

/// `Control/Info`.
pub(crate) fn info() -> InfoResponse {
    InfoResponse { version: Some(version()) }
}

/// Who carries builds out: the engine.
pub(crate) fn worker() -> WorkerRecord {
    let Platform { os, architecture, variant, .. } = Platform::host();
    let platform = control::Platform { os, architecture, variant: variant.unwrap_or_default() };
    WorkerRecord {
        id: "hull".to_owned(),
        labels: HashMap::new(),
        platforms: vec![platform],
        version: Some(version()),
    }
}

fn version() -> BuildkitVersion {
    let package = concat!("hull ", env!("CARGO_PKG_VERSION")).to_owned();
    BuildkitVersion { package, version: VERSION.to_owned() }
}

/// Clients send a filter of nothing where none is meant.
fn is_filtered(filter: &[String]) -> bool {
    filter.iter().any(|filter| !filter.is_empty())
}
