//! A wire to a registry that is slow, or breaks off.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it is looked whether the relay ends.
const BEAT: Duration = Duration::from_millis(50);

/// What the wire does to answers.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// Bytes a second.
    pub speed: u64,
    /// Connections that break, and after how many bytes each.
    pub breaks: Option<(u64, u64)>,
}

/// A relay in an engine's network namespace; ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    netns: File,
    to: &'static str,
    wire: Wire,
    ends: AtomicBool,
    broken: AtomicU64,
    carried: AtomicU64,
    asked: Mutex<String>,
}

impl Relay {
    /// Listens at `at` and carries to `to`.
    pub(crate) fn start(netns: &File, at: &str, to: &'static str, wire: Wire) -> Self {
        let listener = sys::netns::within(netns.as_fd(), || TcpListener::bind(at)).expect("free");
        listener.set_nonblocking(true).expect("a socket");
        let shared = Arc::new(Shared {
            netns: netns.try_clone().expect("a descriptor"),
            to,
            wire,
            ends: AtomicBool::new(false),
            broken: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        Self { shared, accepting: Some(accepting) }
    }

    /// Bytes of answers so far.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// All that was asked.
    pub fn asked(&self) -> String {
        self.shared.asked.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut all = Vec::new();
    while !shared.ends.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(BEAT);
            continue;
        };
        let connect = || TcpStream::connect(shared.to);
        let Ok(server) = sys::netns::within(shared.netns.as_fd(), connect) else { continue };
        for stream in [&client, &server] {
            stream.set_nonblocking(false).expect("a socket");
            stream.set_read_timeout(Some(BEAT)).expect("a time");
        }
        let both = (client.try_clone().expect("spare"), server.try_clone().expect("spare"));
        let (asking, answering) = (Arc::clone(shared), Arc::clone(shared));
        all.push(thread::spawn(move || carry(&asking, client, server, note)));
        all.push(thread::spawn(move || carry(&answering, both.1, both.0, slow)));
    }
    for one in all {
        let _ = one.join();
    }
}

/// Carries one way until an end closes, the relay ends or `pass` says so; then both ways are closed.
fn carry(
    shared: &Shared,
    mut from: TcpStream,
    mut to: TcpStream,
    pass: fn(&Shared, &[u8], u64) -> bool,
) {
    let mut piece = vec![0; 16 << 10];
    let mut total = 0;
    while !shared.ends.load(Ordering::Relaxed) {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        total += read as u64;
        if !pass(shared, &piece[..read], total) || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn note(shared: &Shared, piece: &[u8], _: u64) -> bool {
    shared.asked.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(piece));
    true
}

fn slow(shared: &Shared, piece: &[u8], total: u64) -> bool {
    let length = piece.len() as u64;
    thread::sleep(Duration::from_micros(length * 1_000_000 / shared.wire.speed));
    shared.carried.fetch_add(length, Ordering::Relaxed);
    match shared.wire.breaks {
        Some((times, after)) if total > after => {
            shared.broken.fetch_add(1, Ordering::Relaxed) >= times
        }
        _ => true,
    }
}
