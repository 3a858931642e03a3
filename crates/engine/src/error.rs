//! Why the engine did not do what was asked.

mod networks;

use std::io;
use std::path::PathBuf;

use spec::Kind;
use spec::fault::{self, Fault};

use crate::bundle::user::Error as UserError;
use crate::shim::Error as ShimError;
use crate::store::Error as StoreError;
pub use networks::NetworkError;

/// Why the engine did not do what was asked. The texts are those that Docker's clients know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither an id, nor a prefix of just one, nor a name.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// More than one id begins so.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// The image is not here; the client may pull it.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have \
         to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// It cannot be a name.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// The container's state does not allow it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A field's value makes no sense.
    #[error("Invalid {field}: {problem}")]
    Invalid {
        /// The field, as Docker's API spells it.
        field: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A field's value is right, but Hull cannot do it.
    #[error("{field} is not supported: {problem}")]
    Unsupported {
        /// The field, as Docker's API spells it.
        field: &'static str,
        /// The value, or why.
        problem: String,
    },
    /// A container is not to be on a network, or is not.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The host's policy.
    #[error("isolation {isolation} is not allowed on this host: allowed is {allowed}")]
    IsolationForbidden {
        /// What was asked for.
        isolation: spec::Isolation,
        /// What may be.
        allowed: String,
    },
    /// A port of the host could not be had; the text is Docker's.
    #[error("driver failed programming external connectivity on endpoint {name} ({id})")]
    Publish {
        /// The container's name.
        name: String,
        /// Its id.
        id: String,
        /// Why not.
        source: network::ports::Error,
    },
    /// The table of published ports.
    #[error(transparent)]
    Ports(#[from] network::ports::Error),
    /// Neither a network's name nor its id.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// Names of networks are unique.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// Containers that run are on it.
    #[error("error while removing network: network {name} id {id} has active endpoints")]
    NetworkInUse {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// The name of one that is always there.
    #[error("operation is not permitted on predefined {0} network")]
    PredefinedNetwork(String),
    /// The host refused the bridge when the engine started.
    #[error("network {0} has no bridge: see the engine's log")]
    NoBridge(String),
    /// Every subnet that could be chosen is in use on this host.
    #[error("could not find an available, non-overlapping IPv4 address pool among the defaults")]
    NoSubnet,
    /// The same of IPv6.
    #[error("could not find an available, non-overlapping IPv6 address pool among the defaults")]
    NoSubnet6,
    /// The host does not tell where its routes lead.
    #[error("list the host's addresses and routes")]
    Routes(#[source] io::Error),
    /// The logging driver, or one of its options; the text is Docker's.
    #[error("{0}")]
    Logging(String),
    /// Nothing was kept of a container's output.
    #[error("configured logging driver does not support reading")]
    NoLog,
    /// The container could not be made or started; the text is the runtime's.
    #[error("OCI runtime create failed: {message}")]
    Start {
        /// What the runtime said.
        message: String,
        /// 126 and 127 are told apart by it.
        kind: Kind,
    },
    /// A process could not be made or started in a container; the text is the runtime's.
    #[error("OCI runtime exec failed: exec failed: {message}")]
    Exec {
        /// What the runtime said.
        message: String,
        /// 126 and 127 are told apart by it.
        kind: Kind,
    },
    /// It did not end although it was killed.
    #[error("container {0} did not end within {1} s after SIGKILL")]
    Stubborn(String, u64),
    /// The program's user is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// The shim, other than in a start.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The records.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bridge.
    #[error(transparent)]
    Bridge(#[from] network::bridge::Error),
    /// A container's name server.
    #[error("serve names")]
    NameServer(#[source] io::Error),
    /// A network namespace.
    #[error(transparent)]
    Namespace(#[from] network::netns::Error),
    /// A file of the engine's.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image store cannot be opened.
    #[error(transparent)]
    Images(#[from] image::Error),
    /// No such image, or more than one.
    #[error(transparent)]
    Find(#[from] image::find::Error),
    /// A pull.
    #[error(transparent)]
    Pull(Box<image::pull::Error>),
    /// A push.
    #[error(transparent)]
    Push(Box<image::push::Error>),
    /// A load.
    #[error(transparent)]
    Load(Box<image::load::Error>),
    /// A save.
    #[error(transparent)]
    Save(Box<image::save::Error>),
    /// The image store.
    #[error(transparent)]
    ImageStore(#[from] image::disk::Error),
    /// A registry, other than in a pull or push.
    #[error(transparent)]
    Registry(Box<image::registry::Error>),
    /// An import.
    #[error(transparent)]
    Import(#[from] image::import::Error),
    /// An image's removal.
    #[error(transparent)]
    RemoveImage(#[from] image::remove::Error),
    /// A container's layers.
    #[error(transparent)]
    Layers(#[from] image::hold::Error),
    /// A container has no such file.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchFile {
        /// As asked for.
        path: String,
        /// The container's name as asked for.
        container: String,
    },
    /// A commit.
    #[error(transparent)]
    Commit(#[from] image::commit::Error),
    /// An image was not built.
    #[error(transparent)]
    Build(#[from] build::Error),
    /// What is to be mounted makes no sense; the text is Docker's.
    #[error("{0}")]
    Mount(String),
    /// A volume.
    #[error(transparent)]
    Volume(#[from] crate::volume::Error),
    /// An image's files could not be packed for a volume.
    #[error(transparent)]
    Pack(#[from] tree::pack::Error),
    /// An archive is compressed in a way that is not understood.
    #[error(transparent)]
    Compression(#[from] image::compression::Error),
    /// An archive could not be unpacked.
    #[error(transparent)]
    Extract(#[from] tree::unpack::extract::Error),
    /// The engine is ending.
    #[error("the engine is shutting down")]
    Closing,
}

/// What the container's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Only running containers can be asked this.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It must be thawed first.
    #[error("container {0} is paused, unpause the container first")]
    Paused(String),
    /// It is frozen already.
    #[error("Container {0} is already paused")]
    AlreadyPaused(String),
    /// There is nothing to thaw.
    #[error("Container {0} is not paused")]
    NotPaused(String),
    /// Without force.
    #[error(
        "cannot remove container {0:?}: container is running: stop the container before removing or \
         force remove"
    )]
    RemoveRunning(String),
    /// Without force.
    #[error(
        "cannot remove container {0:?}: container is paused and must be unpaused first: stop the \
         container before removing or force remove"
    )]
    RemovePaused(String),
    /// Whose namespace it is to join does not run.
    #[error("cannot join {0} of a non running container: {1}")]
    JoinStopped(&'static str, String),
    /// Whose processes or memory it is to share does not run.
    #[error("failed to join {0} namespace: container {1} is not running")]
    JoinEnded(&'static str, String),
    /// Others run in the VM that it had.
    #[error(
        "container {id}: its last VM still runs for container {other}, with its disks: stop {other} first"
    )]
    VmShared {
        /// Whose VM it was.
        id: String,
        /// Who is in it.
        other: String,
    },
    /// It is to find another by name, which does not run.
    #[error("Cannot link to a non running container: /{other} AS /{own}/{alias}")]
    LinkStopped {
        /// The other's name.
        other: String,
        /// Its own.
        own: String,
        /// By which it is to find the other.
        alias: String,
    },
    /// Whose interprocess communication it is to join does not offer it.
    #[error(
        "cannot join IPC of container {0}: non-shareable IPC (hint: use IpcMode:shareable for the \
         donor container)"
    )]
    JoinPrivate(String),
    /// It goes when it ends, and would not run again.
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    AutoRemove,
    /// It is between two runs.
    #[error("Container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// Without force.
    #[error(
        "cannot remove container {0:?}: container is restarting: stop the container before removing or \
         force remove"
    )]
    RemoveRestarting(String),
    /// Someone else is at it.
    #[error("removal of container {0} is already in progress")]
    Removing(String),
    /// An exec starts once.
    #[error("exec {0} has already been started")]
    ExecStarted(String),
    /// Its streams are gone.
    #[error("exec {0} is not running")]
    ExecNotRunning(String),
}

impl StateError {
    /// What a caller can do about it. As Docker has it, one whose donor does not run is not at fault.
    fn kind(&self) -> Kind {
        match self {
            Self::JoinEnded(..) => Kind::Internal,
            _ => Kind::Conflict,
        }
    }
}

/// Boxed, as they are far larger than the others.
macro_rules! boxed {
    ($($module:ident, $variant:ident;)*) => {$(
        impl From<image::$module::Error> for Error {
            fn from(error: image::$module::Error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

boxed! {
    pull, Pull;
    push, Push;
    load, Load;
    save, Save;
    registry, Registry;
}

impl Error {
    /// The page for whoever reads it.
    pub fn fault(&self) -> &'static Fault {
        match self {
            Self::NoSuchImage(_) | Self::Find(_) => &fault::NO_IMAGE,
            Self::Pull(error) if error.kind() == Kind::NotFound => &fault::NO_IMAGE,
            Self::NameInUse { .. } => &fault::NAME_IN_USE,
            Self::Publish { source, .. } | Self::Ports(source)
                if source.kind() == Kind::Conflict =>
            {
                &fault::PORT_TAKEN
            }
            Self::IsolationForbidden { .. } => &fault::ISOLATION,
            Self::State(StateError::NotRunning(_) | StateError::Paused(_)) => &fault::STATE,
            Self::Start { message, kind } | Self::Exec { message, kind } => {
                fault::of_text(*kind, message)
            }
            _ if self.is_of_a_registry_out_of_reach() => &fault::NO_REGISTRY,
            _ => fault::of(self.kind(), self),
        }
    }

    fn is_of_a_registry_out_of_reach(&self) -> bool {
        let first: &(dyn std::error::Error + 'static) = self;
        std::iter::successors(Some(first), |&error| error.source())
            .any(<dyn std::error::Error>::is::<image::registry::Cause>)
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchContainer(_)
            | Self::NoSuchExec(_)
            | Self::NoSuchImage(_)
            | Self::NoSuchFile { .. }
            | Self::NoSuchNetwork(_) => Kind::NotFound,
            Self::NetworkExists(_) => Kind::Exists,
            Self::NetworkInUse { .. }
            | Self::PredefinedNetwork(_)
            | Self::IsolationForbidden { .. } => Kind::Denied,
            Self::NoSubnet | Self::NoSubnet6 => Kind::Exhausted,
            Self::Network(error) => error.kind(),
            Self::Publish { source, .. } | Self::Ports(source) => match source.kind() {
                // Docker's clients expect a failure of the engine.
                Kind::Conflict => Kind::Internal,
                kind => kind,
            },
            Self::Commit(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::AmbiguousId(_)
            | Self::Invalid { .. }
            | Self::InvalidName(_)
            | Self::Mount(_)
            | Self::Logging(_) => Kind::Invalid,
            Self::NameInUse { .. } => Kind::Conflict,
            Self::State(error) => error.kind(),
            Self::Unsupported { .. } | Self::NoLog => Kind::Unsupported,
            Self::Start { kind, .. } | Self::Exec { kind, .. } => *kind,
            Self::User(error) => error.kind(),
            Self::Shim(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Bridge(error) => error.kind(),
            Self::Namespace(error) => error.kind(),
            Self::Images(error) => error.kind(),
            Self::Find(error) => error.kind(),
            Self::Pull(error) => error.kind(),
            Self::Push(error) => error.kind(),
            Self::Load(error) => error.kind(),
            Self::Save(error) => error.kind(),
            Self::ImageStore(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::RemoveImage(error) => error.kind(),
            Self::Layers(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Compression(error) => error.kind(),
            Self::Extract(error) => error.kind(),
            Self::Routes(_)
            | Self::NameServer(_)
            | Self::File { .. }
            | Self::Pack(_)
            | Self::Stubborn(..)
            | Self::NoBridge(_) => Kind::Internal,
            Self::Closing => Kind::Unavailable,
        }
    }
}
