//! What a shim leaves in its bundle while it is there.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// How long a shim may take to end, and how often that is looked at.
const FAREWELL: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);
/// The files that `start` leaves; the address is the last that an ending shim takes away.
const ADDRESS: &str = "address";
const FILES: [&str; 3] = [ADDRESS, "shim.pid", "shim.json"];

/// Whether a shim may be there that no record names: the files that `start` leaves are, or a `start` is
/// at work.
pub(crate) fn left(bundle: &Path) -> bool {
    let at_work = || {
        let locked = |dir: File| matches!(dir.try_lock(), Err(TryLockError::WouldBlock));
        File::open(bundle).is_ok_and(locked)
    };
    // The lock first: what is at work now has written its files when it is not any more.
    at_work() || FILES.iter().any(|name| bundle.join(name).exists())
}

/// Waits until an ending shim has taken its address away, so that nobody who starts the next one finds it.
pub(crate) async fn until_gone(bundle: &Path) {
    let address = bundle.join(ADDRESS);
    let gone = async {
        while address.exists() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(FAREWELL, gone).await.is_err() {
        tracing::warn!(bundle = %bundle.display(), "shim does not end");
    }
}
