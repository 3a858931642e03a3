//! A real registry on a loopback port, with images made by umoci and pushed by skopeo.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use image::{Images, Progress, Registries};
use tempfile::TempDir;

/// `secret` for the user `me`, as htpasswd has it.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// The lower layer of most images.
pub(crate) const BASE: &str =
    "mkdir -p bin etc; echo base >etc/motd; echo gone >etc/old; echo sh >bin/sh";

/// A running docker-registry; killed when dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
}

impl Registry {
    /// Starts one; `None` when it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts one that lets in nobody but `me`.
    pub(crate) fn start_closed() -> Option<Self> {
        Self::start_with("auth: {htpasswd: {realm: hull, path: htpasswd}}\n")
    }

    fn start_with(more: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: storage}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n{more}"
        );
        fs::write(dir.path().join("config.yml"), config).expect("write");
        fs::write(dir.path().join("htpasswd"), HTPASSWD).expect("write");
        let started = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self { process, port, dir })
    }

    /// `127.0.0.1:PORT/NAME`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Pushes a layout's image with skopeo. Returns its manifest's digest.
    pub(crate) fn push(&self, layout: &Layout, name: &str, options: &[&str]) -> String {
        let (from, to) = (layout.source(), format!("docker://{}", self.name(name)));
        let mut args = vec!["copy", "-q", "--dest-tls-verify=false", "--dest-creds=me:secret"];
        args.extend(options);
        args.extend([from.as_str(), to.as_str()]);
        run("skopeo", &args);
        let args = ["inspect", "--raw", "--tls-verify=false", "--creds=me:secret", &to];
        let manifest = run("skopeo", &args);
        let sum = self.dir.path().join("manifest");
        fs::write(&sum, manifest).expect("write");
        let sum = run("sha256sum", &[sum.to_str().expect("text")]);
        format!("sha256:{}", &sum[..64])
    }

    /// Stores a manifest as it is.
    pub(crate) fn put(&self, name: &str, tag: &str, kind: &str, manifest: &str) {
        let request = format!(
            "PUT /v2/{name}/manifests/{tag} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{manifest}",
            manifest.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("receive");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// The file in which the registry keeps a blob.
    pub(crate) fn blob(&self, hex: &str) -> PathBuf {
        let storage = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        storage.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// An image as umoci makes it.
pub(crate) struct Layout {
    dir: TempDir,
}

impl Layout {
    /// An image of these layers (shell scripts that fill the working directory), lowest first.
    pub(crate) fn new(architecture: &str, layers: &[&str]) -> Self {
        let layout = Self { dir: tempfile::tempdir().expect("temporary directory") };
        let path = layout.dir.path().join("oci");
        let (path, image) = (path.to_str().expect("text"), format!("{}:x", path.display()));
        run("umoci", &["init", "--layout", path]);
        run("umoci", &["new", "--image", &image]);
        for (i, script) in layers.iter().enumerate() {
            let root = layout.dir.path().join(format!("root{i}"));
            let tar = layout.dir.path().join(format!("{i}.tar"));
            fs::create_dir(&root).expect("create");
            let (root, tar) = (root.to_str().expect("text"), tar.to_str().expect("text"));
            run("sh", &["-ec", &format!("cd {root}\n{script}")]);
            run(
                "tar",
                &["-C", root, "--numeric-owner", "--mtime=@0", "--sort=name", "-cf", tar, "."],
            );
            run("umoci", &["raw", "add-layer", "--image", &image, tar]);
        }
        let cmd = ["--config.cmd", "/bin/sh", "--architecture", architecture, "--os", "linux"];
        run("umoci", &[&["config", "--image", &image][..], &cmd].concat());
        layout
    }

    fn source(&self) -> String {
        format!("oci:{}:x", self.dir.path().join("oci").display())
    }
}

/// Forwards a port to another, and breaks the first connection that carried this many bytes.
pub(crate) struct Breaking {
    pub(crate) port: u16,
    pub(crate) broke: Arc<AtomicBool>,
}

impl Breaking {
    pub(crate) fn before(port: u16, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let own = listener.local_addr().expect("bound").port();
        let broke = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&broke);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let flag = Arc::clone(&flag);
                let server = TcpStream::connect(("127.0.0.1", port)).expect("connect");
                let (from, to) =
                    (client.try_clone().expect("dup"), server.try_clone().expect("dup"));
                thread::spawn(move || forward(from, to, usize::MAX, &AtomicBool::new(true)));
                thread::spawn(move || forward(server, client, bytes, &flag));
            }
        });
        Self { port: own, broke }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, most: usize, broke: &AtomicBool) {
    let mut carried = 0;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        carried += read;
        if carried > most && !broke.swap(true, Ordering::SeqCst) {
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// A store in a directory of its own.
pub(crate) struct Root {
    pub(crate) dir: TempDir,
    pub(crate) images: Images,
}

impl Root {
    pub(crate) fn new() -> Self {
        Self::with(Registries::default())
    }

    pub(crate) fn with(registries: Registries) -> Self {
        Self::at(tempfile::tempdir().expect("temporary directory"), registries)
    }

    pub(crate) fn at(dir: TempDir, registries: Registries) -> Self {
        let images = Images::open(dir.path(), registries).expect("open");
        Self { dir, images }
    }

    /// The same store after a restart.
    pub(crate) fn reopen(&self) -> Images {
        Images::open(self.dir.path(), Registries::default()).expect("open")
    }

    /// Names in a directory of the store.
    pub(crate) fn list(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(dir)).expect("list");
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until no blob or layer is half there. Threads that write hear a moment later that a pull has ended.
    pub(crate) fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let half = || {
            let names = ["content/ingest", "snapshots"].map(|dir| self.list(dir)).concat();
            names.into_iter().filter(|name| name.contains(".tmp")).collect::<Vec<_>>()
        };
        while !half().is_empty() {
            assert!(Instant::now() < end, "left: {:?}", half());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// That nothing is left of any image.
    pub(crate) fn assert_empty(&self) {
        for dir in ["content/blobs/sha256", "content/ingest", "snapshots"] {
            assert_eq!(self.list(dir), [""; 0], "{dir}");
        }
    }
}

/// Keeps what a pull tells, each as docker would print it.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn hear(&self, progress: Progress) {
        let id = progress.id.map(|id| format!("{id}: ")).unwrap_or_default();
        self.0.lock().expect("no panic").push(format!("{id}{}", progress.status));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }
}

/// A loopback port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("bound").port()
}

/// An error with its causes, as a front prints it.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads a file below `dir`.
pub(crate) fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect(name)
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
