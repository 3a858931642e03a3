//! Registries that lie, connections that break, disks that are full, blobs that rot: one clear error each,
//! what was there before stays as it was, and nothing is left over.

use std::fs;
use std::process::Command;

use image::{Auth, Image, Import, Platform, Reference, Registries};
use serde_json::{Value, json};
use spec::Kind;

use super::fixture::{BASE, Layout, Registry, Root, read, text};
use super::liar::{Liar, Parts, Reply, digest};
use super::{pull, pull_as};

/// A small image that was here before, and what the store's directories hold with it.
async fn with_an_image(root: &Root) -> (Image, Vec<Vec<String>>) {
    let image = import(root, "before", 100).await.expect("there is room");
    (image, files(root))
}

async fn import(root: &Root, name: &str, size: usize) -> Result<Image, image::import::Error> {
    let name: Reference = name.parse().expect("a name");
    let how = Import { changes: Vec::new(), message: String::new(), platform: Platform::host() };
    let layer = Parts::new(size).layer;
    root.images.import(&layer[..], Some(&name), &how).await
}

fn files(root: &Root) -> Vec<Vec<String>> {
    let sorted = |dir: &&str| {
        let mut names = root.list(dir);
        names.sort();
        names
    };
    ["content", "content/blobs/sha256", "content/ingest", "snapshots"].iter().map(sorted).collect()
}

/// That nothing has changed.
fn assert_as_before(root: &Root, (image, before): &(Image, Vec<Vec<String>>), what: &str) {
    root.settle();
    assert_eq!(files(root), *before, "{what}");
    let all: Vec<_> = root.images.list().into_iter().map(|image| image.id).collect();
    assert_eq!(all, std::slice::from_ref(&image.id), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_lies_is_found_out() {
    let honest = Parts::new(100_000);
    let cut = Parts::new(100_000).layer[..50_000].to_vec();
    let cut = Parts::of(cut, &digest(b"never known"));
    let mut other = honest.layer.clone();
    other[60_000] ^= 1;
    let lie = |lie: fn(&Parts, usize, &[u8]) -> Reply| {
        let (parts, other) = (honest.clone(), other.clone());
        Liar::new(move |question| {
            if parts.is_layer(question) {
                lie(&parts, question.offset, &other)
            } else {
                parts.answer(question)
            }
        })
    };
    let plain = |parts: Parts| Liar::new(move |question| parts.answer(question));
    let spoilt = |layer: &[u8], config: Value| plain(Parts::described(layer.to_vec(), &config));
    let is_for = |diff_ids: &[&str]| {
        json!({ "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids } })
    };
    let endless = |promised| Reply { promised, ..Reply::ok("") };
    let cases = [
        ("other bytes", lie(|_, _, other| Reply::ok(other)), "gave other bytes than asked for"),
        (
            "a layer without end",
            lie(|parts, _, _| Reply { promised: None, ..Reply::ok(&parts.layer[..]) }),
            "gave more than the",
        ),
        (
            "a layer that is too short, without ranges",
            lie(|parts, _, _| Reply::ok(&parts.layer[..50_000])),
            "gave 50000 of the",
        ),
        (
            "a layer that ends early",
            lie(|parts, at, _| match at {
                0 => Reply::ok(&parts.layer[..50_000]),
                _ => Reply::with(416, ""),
            }),
            "gave 50000 of the",
        ),
        (
            "another range",
            lie(|parts, at, _| Reply::cut(&parts.layer, at.saturating_sub(1), 50_000)),
            "other bytes than the range that was asked for",
        ),
        ("a manifest without end", Liar::new(move |_| endless(None)), "larger than 4 MiB"),
        ("no manifest", Liar::new(|_| Reply::ok("<html>")), "parse"),
        ("half an archive", plain(cut), "read the archive"),
        (
            "an archive that the configuration does not mean",
            spoilt(&honest.layer, is_for(&[&digest(b"another")])),
            "layer verification failed",
        ),
        ("a layer too many", spoilt(&honest.layer, is_for(&[])), "as many layers"),
        ("no configuration", spoilt(&honest.layer, json!("x")), "configuration"),
        ("a layer that is no archive", spoilt(b"text", is_for(&[&digest(b"text")])), "archive"),
    ];
    for (what, liar, want) in cases {
        let root = Root::new();
        let before = with_an_image(&root).await;
        let error = pull(&root.images, &liar.name()).await.map(drop).expect_err(what);
        let said = text(&error);
        assert!(said.contains(want) && !said.contains('\n'), "{what}: {said}");
        assert_as_before(&root, &before, what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_the_one_whose_digest_was_asked_for() {
    let (asked, given) = (Parts::new(10), Parts::new(20));
    let liar = Liar::new(move |question| given.answer(question));
    let name = format!("127.0.0.1:{}/app@{}", liar.port, digest(&asked.manifest));
    let root = Root::new();
    let error = pull(&root.images, &name).await.map(drop).expect_err("another manifest");
    assert!(text(&error).contains("gave other bytes than asked for"), "{}", text(&error));
    assert_eq!(error.kind(), Kind::Invalid);
    root.assert_empty();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_again_and_again_is_given_up() {
    let parts = Parts::new(1_000_000);
    let served = parts.clone();
    let liar = Liar::new(move |question| {
        if served.is_layer(question) {
            Reply::cut(&served.layer, question.offset, 100_000)
        } else {
            served.answer(question)
        }
    });
    let root = Root::new();
    let before = with_an_image(&root).await;
    let error = pull(&root.images, &liar.name()).await.map(drop).expect_err("never whole");
    assert_eq!(error.kind(), Kind::Unavailable, "{}", text(&error));
    let host = format!("connect to 127.0.0.1:{}", liar.port);
    assert!(text(&error).contains(&host), "{}", text(&error));
    let offsets: Vec<_> =
        liar.asked(&digest(&parts.layer)).iter().map(|question| question.offset).collect();
    assert_eq!(offsets, [0, 100_000, 200_000, 300_000, 400_000], "each goes on after the last");
    assert_as_before(&root, &before, "a broken connection");
}

/// A data root on a disk of its own, of so many bytes.
struct SmallDisk {
    root: Root,
}

impl SmallDisk {
    fn new(bytes: usize) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: to mount a small disk wants root");
            return None;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "hull-small"])
            .arg(dir.path())
            .status();
        assert!(mounted.expect("mount").success());
        Some(Self { root: Root::at(dir, Registries::default()) })
    }

    fn used(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.root.dir.path()).expect("statvfs");
        disk.f_blocks - disk.f_bfree
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.root.dir.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_what_needs_room_and_nothing_else() {
    let Some(disk) = SmallDisk::new(3 << 20) else { return };
    let root = &disk.root;
    let before = with_an_image(root).await;
    let used = disk.used();
    // The first fits as a blob and not unpacked too, the second not even as a blob.
    for size in [2_000_000, 6_000_000] {
        let parts = Parts::new(size);
        let archive = archive(&parts);
        let liar = Liar::new(move |question| parts.answer(question));
        let pulled = pull(&root.images, &liar.name()).await.map(drop).expect_err("pull");
        let loaded = root.images.load(&archive[..], &Platform::host(), |_| ()).await;
        let loaded = loaded.map(drop).expect_err("load");
        let imported = import(root, "large", size).await.map(drop).expect_err("import");
        let failures = [
            (text(&pulled), pulled.kind()),
            (text(&loaded), loaded.kind()),
            (text(&imported), imported.kind()),
        ];
        for (said, kind) in failures {
            assert!(said.contains("No space left on device"), "{said}");
            assert_eq!(kind, Kind::Exhausted, "{said}");
        }
        assert_as_before(root, &before, "a full disk");
        assert_eq!(disk.used(), used, "all room is free again");
    }
    import(root, "small", 1000).await.expect("there is room for this one");
}

/// An OCI layout in an archive.
fn archive(parts: &Parts) -> Vec<u8> {
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&parts.manifest), "size": parts.manifest.len(),
        }],
    });
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).expect("to memory");
    };
    add("index.json", index.to_string().as_bytes());
    for blob in [&parts.manifest, &parts.config, &parts.layer] {
        add(&format!("blobs/sha256/{}", &digest(blob)[7..]), blob);
    }
    archive.into_inner().expect("to memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_has_rotted_is_noticed_and_can_come_again() {
    let Some(registry) = Registry::start() else { return };
    registry.push(&Layout::new("amd64", &[BASE]), "app:1", &[]);
    let (root, name) = (Root::new(), registry.name("app:1"));
    let (image, _) = pull(&root.images, &name).await.expect("pull");
    let blobs = root.dir.path().join("content/blobs/sha256");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(blobs.join(image.manifest.hex())).expect("read"))
            .expect("JSON");
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest")[7..].to_owned();
    let spoil = |hex: &str| {
        let mut bytes = fs::read(blobs.join(hex)).expect("read");
        bytes[20] ^= 1;
        fs::write(blobs.join(hex), bytes).expect("write");
    };
    spoil(&layer);
    let saved = root.images.save(std::slice::from_ref(&name)).await.map(drop).expect_err("saved");
    let target: Reference = registry.name("other:1").parse().expect("a name");
    root.images.tag(&name, &target).expect("tag");
    // Not in this repository of the registry yet.
    fs::remove_file(registry.blob(&layer)).expect("remove");
    let pushed = root.images.push(&target, false, None, |_| ()).await.expect_err("pushed");
    for said in [text(&saved), text(&pushed)] {
        assert!(said.contains(&layer) && said.contains("the file is damaged"), "{said}");
    }
    registry.push(&Layout::new("amd64", &[BASE]), "app:1", &[]);

    // One that a broken pull left is fetched again instead of used.
    for name in [&name, &target.to_string()] {
        root.images.remove(name, &[], false).await.expect("remove");
    }
    fs::write(blobs.join(&layer), "rotten").expect("write");
    let (image, _) = pull(&root.images, &name).await.expect("pull again");
    assert_eq!(read(&root.images.layers(&image.id).expect("layers")[0], "etc/motd"), "base\n");

    // Without its configuration an image is none; the others do not suffer.
    let other = import(&root, "other", 100).await.expect("import");
    spoil(image.id.hex());
    let images = root.reopen();
    let ids: Vec<_> = images.list().into_iter().map(|image| image.id).collect();
    assert_eq!(ids, [other.id]);
    assert_eq!(pull(&images, &name).await.expect("pull anew").0.id, image.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_service_opens_the_door() {
    let parts = Parts::new(1000);
    let liar = Liar::new(move |question| {
        let token = |token: &str| Reply::ok(json!({ "access_token": token }).to_string());
        let line = question.line.as_str();
        if line.starts_with("POST /token") {
            let wanted = ["grant_type=refresh_token", "refresh_token=kept", "service=here"];
            return if wanted.iter().all(|word| question.body.contains(word)) {
                token("good")
            } else {
                Reply::with(400, "")
            };
        }
        if line.starts_with("GET /token") {
            // me:secret
            return match question.authorization.as_str() {
                "Basic bWU6c2VjcmV0" if line.contains("offline_token=true") => {
                    Reply::ok(json!({ "token": "good", "refresh_token": "kept" }).to_string())
                }
                "Basic bWU6c2VjcmV0" => token("good"),
                "" => token("anybody's"),
                _ => Reply::with(401, ""),
            };
        }
        match question.authorization.as_str() {
            "Bearer good" if line == "GET /v2/" => Reply::ok("{}"),
            "Bearer good" => parts.answer(question),
            _ => {
                let host = "127.0.0.1";
                let realm = format!("http://{host}:{}/token", PORT.get().expect("known"));
                Reply::with(401, "").header(format!(
                    "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"here\",\
                     scope=\"repository:app:pull\""
                ))
            }
        }
    });
    PORT.set(liar.port).expect("once");
    let basic = |password: &str| Auth::Basic { username: "me".into(), password: password.into() };
    let cases = [
        (None, false),
        (Some(basic("wrong")), false),
        (Some(basic("secret")), true),
        (Some(Auth::Identity("kept".into())), true),
        (Some(Auth::Identity("lost".into())), false),
        (Some(Auth::Bearer("good".into())), true),
        (Some(Auth::Bearer("bad".into())), false),
    ];
    for (number, (auth, opens)) in cases.into_iter().enumerate() {
        let root = Root::new();
        let pulled = pull_as(&root.images, &liar.name(), "linux/amd64", auth).await.map(drop);
        let kind = pulled.map_err(|error| (error.kind(), text(&error)).0);
        assert_eq!(kind, if opens { Ok(()) } else { Err(Kind::Denied) }, "case {number}");
    }
    assert!(liar.asked("GET /token").iter().all(|asked| asked.line.contains("repository%3Aapp")));

    let (root, host) = (Root::new(), format!("127.0.0.1:{}", liar.port));
    let token = root.images.log_in(&host, basic("secret")).await.expect("the password is good");
    assert_eq!(token.as_deref(), Some("kept"));
    root.images.log_in(&host, Auth::Identity("kept".into())).await.expect("so is the token");
    let error = root.images.log_in(&host, basic("wrong")).await.expect_err("another password");
    assert_eq!(error.kind(), Kind::Denied);
}

/// Where the token service is, which is the registry itself.
static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
