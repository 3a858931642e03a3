//! What is run on both ends of a network: a server, and a client that tells how long it needed.
//!
//! This program again, in containers too: with the libraries that it is linked to it is mounted there.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The argument by which this program knows that it is the probe.
pub(crate) const AGAIN: &str = "--networks-probe";
/// Where it is in containers.
pub(crate) const INSIDE: &str = "/probe";

/// Gives back what comes.
const ECHO: u16 = 7;
/// Takes all and then says one byte.
const SINK: u16 = 9;
const CHUNK: usize = 128 << 10;
/// How many ask for names at once.
const ASKERS: usize = 8;
/// After which a query that was not answered is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the server may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// The path of this program.
pub(crate) fn program() -> String {
    env::current_exe().expect("proc is mounted").display().to_string()
}

/// The directories of the libraries that it is linked to.
pub(crate) fn needs() -> Vec<String> {
    let ldd = Command::new("ldd").arg(program()).output().expect("ldd").stdout;
    let text = String::from_utf8_lossy(&ldd);
    let files = text.split_whitespace().filter(|word| word.starts_with('/'));
    let mut found: Vec<_> =
        files.filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned())).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Serves, or asks the server named first and prints how many nanoseconds that took.
pub(crate) fn run(words: &[&str]) {
    let taken = match words {
        ["serve"] => serve(),
        [server, "stream", mebibytes] => stream(server, number(mebibytes)),
        [server, "requests", count] => requests(server, number(count)),
        [server, "names", count] => names(server, number(count)),
        _ => panic!("{words:?} is nothing that the probe does"),
    };
    println!("{}", taken.unwrap_or_else(|error| panic!("{words:?}: {error}")).as_nanos());
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
}

fn serve() -> io::Result<Duration> {
    let echo = TcpListener::bind(("0.0.0.0", ECHO))?;
    let sink = TcpListener::bind(("0.0.0.0", SINK))?;
    thread::spawn(move || each(&echo, |stream| io::copy(&mut &*stream, &mut &*stream)));
    each(&sink, |mut stream| {
        let mut chunk = vec![0; CHUNK];
        while stream.read(&mut chunk)? > 0 {}
        stream.write_all(b".").map(|()| 0)
    })
}

/// Has every connection served on a thread of its own.
fn each(
    listener: &TcpListener,
    serve: impl Fn(&TcpStream) -> io::Result<u64> + Copy + Send + 'static,
) -> io::Result<Duration> {
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        // A client that goes away is none of ours.
        thread::spawn(move || drop(serve(&stream)));
    }
}

fn connect(server: &str, port: u16) -> io::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect((server, port)) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            connected => {
                return connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
            }
        }
    }
}

fn stream(server: &str, mebibytes: usize) -> io::Result<Duration> {
    let mut stream = connect(server, SINK)?;
    let chunk = vec![b'x'; CHUNK];
    let begun = Instant::now();
    for _ in 0..(mebibytes << 20) / CHUNK {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed())
}

fn requests(server: &str, count: usize) -> io::Result<Duration> {
    let mut stream = connect(server, ECHO)?;
    let begun = Instant::now();
    for _ in 0..count {
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(begun.elapsed())
}

fn names(server: &str, count: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let askers = (0..ASKERS).map(|_| scope.spawn(|| ask(server, count / ASKERS)));
        let askers: Vec<_> = askers.collect();
        askers.into_iter().try_for_each(|asker| asker.join().expect("no panic"))
    })?;
    Ok(begun.elapsed())
}

/// Asks for the address of `name`, again and again. Spec: RFC 1035 4.1.
fn ask(name: &str, count: usize) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(AGAIN_AFTER))?;
    let length = u8::try_from(name.len()).expect("a short name");
    for number in 0..count {
        let [high, low] = u16::try_from(number % 0xffff).expect("it fits").to_be_bytes();
        let head = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length];
        let query = [&head, name.as_bytes(), &[0, 0, 1, 0, 1]].concat();
        let mut answer = [0; 512];
        loop {
            socket.send(&query)?;
            match socket.recv(&mut answer) {
                Ok(_) if answer[..2] == query[..2] => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        assert!(answer[7] > 0, "the name server knows no {name}");
    }
    Ok(())
}
