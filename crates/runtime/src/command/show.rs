//! Commands that only print: `state`, `list`, `ps`, `spec`, version and help.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use container::hook::State;
use container::{Container, Store};
use serde::Serialize;
use spec::ProcessInfo;

use super::Error;
use crate::args::Format;
use crate::log::timestamp;
use crate::table::layout;

const HELP: &str = "\
hull-runtime: runs containers by the OCI runtime specification

usage: hull-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND

  create ID   make a container          --bundle --console-socket --pid-file --preserve-fds
                                        --no-pivot --no-new-keyring
  start ID    execute its program
  run ID      both, and wait            create's flags and --detach --keep
  exec ID ..  run another program       --process --tty --user --additional-gids --cap --env --cwd
                                        --no-new-privs --detach --pid-file --console-socket
                                        --preserve-fds
  kill ID [SIGNAL]                      --all; SIGTERM to its init
  pause ID, resume ID
  delete ID   free what it holds        --force
  state ID    as JSON
  list        all of this root          --format table|json, --quiet
  ps ID       its processes             --format table|json
  spec        write a config.json       --bundle
";

/// `state` and `list` add these to the specification's document, as runc does.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(flatten)]
    state: State,
    rootfs: String,
    created: String,
    owner: String,
}

/// Prints and ends well, or tells why the answer could not be written.
fn print(text: &str) -> Result<u8, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::step("write the answer"))?;
    Ok(0)
}

fn print_json(value: &impl Serialize) -> Result<u8, Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::step("write the answer")(error.into()))?;
    print(&(text + "\n"))
}

fn listed(container: &Container) -> Result<Listed, container::Error> {
    let mut state = container.state()?;
    // runc prints 0 where there is no process.
    state.pid = Some(state.pid.unwrap_or(0));
    let record = container.record();
    Ok(Listed {
        state,
        rootfs: record.rootfs.display().to_string(),
        created: timestamp(record.created),
        owner: String::new(),
    })
}

/// The state document.
pub(super) fn state(container: &Container) -> Result<u8, Error> {
    let id = &container.record().id;
    print_json(&listed(container).map_err(Error::container("state", id))?)
}

/// Every container of the store.
pub(super) fn list(store: &Store, format: Format, quiet: bool) -> Result<u8, Error> {
    let containers = store.list().map_err(Error::List)?;
    if quiet {
        let ids = containers.iter().map(|container| format!("{}\n", container.record().id));
        return print(&ids.collect::<String>());
    }
    // One that is deleted meanwhile is no longer there.
    let mut all: Vec<Listed> = containers.iter().filter_map(|one| listed(one).ok()).collect();
    for (one, container) in all.iter_mut().zip(&containers) {
        let metadata = std::fs::metadata(&container.record().bundle);
        let owner = metadata.map_or(0, |metadata| metadata.uid());
        one.owner = if owner == 0 { "root".into() } else { format!("#{owner}") };
    }
    match format {
        Format::Json if all.is_empty() => print("null\n"),
        Format::Json => {
            let text = serde_json::to_string(&all)
                .map_err(|error| Error::step("write the answer")(error.into()))?;
            print(&(text + "\n"))
        }
        Format::Table => {
            let mut rows = vec![
                ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec(),
            ];
            rows.extend(all.into_iter().map(|one| {
                let bundle = one.state.bundle.display().to_string();
                let pid = one.state.pid.unwrap_or(0).to_string();
                vec![one.state.id, pid, one.state.status, bundle, one.created, one.owner]
            }));
            print(&layout(&rows))
        }
    }
}

/// The container's processes.
pub(super) fn processes(container: &Container, format: Format) -> Result<u8, Error> {
    let id = &container.record().id;
    let list = container.processes().map_err(Error::container("ps", id))?;
    match format {
        Format::Json => {
            let pids: Vec<i32> = list.iter().map(|info| info.pid).collect();
            let text = serde_json::to_string(&pids)
                .map_err(|error| Error::step("write the answer")(error.into()))?;
            print(&(text + "\n"))
        }
        Format::Table => {
            let mut rows =
                vec![["UID", "PID", "PPID", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec()];
            rows.extend(list.iter().map(row));
            print(&layout(&rows))
        }
    }
}

fn row(info: &ProcessInfo) -> Vec<String> {
    let seconds = info.cpu_ms / 1000;
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let command =
        if info.args.is_empty() { format!("[{}]", info.comm) } else { info.args.join(" ") };
    vec![
        info.uid.to_string(),
        info.pid.to_string(),
        info.ppid.to_string(),
        info.tty.clone(),
        time,
        command,
    ]
}

/// Writes a configuration to start from; one that is there is left alone.
pub(super) fn template(bundle: &Path) -> Result<u8, Error> {
    let path = bundle.join("config.json");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(Error::file("make", &path))?;
    file.write_all(include_bytes!("config.json")).map_err(Error::file("write", path))?;
    Ok(0)
}

/// What `runc --version` prints, of this program.
pub(super) fn version() -> Result<u8, Error> {
    print(&format!("hull-runtime version {}\nspec: 1.3.0\n", env!("CARGO_PKG_VERSION")))
}

/// The commands and their flags.
pub(super) fn help() -> Result<u8, Error> {
    print(HELP)
}
