//! The engine's records on disk: `meta.redb`.
//!
//! ```text
//!   put, delete  ->  queue  ->  one thread: everything queued in one transaction  ->  synced
//! ```
//!
//! Whoever must be sure waits for the answer; others go on, as a state that was not written before a
//! crash is found again by asking the shim.
//!
//! Invariant: the names table has exactly the names of the containers table.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use spec::Kind;
use tokio::sync::oneshot;

use crate::container::Container;
use crate::networks::Network;

/// Id to record, JSON.
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
/// Name to id.
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("names");
/// Id of a network to record, JSON.
const NETWORKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("networks");
/// Facts of the engine itself.
const FACTS: TableDefinition<'_, &str, &str> = TableDefinition::new("facts");
/// What the database may keep in memory, in bytes: everything is read once, at the start. The library's own
/// choice is a gigabyte.
const CACHE: usize = 2 << 20;
/// The fact that tells this engine from others.
const ENGINE_ID: &str = "id";

/// The records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("database {}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// A record that is none.
    #[error("record of {id} in the database")]
    Record {
        /// Whose.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The writing thread is gone: it could not be made, or panicked.
    #[error("the database's writer is gone")]
    Writer,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Database { source, .. } => match **source {
                redb::Error::DatabaseAlreadyOpen => Kind::Conflict,
                redb::Error::Io(ref error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    Kind::Exhausted
                }
                _ => Kind::Internal,
            },
            Self::Record { .. } | Self::Writer => Kind::Internal,
        }
    }
}

/// The database, open.
#[derive(Debug)]
pub(crate) struct Store {
    queue: mpsc::Sender<Request>,
    engine_id: String,
}

/// What was in the database when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) containers: Vec<Container>,
    pub(crate) networks: Vec<Network>,
}

/// A change that is on its way; awaited, it is on disk.
#[derive(Debug)]
pub(crate) struct Written(oneshot::Receiver<Result<(), Error>>);

impl Written {
    pub(crate) async fn done(self) -> Result<(), Error> {
        self.0.await.unwrap_or(Err(Error::Writer))
    }
}

#[derive(Debug)]
enum Change {
    Put(Box<Container>),
    Delete(String),
    PutNetwork(Box<Network>),
    DeleteNetwork(String),
    Nothing,
}

#[derive(Debug)]
struct Request {
    change: Change,
    answer: oneshot::Sender<Result<(), Error>>,
}

impl Store {
    /// Opens the database and reads what is there. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, Records), Error> {
        let failed = |error: redb::Error| database(path, error);
        // Environments with passwords lie in it.
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| failed(redb::Error::Io(error)))?;
        let backend = FileBackend::new(file).map_err(|error| failed(error.into()))?;
        let db = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(backend)
            .map_err(|error| failed(error.into()))?;
        let engine_id = prepare(&db).map_err(failed)?;
        let containers = load(&db, path, CONTAINERS)?;
        let networks = load(&db, path, NETWORKS)?;
        let (queue, requests) = mpsc::channel();
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("database".into())
            .spawn(move || write(&db, &path, &requests))
            .map_err(|_| Error::Writer)?;
        Ok((Self { queue, engine_id }, Records { containers, networks }))
    }

    /// An id that is the same for every start of this engine.
    pub(crate) fn engine_id(&self) -> &str {
        &self.engine_id
    }

    /// Writes the record of a container, new or changed.
    pub(crate) fn put(&self, container: &Container) -> Written {
        self.request(Change::Put(Box::new(container.clone())))
    }

    /// Forgets a container.
    pub(crate) fn delete(&self, id: &str) -> Written {
        self.request(Change::Delete(id.to_owned()))
    }

    /// Writes the record of a network.
    pub(crate) fn put_network(&self, network: &Network) -> Written {
        self.request(Change::PutNetwork(Box::new(network.clone())))
    }

    /// Forgets a network.
    pub(crate) fn delete_network(&self, id: &str) -> Written {
        self.request(Change::DeleteNetwork(id.to_owned()))
    }

    /// Nothing; done when everything before it is.
    pub(crate) fn flush(&self) -> Written {
        self.request(Change::Nothing)
    }

    fn request(&self, change: Change) -> Written {
        let (answer, written) = oneshot::channel();
        // A writer that is gone has dropped the answer's sender as well.
        let _ = self.queue.send(Request { change, answer });
        Written(written)
    }
}

fn database(path: &Path, error: redb::Error) -> Error {
    Error::Database { path: path.to_owned(), source: Box::new(error) }
}

fn prepare(db: &Database) -> Result<String, redb::Error> {
    let transaction = db.begin_write()?;
    let id = {
        transaction.open_table(CONTAINERS)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(NETWORKS)?;
        let mut facts = transaction.open_table(FACTS)?;
        let known = facts.get(ENGINE_ID)?.map(|id| id.value().to_owned());
        if let Some(id) = known {
            id
        } else {
            let id = crate::names::fresh_id();
            facts.insert(ENGINE_ID, id.as_str())?;
            id
        }
    };
    transaction.commit()?;
    Ok(id)
}

fn load<T: DeserializeOwned>(
    db: &Database,
    path: &Path,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
) -> Result<Vec<T>, Error> {
    let rows = || -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = db.begin_read()?.open_table(table)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (id, record) = row?;
            rows.push((id.value().to_owned(), record.value().to_owned()));
        }
        Ok(rows)
    };
    rows()
        .map_err(|error| database(path, error))?
        .into_iter()
        .map(|(id, record)| {
            serde_json::from_slice(&record).map_err(|source| Error::Record { id, source })
        })
        .collect()
}

/// Serves requests until the store is dropped.
fn write(db: &Database, path: &Path, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(requests.try_iter()).collect();
        let result = apply(db, &batch);
        if let Err(error) = &result {
            tracing::error!(%error, "records could not be written");
        }
        let failed = result.err().map(|error| error.to_string());
        for request in batch {
            let answer = match &failed {
                None => Ok(()),
                Some(text) => {
                    let error = redb::Error::Io(std::io::Error::other(text.clone()));
                    Err(database(path, error))
                }
            };
            // Who asked may not wait.
            let _ = request.answer.send(answer);
        }
    }
}

fn apply(db: &Database, batch: &[Request]) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    {
        let mut containers = transaction.open_table(CONTAINERS)?;
        let mut names = transaction.open_table(NAMES)?;
        let mut networks = transaction.open_table(NETWORKS)?;
        for request in batch {
            let id = match &request.change {
                Change::Put(container) => container.id.as_str(),
                Change::Delete(id) => id,
                Change::PutNetwork(network) => {
                    let record = serde_json::to_vec(network)
                        .expect("a record is strings and numbers, which always become JSON");
                    networks.insert(network.id.as_str(), record.as_slice())?;
                    continue;
                }
                Change::DeleteNetwork(id) => {
                    networks.remove(id.as_str())?;
                    continue;
                }
                Change::Nothing => continue,
            };
            let old = containers.remove(id)?.and_then(|record| {
                serde_json::from_slice::<Container>(record.value()).ok().map(|old| old.name)
            });
            if let Some(name) = old {
                names.remove(name.as_str())?;
            }
            if let Change::Put(container) = &request.change {
                let record = serde_json::to_vec(container)
                    .expect("a record is strings and numbers, which always become JSON");
                containers.insert(id, record.as_slice())?;
                names.insert(container.name.as_str(), id)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn names(db: &Database) -> Vec<(String, String)> {
        let table = db.begin_read().expect("read").open_table(NAMES).expect("table");
        let row = |(name, id): (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &str>)| {
            (name.value().to_owned(), id.value().to_owned())
        };
        table.iter().expect("rows").map(|pair| row(pair.expect("row"))).collect()
    }

    #[tokio::test]
    async fn records_and_names_outlive_the_engine_and_agree() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("meta.redb");
        let (store, none) = Store::open(&path).expect("new");
        assert!(none.containers.is_empty());
        let id = store.engine_id().to_owned();
        let mut web = sample::container("aa", "web", 1);
        store.put(&web);
        store.put(&sample::container("bb", "db", 2));
        web.name = "front".to_owned();
        store.put(&web);
        store.delete("bb").done().await.expect("written");
        drop(store);
        let reopened = loop {
            // The writer lets go of the file in its own time.
            match Store::open(&path) {
                Ok(reopened) => break reopened,
                Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
            }
        };
        let (store, containers) = reopened;
        assert_eq!(store.engine_id(), id);
        assert_eq!(containers.containers, [web]);
        drop((store, containers));
        let db = loop {
            if let Ok(db) = Database::open(&path) {
                break db;
            }
        };
        assert_eq!(names(&db), [("front".to_owned(), "aa".to_owned())]);
    }
}
