//! Making containers: from a request and an image to a record, a directory and an owner.
//!
//! ```text
//!   check, merge with the image  ->  name  ->  layer, volumes  ->  record  ->  owner
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use image::Image;
use spec::Kind;
use spec::kernel::Version;

use crate::config::{
    Attachment, Config, Create, HostConfig, NetworkMode, Share, split_link, usual, wanted,
};
use crate::container::{Container, Files, Status};
use crate::engine::Engine;
use crate::error::{Error, NetworkError};
use crate::hidden::Hidden;
use crate::networks::DEFAULT;
use crate::owner::{Owner, blocking};
use crate::request::Created;
use crate::shared::Shared;
use crate::{cdi, health, merge, names, piercing};

impl Engine {
    /// Makes a container. Nothing of it runs yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchImage`], [`Error::NameInUse`], [`Error::Invalid`] and [`Error::Unsupported`] by
    /// the field's name.
    pub async fn create(&self, request: Create) -> Result<Created, Error> {
        self.create_hiding(request, None).await
    }

    /// The same for a container that is told what no record may hold.
    pub(crate) async fn create_hiding(
        &self,
        request: Create,
        hidden: Option<Hidden>,
    ) -> Result<Created, Error> {
        let Create { name, config, host } = request;
        merge::check(&config, &host)?;
        let image = self.image(&config.image)?;
        let id = names::fresh_id();
        let (mut container, mut warnings) = self.describe(&id, config, host, &image)?;
        container.hidden = hidden;
        container.mounts = self.mount_points(&container)?;
        let (shared, names) = (Arc::clone(self.shared()), container.host.openings.cdi.clone());
        // Described anew at each start; what nobody describes now is told at once.
        blocking(move || cdi::resolve(&shared.settings.cdi_dirs, &names).map(drop)).await?;
        let pierced = self.piercings(&container).await?;
        container.name = self.shared().reserve(name.as_deref(), &id)?;
        // Made by a task of its own: a client that goes away leaves no half container.
        let shared = Arc::clone(self.shared());
        let made = tokio::spawn(async move { make(&shared, container, &image).await });
        made.await.unwrap_or(Err(Error::Closing))?;
        warnings.extend(piercing::warnings(&pierced));
        Ok(Created { id, warnings })
    }

    pub(crate) fn image(&self, name: &str) -> Result<Image, Error> {
        self.shared().images.get(name).map_err(|error| match error.kind() {
            Kind::NotFound => Error::NoSuchImage(with_tag(name)),
            _ => error.into(),
        })
    }

    /// Names whom it joins by id, where that is there already, and takes the name of the network's host.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when whose processes or memory it is to share is not there; whose network it is
    /// to have may come later.
    fn join(&self, config: &mut Config, host: &mut HostConfig) -> Result<(), Error> {
        let openings = &mut host.openings;
        for (field, share) in [("PidMode", &openings.pid), ("IpcMode", &openings.ipc)] {
            if let Share::Container(name) = share {
                let missing = |error: Error| Error::Invalid { field, problem: error.to_string() };
                self.find(name).map_err(missing)?;
            }
        }
        for share in [&mut openings.network, &mut openings.pid, &mut openings.ipc] {
            if let Share::Container(name) = share
                && let Ok(other) = self.find(name)
            {
                *name = other.now().container.id.to_string();
            }
        }
        if !config.hostname.is_empty() {
            return Ok(());
        }
        match &host.openings.network {
            Share::Host => {
                let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                config.hostname = name;
            }
            Share::Container(id) => {
                if let Ok(other) = self.find(id) {
                    config.hostname.clone_from(&other.now().container.config.hostname);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Completes how it is connected, and refuses what cannot be; gives warnings.
    fn connect(&self, host: &mut HostConfig, exposed: &[String]) -> Result<Vec<String>, Error> {
        let published = !wanted(host, exposed)?.is_empty();
        let mode = match (&host.openings.network, &host.network) {
            (Share::Own, NetworkMode::None) => NetworkMode::None.to_string(),
            (Share::Own, mode) => {
                self.place(&mode.clone(), host)?;
                return Ok(self.unpublished(host, published));
            }
            (share, _) => share.to_string(),
        };
        // Clients name the mode once more, without a wish.
        host.attachments.retain(|name, wish| *name != mode || *wish != Attachment::default());
        if let Some(name) = host.attachments.keys().next() {
            let problem = format!("{name}: a container with the network {mode} is on no other");
            return Err(Error::Invalid { field: "NetworkingConfig.EndpointsConfig", problem });
        }
        match host.openings.network {
            Share::Container(_) if published => Err(Error::Invalid {
                field: "HostConfig.PortBindings",
                problem: "conflicting options: port publishing and the container type network mode"
                    .to_owned(),
            }),
            _ if published => {
                Ok(vec![format!("Published ports are discarded when using {mode} network mode")])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Warns where ports are asked for, and no network of its has them.
    fn unpublished(&self, host: &HostConfig, published: bool) -> Vec<String> {
        let macvlan = |name: &String| {
            let site = self.shared().site(name);
            site.is_ok_and(|site| site.bridge.plan().macvlan.is_some())
        };
        let all = !host.attachments.is_empty() && host.attachments.keys().all(macvlan);
        let warning = "Published ports are discarded when using macvlan networks: the container has an \
                       address of its own there";
        if published && all { vec![warning.to_owned()] } else { Vec::new() }
    }

    /// Names the networks it is to be on.
    fn place(&self, mode: &NetworkMode, host: &mut HostConfig) -> Result<(), Error> {
        let given = std::mem::take(&mut host.attachments);
        let given = if given.is_empty() { usual(mode) } else { given };
        for link in &mut host.links {
            *link = self.lasting(link)?;
        }
        for (name, mut attachment) in given {
            let found = self.shared().site(&name);
            if name == DEFAULT {
                attachment.links.extend(host.links.iter().cloned());
            }
            attachment.check()?;
            for link in &attachment.links {
                let (other, _) = split_link(link)?;
                self.find(other).map_err(|error| Error::Invalid {
                    field: "Links",
                    problem: format!("could not get container for {other}: {error}"),
                })?;
            }
            // One that is not there is missed at the start.
            let name = match found {
                Ok(site) => {
                    site.allows(&attachment)?;
                    site.check_names(&attachment, host.isolation.unwrap_or_default())?;
                    site.name
                }
                Err(_) => name,
            };
            let mut others = host.attachments.iter();
            let same = |other: &Attachment| {
                other.interface.is_some() && other.interface == attachment.interface
            };
            if let Some((network, other)) = others.find(|(_, other)| same(other)) {
                let name = other.interface.as_ref().map(ToString::to_string).unwrap_or_default();
                let network = network.clone();
                return Err(NetworkError::DeviceTaken { name, network }.into());
            }
            host.attachments.insert(name, attachment);
        }
        Ok(())
    }

    /// A link that leads to the same container when that has another name: by its id.
    fn lasting(&self, link: &str) -> Result<String, Error> {
        let (name, alias) = split_link(link)?;
        let other = self.find(name).map_err(|error| Error::Invalid {
            field: "Links",
            problem: format!("could not get container for {name}: {error}"),
        })?;
        Ok(format!("{}:{alias}", other.now().container.id))
    }

    /// The record of a container that is to be made.
    fn describe(
        &self,
        id: &str,
        mut config: Config,
        mut host: HostConfig,
        image: &Image,
    ) -> Result<(Container, Vec<String>), Error> {
        health::inherit(&mut config.healthcheck, image.extension.healthcheck.as_ref());
        if config.shell.is_empty() {
            config.shell = image.extension.shell.clone().unwrap_or_default();
        }
        let ((path, args), mut warnings) = merge::merge(&mut config, &image.config)?;
        let walls = &self.shared().settings.walls;
        let isolation = host.isolation.unwrap_or(walls.usual);
        host.isolation = Some(isolation);
        walls.check(isolation)?;
        warnings.extend(walls.of_container(isolation));
        let (os_version, unread) = made_for(image.config.os_version().as_deref());
        warnings.extend(unread);
        merge::check_wall(&host, isolation)?;
        self.join(&mut config, &mut host)?;
        if config.hostname.is_empty() {
            id.get(..12).unwrap_or(id).clone_into(&mut config.hostname);
        }
        self.mark(&mut host, isolation)?;
        warnings.extend(self.connect(&mut host, &config.exposed_ports)?);
        host.resources.complete();
        let logging = host.logging.take().unwrap_or_default();
        let logging = logging.over(&self.shared().settings.logging)?;
        let driver = logging.driver;
        host.logging = Some(logging);
        let places = self.shared().places(id);
        let files = Files {
            log: driver.path(&places.bundle),
            hosts: places.file("hosts"),
            hostname: places.file("hostname"),
            resolv_conf: places.file("resolv.conf"),
            upper: match host.storage_mib {
                // The disk is mounted there while it runs.
                Some(_) if isolation.files_on_host() => places.file("scratch/upper"),
                _ => places.file("upper"),
            },
        };
        let container = Container {
            id: id.parse().expect("64 hexadecimal digits are an id"),
            name: String::new(),
            created: SystemTime::now(),
            image: image.id.to_string(),
            os_version,
            config,
            host,
            isolation,
            path,
            args,
            vm_of: None,
            status: Status::Created,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            restarts: 0,
            stopped_by_hand: false,
            health: None,
            started: None,
            finished: None,
            endpoints: BTreeMap::new(),
            ports: Vec::new(),
            wall: None,
            shim: None,
            execs: Vec::new(),
            hidden: None,
            mounts: Vec::new(),
            files,
        };
        Ok((container, warnings))
    }
}

/// The kernel that an image was made for, and what is said where its `os.version` names none.
fn made_for(version: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(version) = version.filter(|version| !version.is_empty()) else { return (None, None) };
    if Version::parse(version).is_some() {
        return (Some(version.to_owned()), None);
    }
    let unread =
        format!("the image's os.version, {version:?}, is no version of Linux: not checked");
    (None, Some(unread))
}

/// Makes what a container has on disk, and its owner. Its name is reserved.
async fn make(shared: &Arc<Shared>, container: Container, image: &Image) -> Result<(), Error> {
    let (id, name) = (container.id.clone(), container.name.clone());
    let container = match prepare(shared, container, image).await {
        Ok(container) => container,
        Err(error) => {
            shared.release(&name);
            if let Err(error) = shared.images.release(&id).await {
                tracing::warn!(container = %id, %error, "container's directory was not removed");
            }
            return Err(error);
        }
    };
    if let Err(error) = shared.store.put(&container).done().await {
        shared.release(&name);
        shared.drop_volumes(&container, true);
        if let Err(error) = shared.images.release(&id).await {
            tracing::warn!(container = %id, %error, "container's directory was not removed");
        }
        return Err(error.into());
    }
    Owner::spawn(shared, container.clone());
    shared.tell(&container, "create", &[]);
    Ok(())
}

/// Makes the container's directory and its volumes.
async fn prepare(
    shared: &Arc<Shared>,
    mut container: Container,
    image: &Image,
) -> Result<Container, Error> {
    let snapshot = shared.images.prepare(&container.id, &image.id).await?;
    if container.mounts.is_empty() {
        return Ok(container);
    }
    let shared = Arc::clone(shared);
    let take = move || shared.take_volumes(&mut container, &snapshot).map(|()| container);
    blocking(take).await
}

/// As Docker names an image that is not there: with its tag.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}
