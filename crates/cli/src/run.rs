//! Verbs that run a program: `run`, `create`, `start`, `exec`, `attach`.
//!
//! ```text
//!   create -> attach -> wait (its head) -> start -> streams until the end -> exit status
//! ```
//!
//! The wait is there before the start, so that no end can be missed.

mod body;
mod flags;
mod keys;
mod mounts;
pub(crate) mod ports;

use std::fs;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncReadExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::client::{Client, Page};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::image;
use crate::progress::Progress;
use crate::stream::{self, Ended};
use crate::verb::{Verb, each};
use crate::{output, terminal};

pub(crate) use body::{pairs, restart, ulimit};
use flags::Flags;
pub(crate) use keys::Keys;

/// Keys that leave a container's terminal unless others are named.
const KEYS: &str = "ctrl-p,ctrl-q";
/// Signals that are passed on to the container's program.
const PASSED_ON: [(SignalKind, &str); 6] = [
    (SignalKind::hangup(), "HUP"),
    (SignalKind::interrupt(), "INT"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::terminate(), "TERM"),
    (SignalKind::user_defined1(), "USR1"),
    (SignalKind::user_defined2(), "USR2"),
];

/// `hull create`.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Example:
  hull create --name web -p 8080:80 nginx && hull start web"
)]
pub(crate) struct Create {
    #[command(flatten)]
    flags: Flags,
    /// The image
    #[arg(help_heading = None)]
    image: String,
    /// The program and its arguments, instead of the image's
    #[arg(help_heading = None, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `hull run`.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  hull run --rm alpine uname -r                        the host's kernel
  hull run --rm --isolation=hyperv alpine uname -r     a kernel of its own
  hull run -it --rm alpine sh                          a shell
  hull run -d --name web -p 8080:80 -v data:/data nginx"
)]
pub(crate) struct Run {
    /// Print the id and leave the container running
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = KEYS)]
    detach_keys: String,
    /// Streams to attach to: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    #[command(flatten)]
    pub(crate) create: Create,
}

/// `hull start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Show output until it ends; pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Send standard input too
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = KEYS)]
    detach_keys: String,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = KEYS)]
    detach_keys: String,
    /// Pass signals on
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id
    name: String,
}

/// `hull exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull exec -it web sh
  hull exec -u root -e DEBUG=1 web id")]
pub(crate) struct Exec {
    /// Leave the program running
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = KEYS)]
    detach_keys: String,
    /// Set an environment variable; NAME alone takes ours
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Directory to start in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// The container
    container: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Verb for Create {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        output::line(make(client, &self, false).await?);
        Ok(0)
    }
}

impl Verb for Run {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let flags = &self.create.flags;
        if self.detach && !self.attach.is_empty() {
            return Err(Error::Exclude("--detach", "--attach"));
        }
        if flags.tty && flags.interactive && !self.detach && !terminal::input() {
            return Err(Error::NoTerminal);
        }
        let keys = Keys::parse(&self.detach_keys)?;
        let id = make(client, &self.create, !self.detach).await?;
        if self.detach {
            start(client, &id).await?;
            output::line(id);
            return Ok(0);
        }
        let named = |stream: &str| self.attach.iter().any(|one| one.eq_ignore_ascii_case(stream));
        let all = self.attach.is_empty();
        let streams = Streams {
            stdin: flags.interactive && (all || named("stdin")),
            stdout: all || named("stdout"),
            stderr: all || named("stderr"),
            tty: flags.tty,
            signals: !flags.tty,
            keys,
        };
        let condition = if flags.rm { "removed" } else { "next-exit" };
        streams.follow(client, &id, condition, true).await
    }
}

impl Verb for Start {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if !self.attach && !self.interactive {
            return each(&self.names, |name| async move {
                client.post(&page(name, "start"), &Value::Null).await.map(|_| name.to_owned())
            })
            .await;
        }
        let [name] = self.names.as_slice() else {
            return Err(Error::Argument {
                option: "names",
                value: self.names.join(" "),
                want: "one container with --attach".into(),
            });
        };
        let container = client.get(&page(name, "json")).await?;
        let tty = container["Config"]["Tty"] == true;
        let streams = Streams {
            stdin: self.interactive && container["Config"]["OpenStdin"] == true,
            stdout: true,
            stderr: true,
            tty,
            signals: !tty,
            keys: Keys::parse(&self.detach_keys)?,
        };
        let removed = container["HostConfig"]["AutoRemove"] == true;
        let condition = if removed { "removed" } else { "next-exit" };
        streams.follow(client, name, condition, true).await
    }
}

impl Verb for Attach {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let container = client.get(&page(&self.name, "json")).await?;
        let state = &container["State"];
        let refused = |state: &str| Error::Refused {
            status: 409,
            fault: &spec::fault::STATE,
            message: format!("container {} is {state}: nothing to attach to", self.name),
        };
        if state["Running"] != true {
            return Err(refused("not running"));
        }
        if state["Paused"] == true {
            return Err(refused("paused"));
        }
        let tty = container["Config"]["Tty"] == true;
        let streams = Streams {
            stdin: !self.no_stdin && container["Config"]["OpenStdin"] == true,
            stdout: true,
            stderr: true,
            tty,
            signals: self.sig_proxy && !tty,
            keys: Keys::parse(&self.detach_keys)?,
        };
        streams.follow(client, &self.name, "not-running", false).await
    }
}

impl Verb for Exec {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if self.tty && self.interactive && !self.detach && !terminal::input() {
            return Err(Error::NoTerminal);
        }
        let keys = Keys::parse(&self.detach_keys)?;
        let size = terminal::size().filter(|_| self.tty);
        let attached = !self.detach;
        let body = json!({
            "AttachStdin": attached && self.interactive,
            "AttachStdout": attached,
            "AttachStderr": attached,
            "Cmd": self.command,
            "ConsoleSize": size.map(|(rows, columns)| [rows, columns]),
            "Env": body::environment(&self.env),
            "Privileged": self.privileged,
            "Tty": self.tty,
            "User": self.user,
            "WorkingDir": self.workdir,
        });
        let created = client.post(&page(&self.container, "exec"), &body).await?;
        let id = created["Id"].as_str().unwrap_or_default().to_owned();
        let page = |verb: &str| Page::new(&["exec", &id, verb]);
        let body = json!({ "Detach": self.detach, "Tty": self.tty });
        if self.detach {
            return client.post(&page("start"), &body).await.map(|_| 0);
        }
        let streams = client.hijack(&page("start"), &body).await?;
        let mut beside = JoinSet::new();
        let raw = self.tty && self.interactive;
        let mode = raw.then(terminal::Mode::raw).transpose()?;
        if self.tty {
            beside.spawn(stream::follow_size(client.clone(), page("resize")));
        }
        let keys = self.tty.then_some(keys);
        let ended = stream::connect(streams, self.interactive, self.tty, keys).await?;
        drop(mode);
        if ended == Ended::Left {
            return Ok(0);
        }
        let ended = client.get(&page("json")).await?;
        Ok(status(&ended["ExitCode"]))
    }
}

fn page(name: &str, verb: &str) -> Page {
    Page::new(&["containers", name, verb])
}

/// Which streams are connected, and how.
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    /// Signals that we get are the container's.
    signals: bool,
    keys: Keys,
}

impl Streams {
    /// Connects to a container, starts it if asked to, and follows it to its end; gives its exit status.
    async fn follow(
        self,
        client: &Client,
        name: &str,
        condition: &str,
        starts: bool,
    ) -> Result<u8, Error> {
        let switch = |on: bool| if on { "1" } else { "0" };
        let attach = page(name, "attach").query(&[
            ("stream", "1"),
            ("stdin", switch(self.stdin)),
            ("stdout", switch(self.stdout)),
            ("stderr", switch(self.stderr)),
        ]);
        let streams = client.hijack(&attach, &Value::Null).await?;
        let wait = page(name, "wait").query(&[("condition", condition)]);
        let waiting = client.stream(Method::POST, &wait).await?;
        if starts {
            start(client, name).await?;
        }
        let mut beside = JoinSet::new();
        let raw = self.tty && self.stdin && terminal::input();
        let mode = raw.then(terminal::Mode::raw).transpose()?;
        if self.tty {
            beside.spawn(stream::follow_size(client.clone(), page(name, "resize")));
        }
        if self.signals {
            pass_signals_on(&mut beside, client, &page(name, "kill"));
        }
        let keys = self.tty.then_some(self.keys);
        let ended = stream::connect(streams, self.stdin, self.tty, keys).await?;
        drop(mode);
        if ended == Ended::Left {
            return Ok(0);
        }
        exit_status(waiting).await
    }
}

async fn exit_status(mut waiting: impl AsyncBufRead + Unpin) -> Result<u8, Error> {
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.map_err(Error::file("wait for the container"))?;
    let ended: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
    if let Some(message) = ended["Error"]["Message"].as_str().filter(|text| !text.is_empty()) {
        let fault = spec::fault::of_text(spec::Kind::Internal, message);
        return Err(Error::Refused { status: 500, fault, message: message.to_owned() });
    }
    Ok(status(&ended["StatusCode"]))
}

/// Makes a container, fetching its image if that is not here; gives its id.
async fn make(client: &Client, create: &Create, attached: bool) -> Result<String, Error> {
    let flags = &create.flags;
    let body = body::body(flags, &create.image, &create.command, attached)?;
    if let Some(file) = flags.cidfile.as_ref().filter(|file| fs::exists(file).unwrap_or(false)) {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Error::file(file)(exists));
    }
    let named = [("name", &flags.name), ("platform", &flags.platform)];
    let named: Vec<_> =
        named.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let page = Page::new(&["containers", "create"]).query(&named);
    if flags.pull == "always" {
        pull(client, create).await?;
    }
    let created = match client.post(&page, &body).await {
        Err(Error::Refused { status: 404, message, .. })
            if flags.pull != "never" && message.to_lowercase().contains("no such image") =>
        {
            eprintln!("Unable to find image '{}' locally", image::tagged(&create.image));
            pull(client, create).await?;
            client.post(&page, &body).await?
        }
        answer => answer?,
    };
    for warning in created["Warnings"].as_array().into_iter().flatten() {
        eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
    }
    let id = created["Id"].as_str().unwrap_or_default().to_owned();
    if let Some(file) = &flags.cidfile {
        fs::write(file, &id).map_err(Error::file(file))?;
    }
    Ok(id)
}

async fn pull(client: &Client, create: &Create) -> Result<(), Error> {
    let auth = Credentials::for_image(&create.image)?;
    let platform = create.flags.platform.as_deref();
    image::fetch(client, &create.image, platform, auth.as_deref(), Progress::errors()).await
}

async fn start(client: &Client, id: &str) -> Result<(), Error> {
    let started = client.post(&page(id, "start"), &Value::Null).await;
    started.map(drop).map_err(|error| match error {
        Error::Refused { message, fault, .. } => {
            Error::Start { code: start_code(&message), fault, message }
        }
        error => error,
    })
}

/// The exit status for a start that failed, which the API tells by its text alone.
fn start_code(message: &str) -> u8 {
    let holds = |part: &&str| message.contains(part);
    if ["executable file not found", "no such file or directory"].iter().any(holds) {
        127
    } else if ["permission denied", "is a directory", "exec format error"]
        .iter()
        .any(|part| message.to_lowercase().contains(part))
    {
        126
    } else {
        125
    }
}

/// Sends what we are sent to the container.
fn pass_signals_on(work: &mut JoinSet<()>, client: &Client, kill: &Page) {
    for (kind, name) in PASSED_ON {
        let Ok(mut received) = signal(kind) else { continue };
        let (client, page) = (client.clone(), kill.clone().query(&[("signal", name)]));
        work.spawn(async move {
            while received.recv().await.is_some() {
                // One that has ended in the meantime needs no signal.
                let _ = client.post(&page, &Value::Null).await;
            }
        });
    }
}

fn status(value: &Value) -> u8 {
    value.as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_failed_has_a_shells_exit_status() {
        for (message, code) in [
            ("exec: \"nope\": executable file not found in $PATH", 127),
            ("exec: \"/nope\": stat /nope: no such file or directory", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("no memory left", 125),
        ] {
            assert_eq!(start_code(message), code, "{message}");
        }
    }
}
