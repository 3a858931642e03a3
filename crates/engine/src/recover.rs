//! Opening the engine: taking up what the last one left.
//!
//! ```text
//!   directories, database, images, bridge
//!     ->  addresses of all records claimed
//!     ->  each record: shim there?  running: watch it; ended: take its exit code
//!                      gone?        bury it, 137
//!     ->  namespaces, sockets and directories without a record removed
//!     ->  in the background: what its policy starts with the engine
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use image::Images;
use network::{Bridge, Layout, Namespaces, Plan, Subnet};

use crate::container::Container;
use crate::error::Error;
use crate::networks::{Networks, of_default};
use crate::owner::{Handle, Owner, blocking};
use crate::settings::{Places, Settings};
use crate::shared::Shared;
use crate::shim;
use crate::shm;
use crate::staged;
use crate::store::{Records, Store};
use crate::volume::Volumes;

/// How many containers are started at once.
const AT_ONCE: usize = 8;

/// Opens everything and takes up the records.
pub(crate) async fn open(settings: Settings) -> Result<Arc<Shared>, Error> {
    let (shared, containers) = blocking(move || stores(settings)).await?;
    let shared = Arc::new(shared);
    let mut handles = Vec::new();
    for container in containers {
        shared.adopt_volumes(&container);
        handles.push(Owner::spawn(&shared, container));
    }
    for handle in &handles {
        handle.ask(|owner| Box::pin(owner.take_up())).await?;
    }
    collect(&shared).await;
    let of_networks = Arc::clone(&shared);
    blocking(move || {
        crate::owner::egress::collect(&of_networks);
        Ok(())
    })
    .await?;
    tokio::spawn(resume(handles));
    Ok(shared)
}

/// Starts those whose policy says so; nobody waits for them.
async fn resume(handles: Vec<Handle>) {
    let each = stream::iter(handles).map(|handle| async move {
        // One that was removed meanwhile is not to be started.
        let _ = handle.ask(|owner| Box::pin(owner.resume_by_policy())).await;
    });
    each.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Blocks.
fn stores(settings: Settings) -> Result<(Shared, Vec<Container>), Error> {
    for dir in [&settings.data_root, &settings.containers()] {
        directory(dir, 0o710)?;
    }
    for dir in [&settings.exec_root, &settings.streams(), &settings.shim_address(), &settings.shm()]
    {
        directory(dir, 0o711)?;
    }
    directory(&settings.mounts(), 0o700)?;
    let (store, Records { containers, networks }) = Store::open(&settings.database())?;
    let images = Images::open(&settings.data_root, settings.registries.clone())?;
    let volumes = Volumes::open(settings.volumes())?;
    let namespaces = Namespaces::at(settings.netns())?;
    let invalid = |field, problem: String| Error::Invalid { field, problem };
    let name = settings.bridge.parse();
    let name =
        name.map_err(|error: network::name::InvalidName| invalid("--bridge", error.to_string()))?;
    let subnet = settings.subnet.parse::<Subnet>();
    let subnet =
        subnet.map_err(|error: network::address::Error| invalid("--subnet", error.to_string()))?;
    let subnet6 = match &settings.subnet6 {
        _ if !settings.ipv6 => None,
        None => Some(of_default(store.engine_id())),
        Some(text) => Some(text.parse().map_err(|error: network::address::Error| {
            invalid("--fixed-cidr-v6", error.to_string())
        })?),
    };
    let plan = Plan { layout6: subnet6.map(Layout::from), ..Layout::from(subnet).into() };
    let bridge = Bridge::ensure(&name, plan)?;
    let networks = Networks::take_up(networks);
    let shared = Shared::new(settings, store, images, volumes, namespaces, bridge, networks);
    for container in &containers {
        for (network, endpoint) in &container.endpoints {
            let Ok(site) = shared.site(network) else { continue };
            if let Err(error) = site.bridge.adopt(&container.id, endpoint) {
                // Another subnet than before: the container keeps what it has until it ends.
                tracing::warn!(container = %container.id, error = %spec::chain(&error), "address kept");
            }
        }
        shared.ports.adopt(&container.id, &container.ports);
    }
    shared.ports.restore()?;
    Ok((shared, containers))
}

fn directory(path: &Path, mode: u32) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode).create(path).map_err(|source| Error::File {
        action: "make",
        path: path.to_owned(),
        source,
    })
}

/// Removes what belongs to no record: an engine died between making it and writing the record, or
/// between removing the record and it.
async fn collect(shared: &Arc<Shared>) {
    let known = shared.ids();
    for id in names_in(&shared.settings.containers()) {
        if !known.contains(&id) {
            remove_orphan(shared, &id).await;
        }
    }
    for id in names_in(&shared.settings.netns()).into_iter().filter(|id| !known.contains(id)) {
        let Ok(container) = id.parse() else { continue };
        if let Err(error) = shared.namespaces.delete(&container) {
            tracing::warn!(id, error = %spec::chain(&error), "orphaned network namespace");
        }
    }
    for id in names_in(&shared.settings.shm()).into_iter().filter(|id| !known.contains(id)) {
        if let Err(error) = shm::unmount(&shared.settings.shm().join(&id)) {
            tracing::warn!(id, error = %spec::chain(&error), "orphaned shared memory");
        }
    }
    for id in names_in(&shared.settings.mounts()).into_iter().filter(|id| !known.contains(id)) {
        if let Err(error) = staged::unmount(&shared.settings.mounts().join(&id)) {
            tracing::warn!(id, error = %spec::chain(&error), "orphaned mounts");
        }
    }
    let used: Vec<_> = known.iter().map(|id| Places::of(&shared.settings, id).streams).collect();
    for name in names_in(&shared.settings.streams()) {
        let path = shared.settings.streams().join(name);
        if !used.contains(&path) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

async fn remove_orphan(shared: &Arc<Shared>, id: &str) {
    let Ok(container) = id.parse() else { return };
    let places = shared.places(id);
    if shim::left(&places.bundle)
        && let Err(error) = shim::bury(&shared.settings, id, &places.bundle).await
    {
        tracing::warn!(id, error = %spec::chain(&error), "orphaned shim");
    }
    match shared.images.release(&container).await {
        Ok(()) => tracing::info!(id, "removed a container's directory without a record"),
        Err(error) => tracing::warn!(id, error = %spec::chain(&error), "orphaned directory"),
    }
}

/// The names of what is in a directory, if they can be ids.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
