//! The handle that fronts hold.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::Stream;
use spec::Signal;

use crate::attach::Attached;
use crate::config::Size;
use crate::container::{Container, Status};
use crate::error::{Error, StateError};
use crate::event::Events;
use crate::list;
use crate::log::{self, LogLine, LogRequest};
use crate::logging::LogDriver;
use crate::owner::{Handle, blocking};
use crate::recover;
use crate::request::{
    Change, Condition, Exec, ExecCreate, ExecStart, Info, List, Remove, Stop, Streams, Top, Waited,
};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::top;

/// Seconds that `stop` waits where nobody says.
const STOP_TIMEOUT: i64 = 10;
/// Seconds in which a killed container must have ended.
const KILL_PATIENCE: u64 = 10;

/// The engine. Clones are handles to the same one.
///
/// `name` is always a name (with or without Docker's slash), an id, or a prefix of just one id; where
/// none matches the error is [`Error::NoSuchContainer`].
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// A container's log, line by line.
pub type Logs = Pin<Box<dyn Stream<Item = Result<LogLine, Error>> + Send>>;
/// Resolves when what was waited for happens.
pub type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

impl Engine {
    /// Opens the database, takes up what the last engine left (reconnects to shims, buries the dead,
    /// collects orphans) and is ready. To be called once for the same roots, on a tokio runtime.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        recover::open(settings).await.map(|shared| Self { shared })
    }

    /// Returns when everything is on disk, and networks that no container is on are put away. Containers go
    /// on, on theirs.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.store.flush().done().await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.put_bridges_away();
            Ok(())
        })
        .await
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The id of the network behind the bridge: 64 hexadecimal digits.
    pub fn network_id(&self) -> String {
        self.shared.network_id()
    }

    /// What the bridge is like.
    pub fn plan(&self) -> &network::Plan {
        self.shared.bridge.plan()
    }

    /// Runs it. On failure it is as before, with the exit code 126 or 127 for a command that cannot
    /// be executed, and nothing runs; if it is `auto_remove` it is removed.
    pub async fn start(&self, name: &str) -> Result<Change, Error> {
        self.find(name)?.ask(|owner| Box::pin(owner.start())).await
    }

    /// Sends its stop signal, waits, kills it, and waits for its end.
    pub async fn stop(&self, name: &str, how: Stop) -> Result<Change, Error> {
        self.stop_handle(&self.find(name)?, how).await
    }

    async fn stop_handle(&self, handle: &Handle, how: Stop) -> Result<Change, Error> {
        // After what it was asked before: a start that is under way counts.
        handle.ask(|_| Box::pin(std::future::ready(Ok(())))).await?;
        let life = handle.now();
        if !life.container.status.is_up() {
            return Ok(Change::Already);
        }
        let config = &life.container.config;
        let signal = how.signal.or(config.stop_signal).unwrap_or(Signal::TERM);
        let timeout = how.timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        unless_ended(handle.ask(move |owner| Box::pin(owner.kill(signal))).await)?;
        if let Status::Paused { .. } = life.container.status {
            // A frozen program cannot act on the signal; that it ended meanwhile does not matter.
            let _ = handle.ask(|owner| Box::pin(owner.freeze(false))).await;
        }
        let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
        if !ended(handle, life.ends, patience).await {
            unless_ended(kill_and_wait(handle).await)?;
        }
        self.shared.tell(&life.container, "stop", &[]);
        Ok(Change::Done)
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, name: &str, how: Stop) -> Result<(), Error> {
        let handle = self.find(name)?;
        keep(&handle, true).await?;
        if let Err(error) = self.stop_handle(&handle, how).await {
            // It goes on, and its end is one like any other.
            keep(&handle, false).await?;
            return Err(error);
        }
        handle.ask(|owner| Box::pin(owner.start())).await?;
        self.shared.tell(&handle.now().container, "restart", &[]);
        Ok(())
    }

    /// Sends a signal, SIGKILL if `None`; does not wait, except that after SIGKILL it has ended.
    pub async fn kill(&self, name: &str, signal: Option<Signal>) -> Result<(), Error> {
        let handle = self.find(name)?;
        match signal.unwrap_or(Signal::KILL) {
            Signal::KILL => kill_and_wait(&handle).await,
            signal => handle.ask(move |owner| Box::pin(owner.kill(signal))).await,
        }
    }

    /// Freezes its processes.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.find(name)?.ask(|owner| Box::pin(owner.freeze(true))).await
    }

    /// Thaws them.
    pub async fn unpause(&self, name: &str) -> Result<(), Error> {
        self.find(name)?.ask(|owner| Box::pin(owner.freeze(false))).await
    }

    /// Gives it another name.
    pub async fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let handle = self.find(name)?;
        let now = handle.now().container;
        if new.strip_prefix('/').unwrap_or(new) == now.name {
            let problem = "Renaming a container with the same name as its current name".to_owned();
            return Err(Error::Invalid { field: "name", problem });
        }
        let id = now.id.to_string();
        let new = self.shared.reserve(Some(new), &id)?;
        handle.ask(move |owner| Box::pin(owner.rename(new))).await
    }

    /// Takes it away with everything it holds.
    pub async fn remove(&self, name: &str, how: Remove) -> Result<(), Error> {
        let handle = self.find(name)?;
        loop {
            match handle.ask(move |owner| Box::pin(owner.remove(how.volumes))).await {
                Err(Error::State(
                    StateError::RemoveRunning(_)
                    | StateError::RemovePaused(_)
                    | StateError::RemoveRestarting(_),
                )) if how.force => {
                    unless_ended(kill_and_wait(&handle).await)?;
                }
                // It removed itself at its end.
                Err(Error::NoSuchContainer(_)) if how.force => return Ok(()),
                removed => return removed,
            }
        }
    }

    /// Begins to wait: when this returns, no end is missed any more, and the answer's headers can be
    /// sent. The inner future resolves when the condition is met.
    #[expect(clippy::unused_async, reason = "as its neighbours, for fronts")]
    pub async fn wait(&self, name: &str, condition: Condition) -> Result<Waiting, Error> {
        let mut life = self.find(name)?.watch();
        let first = life.borrow().ends;
        Ok(Box::pin(async move {
            let met = life
                .wait_for(|life| match condition {
                    Condition::NotRunning => {
                        life.gone || life.ends > first || !life.container.status.is_up()
                    }
                    Condition::NextExit => life.gone || life.ends > first,
                    Condition::Removed => life.gone,
                })
                .await
                .map(|life| life.container.exit_code);
            if let Ok(code) = met {
                return Waited { code, error: None };
            }
            let error = Some(Error::Closing.to_string());
            Waited { code: life.borrow().container.exit_code, error }
        }))
    }

    /// Everything about it.
    pub async fn inspect(&self, name: &str) -> Result<Container, Error> {
        self.find(name)?.ask(|owner| Box::pin(async { Ok(owner.describe()) })).await
    }

    /// The containers that match, newest first.
    #[expect(clippy::unused_async, reason = "as its neighbours, for fronts")]
    pub async fn list(&self, which: List) -> Result<Vec<Container>, Error> {
        let all = self.shared.all().iter().map(|handle| handle.now().container).collect();
        let known = |name: &str| self.find(name).map(|handle| handle.now().container.created);
        let mut which = which;
        for name in &mut which.network {
            // By its beginning too; by what a container may have said itself.
            if let Ok(network) = self.shared.networks.find(name) {
                *name = network.name;
            } else if name.len() >= 12 && self.network_id().starts_with(name.as_str()) {
                "bridge".clone_into(name);
            }
        }
        let image =
            |name: &str| self.shared.images.get(name).ok().map(|image| image.id.to_string());
        list::select(all, &which, known, image)
    }

    /// The containers that it was linked to on the default network, each with the name that it finds it
    /// by; without those that are gone.
    pub fn links(&self, container: &Container) -> Vec<(Arc<Container>, String)> {
        self.shared.links(container)
    }

    /// Every link to a container: the id it leads to, and its name in Docker's lists, `/own/alias`.
    pub fn names_by_links(&self) -> Vec<(String, String)> {
        let named = self.shared.all().into_iter().flat_map(|handle| {
            let own = handle.now().container;
            let links = self.shared.links(&own).into_iter();
            let name = own.name.clone();
            links.map(move |(other, alias)| (other.id.to_string(), format!("/{name}/{alias}")))
        });
        named.collect()
    }

    /// Its log. With `follow` the stream ends with the container's run.
    #[expect(clippy::unused_async, reason = "as its neighbours, for fronts")]
    pub async fn logs(&self, name: &str, which: LogRequest) -> Result<Logs, Error> {
        let life = self.find(name)?.watch();
        if life.borrow().container.logging().driver == LogDriver::None {
            return Err(Error::NoLog);
        }
        Ok(log::read(life, which))
    }

    /// Takes a place at its streams. If it is not started yet, the line opens with its start and
    /// misses nothing.
    pub async fn attach(&self, name: &str, streams: Streams) -> Result<Attached, Error> {
        self.find(name)?.ask(move |owner| Box::pin(owner.attach(streams))).await
    }

    /// Tells that a client left its terminal by the keys for that.
    pub fn detached(&self, name: &str) {
        if let Ok(handle) = self.find(name) {
            self.shared.tell(&handle.now().container, "detach", &[]);
        }
    }

    /// Tells that a client left an exec's terminal by the keys for that.
    pub fn exec_detached(&self, id: &str) {
        if let Ok((id, handle)) = self.shared.find_exec(id) {
            self.shared.tell(&handle.now().container, "exec_detach", &[("execID", id)]);
        }
    }

    /// Sets its terminal's size; before the start, the size it will start with.
    pub async fn resize(&self, name: &str, size: Size) -> Result<(), Error> {
        self.find(name)?.ask(move |owner| Box::pin(owner.resize(size))).await
    }

    /// Its processes, as `ps` with these arguments would print them; empty means `-ef`.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<Top, Error> {
        let format = top::Format::parse(ps_args)?;
        let handle = self.find(name)?;
        let processes = handle.ask(|owner| Box::pin(owner.processes())).await?;
        let snapshot = self.shared.images.snapshot(&handle.now().container.id)?;
        let accounts = crate::owner::blocking(move || crate::bundle::accounts(&snapshot)).await?;
        Ok(format.print(&processes, &accounts, SystemTime::now()))
    }

    /// Prepares a process in a running container; gives the exec's id.
    pub async fn exec_create(&self, name: &str, request: ExecCreate) -> Result<String, Error> {
        let handle = self.find(name)?;
        handle.ask(move |owner| Box::pin(owner.exec_create(request))).await
    }

    /// Starts it. Gives the line to its streams unless `detach`; the line is open and misses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Exec`] with kind `CommandNotFound` or `CommandNotExecutable`: the exec has then the
    /// exit code 127 or 126. Docker's clients expect to read this error *in the stream*, and the
    /// code from the exec's inspection; all other errors before it.
    pub async fn exec_start(&self, id: &str, how: ExecStart) -> Result<Option<Attached>, Error> {
        let (id, handle) = self.shared.find_exec(id)?;
        handle.ask(move |owner| Box::pin(owner.exec_start(id, how))).await
    }

    /// What became of it.
    pub async fn exec_inspect(&self, id: &str) -> Result<Exec, Error> {
        let (id, handle) = self.shared.find_exec(id)?;
        handle.ask(move |owner| Box::pin(async move { owner.exec_inspect(&id) })).await
    }

    /// Sets its terminal's size.
    pub async fn exec_resize(&self, id: &str, size: Size) -> Result<(), Error> {
        let (id, handle) = self.shared.find_exec(id)?;
        handle.ask(move |owner| Box::pin(owner.exec_resize(id, size))).await
    }

    /// Facts for `info`.
    #[expect(clippy::unused_async, reason = "as its neighbours, for fronts")]
    pub async fn info(&self) -> Result<Info, Error> {
        let all: Vec<_> = self.shared.all().iter().map(|handle| handle.now().container).collect();
        let count = |test: fn(Status) -> bool| all.iter().filter(|one| test(one.status)).count();
        let mut oldest_first: Vec<_> = all.iter().collect();
        oldest_first.sort_by_key(|one| one.started);
        let walls = oldest_first
            .into_iter()
            .filter_map(|one| Some((one.isolation.to_string(), one.wall.clone()?)))
            .collect();
        Ok(Info {
            running: count(|status| matches!(status, Status::Running { .. })),
            paused: count(|status| matches!(status, Status::Paused { .. })),
            stopped: count(|status| !status.is_live()),
            images: self.shared.images.list().len(),
            usual: self.shared.settings.walls.clone(),
            logging: self.shared.settings.logging.driver,
            listeners: self.shared.broker.listeners(),
            data_root: self.shared.settings.data_root.clone(),
            walls,
            id: self.shared.store.engine_id().to_owned(),
            labels: self.labels(),
        })
    }

    /// Listens. With `since`, kept events of the past come first.
    pub fn events(&self, since: Option<SystemTime>) -> Events {
        self.shared.broker.subscribe(since)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn find(&self, name: &str) -> Result<Handle, Error> {
        self.shared.find(name)
    }
}

/// Has an `auto_remove` container survive its next end, or not.
async fn keep(handle: &Handle, keep: bool) -> Result<(), Error> {
    handle
        .ask(move |owner| {
            owner.keep(keep);
            Box::pin(std::future::ready(Ok(())))
        })
        .await
}

/// Kills it and waits for its end. One that ended by itself is waited for too: until its owner knows,
/// it counts as running, and whoever starts it next would be told that it does.
async fn kill_and_wait(handle: &Handle) -> Result<(), Error> {
    let before = handle.now().ends;
    let killed = handle.ask(|owner| Box::pin(owner.kill(Signal::KILL))).await;
    if !matches!(killed, Ok(()) | Err(Error::State(StateError::NotRunning(_)))) {
        return killed;
    }
    if ended(handle, before, Some(Duration::from_secs(KILL_PATIENCE))).await {
        return killed;
    }
    Err(Error::Stubborn(handle.now().container.id.to_string(), KILL_PATIENCE))
}

/// It ended by itself just now, or even removed itself: what was wanted is so.
fn unless_ended(killed: Result<(), Error>) -> Result<(), Error> {
    match killed {
        Err(Error::State(StateError::NotRunning(_)) | Error::NoSuchContainer(_)) => Ok(()),
        killed => killed,
    }
}

/// Whether it has ended more than `before` times, or does not run, within `patience`.
pub(crate) async fn ended(handle: &Handle, before: u64, patience: Option<Duration>) -> bool {
    let mut life = handle.watch();
    let over =
        life.wait_for(|life| life.gone || life.ends > before || !life.container.status.is_live());
    match patience {
        Some(patience) => tokio::time::timeout(patience, over).await.is_ok(),
        None => over.await.is_ok(),
    }
}
