//! A registry of a few pages, which answers as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// Method and path, with the query.
    pub(crate) line: String,
    /// The header's value.
    pub(crate) authorization: String,
    /// The first byte that is wanted.
    pub(crate) offset: usize,
    pub(crate) body: String,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// The length that the header promises; `None` for one that never ends.
    pub(crate) promised: Option<usize>,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::with(200, body)
    }

    pub(crate) fn with(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), promised: Some(body.len()), body }
    }

    pub(crate) fn header(mut self, header: String) -> Self {
        self.headers.push(header);
        self
    }

    /// The rest of `body` from `offset` on, at most `most` bytes of it before the connection breaks.
    pub(crate) fn cut(body: &[u8], offset: usize, most: usize) -> Self {
        let rest = &body[offset.min(body.len())..];
        let header = format!("Content-Range: bytes {offset}-{}/{}", body.len() - 1, body.len());
        let status = if offset > 0 { 206 } else { 200 };
        Self {
            status,
            headers: vec![header],
            promised: Some(rest.len()),
            body: rest[..rest.len().min(most)].to_vec(),
        }
    }
}

/// The registry; it ends with the test's process.
pub(crate) struct Liar {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Liar {
    pub(crate) fn new(answer: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, heard) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                thread::spawn(move || {
                    if let Some(question) = read(&stream) {
                        heard.lock().expect("no panic").push(question.clone());
                        write(stream, &answer(&question));
                    }
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}/app:1", self.port)
    }

    /// All questions whose line holds `word`.
    pub(crate) fn asked(&self, word: &str) -> Vec<Question> {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|question| question.line.contains(word)).cloned().collect()
    }
}

fn read(stream: &TcpStream) -> Option<Question> {
    let mut input = BufReader::new(stream);
    let mut question = Question::default();
    let mut length = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        let Some((key, value)) = line.split_once(": ") else {
            if line.is_empty() {
                break;
            }
            line.trim_end_matches(" HTTP/1.1").clone_into(&mut question.line);
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut question.authorization),
            "content-length" => length = value.parse().ok()?,
            "range" => {
                let offset = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                question.offset = offset.parse().ok()?;
            }
            _ => {}
        }
    }
    input.take(length).read_to_string(&mut question.body).ok()?;
    Some(question)
}

fn write(mut stream: TcpStream, reply: &Reply) {
    let length = match reply.promised {
        Some(length) => format!("Content-Length: {length}\r\n"),
        None => String::new(),
    };
    let headers = [&["Connection: close".to_owned()], &reply.headers[..]].concat().join("\r\n");
    let head = format!("HTTP/1.1 {} X\r\n{length}{headers}\r\n\r\n", reply.status);
    let mut sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body));
    while reply.promised.is_none() && sent.is_ok() {
        sent = stream.write_all(&[b' '; 4096]);
    }
    if reply.promised.is_some_and(|length| length > reply.body.len()) {
        // What was sent has arrived before the connection is gone.
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    spec::Digest::from_sha256(Sha256::digest(bytes).into()).to_string()
}

/// An image of one layer, whose parts a test may spoil.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
}

impl Parts {
    /// One file of `size` bytes that do not compress.
    pub(crate) fn new(size: usize) -> Self {
        let mut seed = 1_u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_le_bytes()[3]
        };
        let bytes: Vec<u8> = (0..size).map(|_| noise()).collect();
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "file", &bytes[..]).expect("to memory");
        let archive = archive.into_inner().expect("to memory");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&archive).expect("to memory");
        Self::of(gzip.finish().expect("to memory"), &digest(&archive))
    }

    /// A layer with the digest that its archive is said to have.
    pub(crate) fn of(layer: Vec<u8>, diff_id: &str) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        Self::described(layer, &config)
    }

    pub(crate) fn described(layer: Vec<u8>, config: &Value) -> Self {
        let config = config.to_string().into_bytes();
        let kind = "application/vnd.oci.image";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": format!("{kind}.manifest.v1+json"),
            "config": {
                "mediaType": format!("{kind}.config.v1+json"),
                "digest": digest(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": format!("{kind}.layer.v1.tar+gzip"),
                "digest": digest(&layer), "size": layer.len(),
            }],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer }
    }

    /// The honest answer.
    pub(crate) fn answer(&self, question: &Question) -> Reply {
        if question.line.contains("/manifests/") {
            Reply::ok(&self.manifest[..])
        } else if question.line.contains(&digest(&self.config)) {
            Reply::ok(&self.config[..])
        } else if question.line.contains(&digest(&self.layer)) {
            Reply::cut(&self.layer, question.offset, usize::MAX)
        } else {
            Reply::with(404, "")
        }
    }

    pub(crate) fn is_layer(&self, question: &Question) -> bool {
        question.line.contains(&digest(&self.layer))
    }
}
