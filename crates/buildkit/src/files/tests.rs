use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use super::*;

/// What a client hears, and what it says.
struct Client {
    heard: Streaming<Packet>,
    say: mpsc::Sender<Result<Packet, Status>>,
}

impl Client {
    async fn say(&self, packet: Packet) {
        // Who has heard enough has gone.
        self.says(packet).await;
    }

    /// Whether somebody hears it.
    async fn says(&self, packet: Packet) -> bool {
        self.say.send(Ok(packet)).await.is_ok()
    }

    async fn list(&self, files: &[(&'static str, u32, i64)]) {
        for (path, mode, size) in files {
            let stat =
                Stat { path: (*path).to_owned(), mode: *mode, size: *size, ..Stat::default() };
            self.say(Packet { stat: Some(stat), ..Packet::default() }).await;
        }
        self.say(Packet::default()).await;
    }

    async fn data(&self, id: u32, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.say(Packet { r#type: PacketType::Data.into(), id, data, ..Packet::default() }).await;
    }

    /// The next request; `None` when no more come.
    async fn asked(&mut self) -> Option<u32> {
        let packet = self.heard.message().await.ok()??;
        (packet.r#type() == PacketType::Request).then_some(packet.id)
    }

    async fn finish(&self) {
        self.say(Packet { r#type: PacketType::Finish.into(), ..Packet::default() }).await;
    }
}

/// Takes in the files of a client that does as `script` says.
async fn taken<F>(script: impl FnOnce(Client) -> F + Send + 'static) -> Result<Context, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(1 << 20);
    let script = Arc::new(Mutex::new(Some(script)));
    let service = service_fn(move |request| {
        let script = Arc::clone(&script);
        async move {
            let call = tower::service_fn(move |asked: tonic::Request<Streaming<Packet>>| {
                let script = Arc::clone(&script);
                async move {
                    let (say, said) = mpsc::channel(16);
                    let script = script.lock().await.take().expect("one call");
                    tokio::spawn(script(Client { heard: asked.into_inner(), say }));
                    Ok::<_, Status>(tonic::Response::new(ReceiverStream::new(said)))
                }
            });
            let mut grpc = Grpc::new(ProstCodec::<Packet, Packet>::default());
            Ok::<_, Infallible>(grpc.streaming(call, request).await)
        }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(far), service));
    let (session, ended) = Session::open(near).await.expect("a session");
    tokio::spawn(ended);
    let scratch = tempfile::tempdir().expect("a directory");
    let wanted = Wanted { dir: "context", only: &[], but: &["*.o".to_owned()] };
    receive(&session, &wanted, scratch.path(), |_| ()).await
}

const FILE: u32 = 0o644;

#[tokio::test]
async fn what_comes_crosswise_is_kept_in_order() {
    let (large, piece) = (9 << 20, vec![7; 1 << 15]);
    let context = taken(move |mut client| async move {
        let files = [
            ("a", FILE, 3),
            ("d", go::DIRECTORY | 0o755, 4096),
            ("d/empty", FILE, 0),
            ("d/large", FILE, large),
            ("z", FILE, 4),
        ];
        client.list(&files).await;
        // The large one does not fit the window, so only when it is whole the last is asked for.
        assert_eq!(client.asked().await, Some(0));
        client.data(0, b"one").await;
        client.data(0, b"").await;
        assert_eq!(client.asked().await, Some(3));
        for _ in 0..large >> 15 {
            client.data(3, &piece).await;
        }
        client.data(3, b"").await;
        assert_eq!(client.asked().await, Some(4));
        client.data(4, b"la").await;
        client.data(4, b"st").await;
        client.data(4, b"").await;
        assert_eq!(client.asked().await, None);
        client.finish().await;
    });
    let context = context.await.expect("a context");
    let text = |name: &str| context.text(name).expect("readable");
    assert_eq!(text("a").as_deref(), Some(&b"one"[..]));
    assert_eq!(text("d/empty").as_deref(), Some(&b""[..]));
    assert_eq!(text("z").as_deref(), Some(&b"last"[..]));
    assert!(context.text("d/large").is_err(), "too long for a text");
    assert_eq!(text("d"), None);

    let crosswise = taken(|mut client| async move {
        client.list(&[("a", FILE, 2), ("b", FILE, 2)]).await;
        assert_eq!((client.asked().await, client.asked().await), (Some(0), Some(1)));
        for (id, data) in [(1, "b"), (0, "a"), (1, "B"), (1, ""), (0, "A"), (0, "")] {
            client.data(id, data.as_bytes()).await;
        }
        assert_eq!(client.asked().await, None);
        client.finish().await;
    });
    let crosswise = crosswise.await.expect("a context");
    assert_eq!(crosswise.text("a").expect("readable").as_deref(), Some(&b"aA"[..]));
    assert_eq!(crosswise.text("b").expect("readable").as_deref(), Some(&b"bB"[..]));
}

/// Paths, modes and sizes.
type Files = &'static [(&'static str, u32, i64)];
/// Pieces, and of which file each is.
type Data = &'static [(u32, &'static [u8])];

/// What is said of a client that lists these files, and sends these data unasked.
async fn refused(files: Files, data: Data) -> String {
    let taken = taken(move |mut client| async move {
        client.list(files).await;
        for (id, data) in data {
            client.data(*id, data).await;
        }
        while client.asked().await.is_some() {}
        client.finish().await;
    });
    taken.await.expect_err("refused").message().to_owned()
}

#[tokio::test]
async fn a_hostile_client_gets_one_error() {
    let cases: [(Files, Data, &str); 8] = [
        (&[("../out", FILE, 1)], &[(0, b"x"), (0, b"")], "leads out of the build context"),
        (&[("a/../../out", FILE, 0)], &[], "leads out of the build context"),
        (&[("fifo", go::FIFO, 0)], &[], "a FIFO"),
        (&[("disk", go::DEVICE, 0)], &[], "a device"),
        (&[("a", FILE, 1)], &[(0, b"two")], "changed while it was sent"),
        (&[("a", FILE, 2)], &[(0, b"x"), (0, b"")], "changed while it was sent"),
        (&[("a", FILE, 1)], &[(7, b"x")], "not asked for"),
        (&[("a", FILE, 0), ("a/b", FILE, 0)], &[], "no directory"),
    ];
    for (files, data, want) in cases {
        let told = refused(files, data).await;
        assert!(told.contains(want), "{files:?}: {told}");
    }
    let told = taken(|client| async move {
        let data = Bytes::from_static(b"no such directory");
        client.say(Packet { r#type: PacketType::Error.into(), data, ..Packet::default() }).await;
    });
    assert!(told.await.expect_err("refused").message().contains("the client: no such directory"));
    let long = taken(|client| async move {
        let xattrs = [("user.x".to_owned(), vec![0; 8 << 20])].into_iter().collect();
        let stat = Stat { path: "a".to_owned(), xattrs, ..Stat::default() };
        while client.says(Packet { stat: Some(stat.clone()), ..Packet::default() }).await {}
    });
    assert!(long.await.expect_err("refused").message().contains("longer than 256 MiB"));
    let endless = taken(|client| async move { drop(client) }).await.expect_err("refused");
    assert!(endless.message().contains("no end"), "{endless}");
}

#[test]
fn modes_are_gos_both_ways() {
    for (kind, mode) in [
        (Type::File, 0o4755),
        (Type::Directory, 0o1777),
        (Type::Symlink, 0o777),
        (Type::Fifo, 0o644),
        (Type::Character { major: 0, minor: 0 }, 0o600),
        (Type::Block { major: 0, minor: 0 }, 0o2660),
    ] {
        let listed = member(Stat { mode: mode_of_go(kind, mode), ..Stat::default() });
        assert_eq!((listed.kind, listed.mode), (kind, mode));
    }
    let link = member(Stat { linkname: "a".to_owned(), mode: FILE, ..Stat::default() });
    assert_eq!(link.kind, Type::HardLink);
}
