//! Sockets of the host's that are seen inside.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use spec::Isolation;
use tests::Host;

use super::detached;

/// The host's own perl, with what it is linked to: busybox speaks to no such socket.
pub(crate) const PERL: [&str; 6] = [
    "-v=/usr:/usr:ro",
    "-v=/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu:ro",
    "-v=/lib64:/lib64:ro",
    "--env=LC_ALL=C",
    "--user=7:8",
    "--workdir=/",
];

/// Opens as many connections as it is told, writes to each and says so, and prints what came back.
const CLIENT: &str = r#"use Socket; my ($path, $many, $size) = @ARGV; my @all;
for my $n (1..$many) {
    socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
    connect($s, sockaddr_un($path)) or die "connect: $!\n";
    push @all, $s;
}
for my $s (@all) {
    my $rest = "x" x $size;
    while (length $rest) { my $n = syswrite($s, $rest) or die "write: $!\n"; substr($rest, 0, $n) = ""; }
    shutdown($s, 1);
}
my %said;
for my $s (@all) { my $got = ""; while (sysread($s, my $part, 65536)) { $got .= $part } $said{$got}++; }
print "$said{$_} times $_\n" for sort keys %said;"#;

/// A server that tells how much it was sent, once the other side has no more.
struct Counter {
    over: Arc<AtomicBool>,
    path: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Counter {
    fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let mode = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(path, mode).expect("a mode");
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let serve = move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream.expect("a connection");
                thread::spawn(move || {
                    let mut sent = Vec::new();
                    stream.read_to_end(&mut sent).expect("read");
                    write!(stream, "{} bytes", sent.len()).expect("it listens");
                    stream.shutdown(Shutdown::Both).expect("ended");
                });
            }
        };
        Self { over, path: path.to_owned(), thread: Some(thread::spawn(serve)) }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = std::os::unix::net::UnixStream::connect(&self.path);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) fn a_socket_of_the_hosts_answers_inside(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join(format!("sockets-{isolation}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("counter");
    let counter = Counter::start(&path);
    let binds =
        [format!("-v={}:/one.sock:ro", path.display()), format!("-v={}:/all", dir.display())];
    let mut flags = PERL.to_vec();
    flags.extend(binds.iter().map(String::as_str));
    let id = detached(host, isolation, &flags, &["sleep", "1000"]);
    let ask = |path: &str, many: &str, size: &str| {
        host.docker(&["exec", &id, "/usr/bin/perl", "-e", CLIENT, path, many, size])
    };
    assert_eq!(ask("/one.sock", "1", "5").ok(), "1 times 5 bytes");
    assert_eq!(ask("/all/counter", "1", "0").ok(), "1 times 0 bytes");
    assert_eq!(ask("/all/counter", "1", "3000000").ok(), "1 times 3000000 bytes");
    assert_eq!(ask("/one.sock", "100", "10").ok(), "100 times 10 bytes");
    let shown =
        host.docker(&["exec", &id, "sh", "-c", "test -S /one.sock && stat -c %a /one.sock"]);
    assert_eq!(shown.ok(), "666");

    // One that nobody listens on any more ends what is begun; a new one is another.
    drop(counter);
    let said = ask("/all/counter", "1", "5");
    assert!(!said.out.contains("bytes"), "{said}");
    std::fs::remove_file(&path).expect("removed");
    let again = Counter::start(&path);
    assert_eq!(ask("/all/counter", "1", "7").ok(), "1 times 7 bytes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    thread::sleep(std::time::Duration::from_millis(200));
    let said = ask("/all/counter", "1", "5").fails(13);
    assert!(said.contains("Permission denied"), "{said}");
    drop(again);
    host.docker(&["rm", "-f", &id]).ok();
}

pub(crate) fn the_engine_can_be_driven_from_inside(host: &mut Host, isolation: Isolation) {
    let socket = host.engine.exec_root().join("hull.sock");
    let bind = format!("-v={}:/hull.sock", socket.display());
    let mut flags = PERL[..4].to_vec();
    flags.push(&bind);
    let id = detached(host, isolation, &flags, &["sleep", "1000"]);
    let ask = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); \
               connect($s, sockaddr_un('/hull.sock')) or die $!; \
               syswrite($s, \"GET /v1.41/containers/json HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n\"); \
               while (sysread($s, my $part, 65536)) { print $part }";
    let said = host.docker(&["exec", &id, "/usr/bin/perl", "-e", ask]).ok();
    assert!(said.contains(&format!("\"Id\":\"{id}\"")), "{said}");
    host.docker(&["rm", "-f", &id]).ok();
}

pub(crate) fn a_fifo_of_the_hosts_passes_bytes_both_ways(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join(format!("fifos-{isolation}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666));
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a FIFO");
    let binds = [format!("-v={}:/one", path.display()), format!("-v={}:/all", dir.display())];
    let flags: Vec<_> = binds.iter().map(String::as_str).collect();
    let id = detached(host, isolation, &flags, &["sleep", "1000"]);
    for inside in ["/one", "/all/fifo"] {
        let reader = host.engine.begin(&["exec", &id, "cat", inside]);
        // This waits for the reader, as the reader does for a writer.
        std::fs::write(&path, "from the host").expect("written");
        assert_eq!(reader.wait().ok(), "from the host");
        let script = format!("echo from inside >{inside}");
        let writer = host.engine.begin(&["exec", &id, "sh", "-c", &script]);
        let got = std::fs::read_to_string(&path).expect("read");
        assert_eq!(got, "from inside\n");
        writer.wait().ok();
    }
    let alone = host.docker(&["exec", &id, "timeout", "1", "cat", "/one"]);
    assert!(alone.code != 0 && alone.out.is_empty(), "{alone}");
    host.docker(&["rm", "-f", &id]).ok();
}
