//! What a guest may ask, and what a hostile one gets.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Once;

use proptest::prelude::*;
use rustix::fs::Mode;
use tempfile::TempDir;

use super::*;
use crate::node::ROOT;

/// A shared directory with a secret beside it, and a server of the first.
struct Trial {
    dir: TempDir,
    server: Server<Vec<u8>>,
}

/// Paths to nodes are relative to it.
fn enter_own_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::env::set_current_dir("/proc/self/fd").expect("proc is mounted"));
}

impl Trial {
    fn new() -> Self {
        enter_own_files();
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("secret"), "untouched").expect("a file");
        fs::create_dir(dir.path().join("shared")).expect("a directory");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir.path().join("shared"), flags, Mode::empty()).expect("open");
        let server = Server::new(root, 1000, Vec::new()).expect("a root");
        Self { dir, server }
    }

    fn shared(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("shared").join(name)
    }

    fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.server.serve(&Request::new(opcode, node, body.to_vec()))? {
            Answer(reply) => Ok(reply.0),
            Silence => Ok(Vec::new()),
        }
    }

    fn look_up(&mut self, parent: u64, name: &CStr) -> Result<u64, Errno> {
        let entry = self.ask(1, parent, name.to_bytes_with_nul())?;
        Ok(u64::from_ne_bytes(entry[..8].try_into().expect("a number")))
    }

    fn open(&mut self, node: u64) -> Result<u64, Errno> {
        let opened = self.ask(14, node, &words(&[0, 0]))?;
        Ok(u64::from_ne_bytes(opened[..8].try_into().expect("a handle")))
    }

    fn read(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        let handle = self.open(node)?;
        self.ask(15, node, &[&longs(&[handle, 0])[..], &words(&[100, 0, 0, 0, 0, 0])].concat())
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    Reply::default().words(words).0
}

fn longs(longs: &[u64]) -> Vec<u8> {
    Reply::default().longs(longs).0
}

#[test]
fn what_is_written_is_read_and_is_whose_it_was_made_by() {
    let mut trial = Trial::new();
    let create = [&words(&[libc::O_RDWR.unsigned_abs(), 0o100_640, 0, 0])[..], b"new\0"].concat();
    let made = trial.ask(35, ROOT, &create).expect("created");
    let node = u64::from_ne_bytes(made[..8].try_into().expect("a number"));
    let handle = u64::from_ne_bytes(made[128..136].try_into().expect("a handle"));
    let head = [&longs(&[handle, 0])[..], &words(&[4, 0, 0, 0, 0, 0])].concat();
    trial.ask(16, node, &[&head[..], b"text"].concat()).expect("written");
    assert_eq!(trial.read(node).expect("read"), b"text");
    let seen = fs::metadata(trial.shared("new")).expect("there");
    assert_eq!((seen.mode() & 0o7777, seen.len()), (0o640, 4));
}

#[test]
fn no_name_leads_out() {
    let mut trial = Trial::new();
    symlink("../secret", trial.shared("up")).expect("a link");
    symlink(trial.dir.path(), trial.shared("away")).expect("a link");
    for name in [c"..", c".", c"../secret", c"/etc", c"", c"a/../../secret"] {
        assert!(trial.look_up(ROOT, name).is_err(), "{name:?}");
    }
    for name in [c"up", c"away"] {
        let link = trial.look_up(ROOT, name).expect("the link itself");
        assert_eq!(trial.open(link), Err(Errno::ACCESS), "{name:?}");
        assert!(trial.look_up(link, c"secret").is_err(), "{name:?}");
        assert!(trial.ask(4, link, &chmod(0o777)).is_err(), "{name:?}");
    }
    let create = [&words(&[libc::O_RDWR.unsigned_abs(), 0o100_600, 0, 0])[..], b"up\0"].concat();
    assert!(trial.ask(35, ROOT, &create).is_err(), "a link is not written through");
    let secret = fs::read_to_string(trial.dir.path().join("secret")).expect("there");
    assert_eq!(secret, "untouched");
}

fn chmod(mode: u32) -> Vec<u8> {
    let mut body = words(&[1, 0]);
    body.extend(longs(&[0; 6]));
    body.extend(words(&[0, 0, 0, mode, 0, 0, 0, 0]));
    body
}

#[test]
fn a_directory_that_is_swapped_for_a_link_stays_what_it_was() {
    let mut trial = Trial::new();
    fs::create_dir(trial.shared("d")).expect("a directory");
    fs::write(trial.shared("d/secret"), "inside").expect("a file");
    let node = trial.look_up(ROOT, c"d").expect("there");
    fs::rename(trial.shared("d"), trial.shared("moved")).expect("renamed");
    symlink(trial.dir.path(), trial.shared("d")).expect("a link");
    let secret = trial.look_up(node, c"secret").expect("that of the directory");
    assert_eq!(trial.read(secret).expect("read"), b"inside");
    assert!(trial.look_up(node, c"..").is_err());
}

#[test]
fn races_for_a_name_end_inside() {
    let mut trial = Trial::new();
    fs::create_dir(trial.shared("real")).expect("a directory");
    fs::write(trial.shared("real/secret"), "inside").expect("a file");
    let (real, link) = (trial.shared("real"), trial.shared("link"));
    symlink(trial.dir.path(), &link).expect("a link");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &real, cwd, &link, exchange).expect("swapped");
            }
        }
    });
    let mut inside = 0;
    for _ in 0..5_000 {
        let Ok(node) = trial.look_up(ROOT, c"real") else { continue };
        if let Ok(secret) = trial.look_up(node, c"secret") {
            assert_eq!(trial.read(secret).expect("read"), b"inside");
            inside += 1;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().expect("swapped");
    assert!(inside > 0, "it was a directory half of the time");
}

#[test]
fn devices_are_neither_made_nor_opened_and_fifos_hold_nobody_up() {
    let mut trial = Trial::new();
    for mode in [0o020_666_u32, 0o060_666, 0o040_755, 0o120_777] {
        let body = [&words(&[mode, 0x103, 0, 0])[..], b"node\0"].concat();
        assert_eq!(trial.ask(8, ROOT, &body), Err(Errno::PERM), "{mode:o}");
    }
    let (device, null) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    let path = trial.shared("null");
    match rustix::fs::mknodat(rustix::fs::CWD, &path, device, Mode::from_raw_mode(0o666), null) {
        Err(Errno::PERM) => eprintln!("skipped: needs root to make a device"),
        made => {
            made.expect("made");
            let node = trial.look_up(ROOT, c"null").expect("it is seen");
            assert_eq!(trial.open(node), Err(Errno::ACCESS));
        }
    }
    let body = [&words(&[0o010_644, 0, 0, 0])[..], b"fifo\0"].concat();
    trial.ask(8, ROOT, &body).expect("made");
    let fifo = trial.look_up(ROOT, c"fifo").expect("there");
    assert_eq!(trial.open(fifo), Err(Errno::ACCESS));
}

#[test]
fn a_hard_link_has_its_files_number_and_a_directory_has_none() {
    let mut trial = Trial::new();
    fs::write(trial.shared("a"), "").expect("a file");
    fs::create_dir(trial.shared("d")).expect("a directory");
    let (file, dir) = (trial.look_up(ROOT, c"a"), trial.look_up(ROOT, c"d"));
    let (file, dir) = (file.expect("there"), dir.expect("there"));
    let link = |to: u64, name: &[u8]| [&longs(&[to])[..], name].concat();
    trial.ask(13, ROOT, &link(file, b"b\0")).expect("linked");
    assert_eq!(trial.look_up(ROOT, c"b"), Ok(file));
    assert_eq!(trial.ask(13, ROOT, &link(dir, b"e\0")), Err(Errno::PERM));
    assert_eq!(trial.ask(13, ROOT, &link(999, b"e\0")), Err(Errno::STALE));
}

#[test]
fn what_is_forgotten_is_closed() {
    let mut trial = Trial::new();
    for n in 0..100 {
        fs::write(trial.shared(&n.to_string()), "").expect("a file");
    }
    let of = |trial: &Trial| {
        let shared = fs::canonicalize(trial.shared("")).expect("there");
        let links = fs::read_dir("/proc/self/fd").expect("proc").flatten();
        links.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(&shared))).count()
    };
    let before = of(&trial);
    let mut nodes = Vec::new();
    for n in 0..100 {
        let name = std::ffi::CString::new(n.to_string()).expect("digits");
        nodes.push(trial.look_up(ROOT, &name).expect("there"));
    }
    assert_eq!(of(&trial), before + 100);
    let mut many = words(&[100, 0]);
    for node in &nodes {
        many.extend(longs(&[*node, 1]));
    }
    trial.ask(42, 0, &many).expect("forgotten");
    assert_eq!(of(&trial), before);
    assert_eq!(trial.open(nodes[0]), Err(Errno::STALE));
}

#[test]
fn marks_of_the_hosts_own_are_neither_set_nor_shown() {
    let mut trial = Trial::new();
    fs::write(trial.shared("a"), "").expect("a file");
    let node = trial.look_up(ROOT, c"a").expect("there");
    for name in [&b"trusted.overlay.opaque"[..], b"security.selinux", b"system.posix_acl_access"] {
        let body = [&words(&[1, 0])[..], name, b"\0y"].concat();
        assert_eq!(trial.ask(21, node, &body), Err(Errno::OPNOTSUPP));
        assert!(trial.ask(22, node, &[&words(&[10, 0])[..], name, b"\0"].concat()).is_err());
    }
}

#[test]
fn others_locks_are_seen_and_given_back_when_a_process_closes() {
    let mut trial = Trial::new();
    fs::write(trial.shared("a"), "text").expect("a file");
    let node = trial.look_up(ROOT, c"a").expect("there");
    let handle = trial.open(node).expect("open");
    let wish = |owner: u64, kind: i32| {
        let range = longs(&[handle, owner, 0, i64::MAX.cast_unsigned()]);
        [&range[..], &words(&[kind.unsigned_abs(), 0, 0, 0])].concat()
    };
    trial.ask(32, node, &wish(1, libc::F_WRLCK)).expect("locked");
    trial.ask(32, node, &wish(1, libc::F_WRLCK)).expect("its own again");
    assert_eq!(trial.ask(32, node, &wish(2, libc::F_WRLCK)), Err(Errno::AGAIN));
    trial.ask(25, node, &longs(&[handle, 0, 1])).expect("closed");
    trial.ask(32, node, &wish(2, libc::F_WRLCK)).expect("free");
    // Who waits is answered when it takes the wish back.
    trial.ask(33, node, &wish(3, libc::F_WRLCK)).expect("silence");
    trial.ask(36, 0, &longs(&[1])).expect("interrupted");
    let answered = || lock(&trial.server.out).len() == 16;
    let begun = std::time::Instant::now();
    while !answered() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "no answer");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = i32::from_ne_bytes(lock(&trial.server.out)[4..8].try_into().expect("four"));
    assert_eq!(error, -libc::EINTR);
}

/// What is answered later to a request, without its header.
fn later(trial: &Trial) -> Vec<u8> {
    let begun = std::time::Instant::now();
    loop {
        let said = std::mem::take(&mut *lock(&trial.server.out));
        if !said.is_empty() {
            return said[16..].to_vec();
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "no answer");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_fifo_of_the_hosts_waits_for_its_other_end_and_for_bytes() {
    let mut trial = Trial::new();
    let path = trial.shared("fifo");
    let (cwd, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(cwd, &path, fifo, Mode::from_raw_mode(0o600), 0).expect("made");
    let entry = trial.ask(1, ROOT, b"fifo\0").expect("there");
    let mode = u32::from_ne_bytes(entry[100..104].try_into().expect("four"));
    assert_eq!(mode & 0o170_000, 0o100_000, "it looks like a file");
    let node = u64::from_ne_bytes(entry[..8].try_into().expect("a number"));
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes[..8].try_into().expect("a number"));

    let waits = trial.ask(14, node, &words(&[0, 0])).expect("later");
    assert!(waits.is_empty() && lock(&trial.server.out).is_empty(), "nobody writes yet");
    let mut writer = fs::File::options().write(true).open(&path).expect("there is a reader");
    std::io::Write::write_all(&mut writer, b"hello").expect("written");
    let handle = number(&later(&trial));
    let read = [&longs(&[handle, 0])[..], &words(&[100, 0, 0, 0, 0, 0])].concat();
    assert_eq!(trial.ask(15, node, &read).expect("at once"), b"hello");
    assert!(trial.ask(15, node, &read).expect("later").is_empty());
    std::io::Write::write_all(&mut writer, b"more").expect("written");
    assert_eq!(later(&trial), b"more");
    drop(writer);
    let end = trial.ask(15, node, &read).expect("the end");
    assert!(end.is_empty() && lock(&trial.server.out).is_empty());
    trial.ask(18, node, &longs(&[handle, 0, 0])).expect("closed");

    let for_writing = libc::O_WRONLY.unsigned_abs();
    let impatient = words(&[for_writing | libc::O_NONBLOCK.unsigned_abs(), 0]);
    assert_eq!(trial.ask(14, node, &impatient), Err(Errno::NXIO));
    trial.ask(14, node, &words(&[for_writing, 0])).expect("later");
    let mut reader = fs::File::open(&path).expect("there is a writer soon");
    let handle = number(&later(&trial));
    let head = [&longs(&[handle, 0])[..], &words(&[5, 0, 0, 0, 0, 0])].concat();
    trial.ask(16, node, &[&head[..], b"there"].concat()).expect("written");
    trial.ask(18, node, &longs(&[handle, 0, 0])).expect("closed");
    let mut got = String::new();
    std::io::Read::read_to_string(&mut reader, &mut got).expect("read");
    assert_eq!(got, "there");
    // One that waits can be taken back.
    trial.ask(14, node, &words(&[0, 0])).expect("later");
    trial.ask(36, 0, &longs(&[1])).expect("interrupted");
    assert!(later(&trial).is_empty());
}

#[test]
fn a_read_never_gives_more_than_was_agreed() {
    let mut trial = Trial::new();
    fs::write(trial.shared("big"), vec![1; 1 << 20]).expect("a file");
    let node = trial.look_up(ROOT, c"big").expect("there");
    let handle = trial.open(node).expect("open");
    let read = [&longs(&[handle, 0])[..], &words(&[u32::MAX, 0, 0, 0, 0, 0])].concat();
    assert_eq!(trial.ask(15, node, &read).expect("read").len(), MAX_DATA as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever bytes come, there is an answer or an errno, and nothing beside the share is touched.
    #[test]
    fn any_request_is_answered(
        opcode in 1_u32..60,
        node in 0_u64..6,
        body in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut trial = Trial::new();
        fs::write(trial.shared("a"), "x").expect("a file");
        fs::create_dir(trial.shared("b")).expect("a directory");
        trial.look_up(ROOT, c"a").expect("there");
        trial.look_up(ROOT, c"b").expect("there");
        let _ = trial.ask(opcode, node, &body);
        let secret = trial.dir.path().join("secret");
        prop_assert_eq!(fs::read_to_string(&secret).expect("there"), "untouched");
        let mode = fs::metadata(&secret).expect("there").permissions().mode();
        prop_assert_eq!(mode & 0o777, 0o644);
        // The share itself may have been given any mode; it must go with the test.
        let _ = fs::set_permissions(Path::new(&trial.shared("")), fs::Permissions::from_mode(0o755));
    }
}
