//! Images from a real registry: pull, run-time layout, removal, and everything that goes wrong.

mod failures;
mod fixture;
mod liar;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::Ordering;

use fixture::{BASE, Breaking, Layout, Registry, Root, Told, free_port, read, text};
use image::{Auth, Image, Images, Platform, Reference, Registries, Removed, Use, pull};
use spec::{ContainerId, Kind};

const TOP: &str = "mkdir etc; echo top >etc/motd; touch etc/.wh.old";

async fn pull(images: &Images, name: &str) -> Result<(Image, Told), pull::Error> {
    pull_as(images, name, "linux/amd64", None).await
}

async fn pull_as(
    images: &Images,
    name: &str,
    platform: &str,
    auth: Option<Auth>,
) -> Result<(Image, Told), pull::Error> {
    let told = Told::default();
    let (name, platform): (Reference, Platform) =
        (name.parse().expect("a name"), platform.parse().expect("a platform"));
    // A front pulls in a task of its own.
    let images = images.clone();
    let work = tokio::spawn(async move {
        let image = images.pull(&name, &platform, auth, |progress| told.hear(progress)).await;
        image.map(|image| (image, told))
    });
    work.await.expect("no panic")
}

fn mirrored(port: u16) -> Registries {
    Registries { mirrors: vec![format!("http://127.0.0.1:{port}")], ..Registries::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_used_and_removed() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.push(&Layout::new("amd64", &[BASE, TOP]), "app:1", &[]);
    let (root, name) = (Root::new(), registry.name("app:1"));
    let (image, told) = pull(&root.images, &name).await.expect("pull");
    let lines = told.lines();
    assert_eq!(lines.first().map(String::as_str), Some("1: Pulling from app"));
    assert_eq!(lines.last(), Some(&format!("Status: Downloaded newer image for {name}")));
    for status in [
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Pull complete",
    ] {
        assert_eq!(lines.iter().filter(|l| l.ends_with(status)).count(), 2, "{status}: {lines:?}");
    }
    assert!(told.has(&format!("Digest: {digest}")));
    let tags: Vec<_> = image.tags.iter().map(Reference::to_string).collect();
    assert_eq!(tags, [name.as_str()]);
    let digests: Vec<_> = image.digests.iter().map(Reference::to_string).collect();
    assert_eq!(digests, [format!("{}@{digest}", registry.name("app"))]);
    assert_eq!(image.size, 4 + 5 + 5 + 3);

    let (again, told) = pull(&root.images, &name).await.expect("pull again");
    assert_eq!(again.id, image.id);
    assert!(told.has("Already exists") && told.has("Status: Image is up to date for"));

    let layers = root.images.layers(&image.id).expect("layers");
    assert_eq!(
        (read(&layers[0], "etc/motd"), read(&layers[1], "etc/motd")),
        ("top\n".into(), "base\n".into())
    );
    let old = fs::symlink_metadata(layers[0].join("etc/old")).expect("stat");
    assert!(old.file_type().is_char_device() && old.rdev() == 0);

    let id: ContainerId = "c1".parse().expect("an id");
    let snapshot = root.images.prepare(&id, &image.id).await.expect("prepare");
    assert_eq!(snapshot.lower, layers);
    assert!(snapshot.upper.is_dir() && snapshot.work.is_dir());
    assert_eq!(root.images.prepare(&id, &image.id).await.map_err(|e| e.kind()), Err(Kind::Exists));

    removal_waits_for_containers(&root, &image, &id, &name).await;
}

async fn removal_waits_for_containers(root: &Root, image: &Image, id: &ContainerId, name: &str) {
    let used = |running| [Use { container: id.clone(), image: image.id.clone(), running }];
    let by_id = image.id.to_string();
    for (what, running, force, begins) in [
        (name, false, false, "conflict: unable to remove repository reference"),
        (&by_id, false, false, "conflict: unable to delete"),
        (&by_id, true, true, "conflict: unable to delete"),
    ] {
        let error = root.images.remove(what, &used(running), force).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().starts_with(begins), "{error}");
    }
    let removed = root.images.remove(&by_id[7..19], &used(false), true).await.expect("by force");
    let untagged = Removed::Untagged(name.to_owned());
    assert!(removed.contains(&untagged) && removed.contains(&Removed::Deleted(image.id.clone())));
    assert!(root.images.list().is_empty());
    // The container stands on its layers still, also after a restart.
    let images = root.reopen();
    let snapshot = images.snapshot(id).expect("held");
    assert_eq!(read(&snapshot.lower[1], "bin/sh"), "sh\n");
    assert_eq!(images.held(), std::slice::from_ref(id));
    images.release(id).await.expect("release");
    assert_eq!(root.list("containers"), [""; 0]);
    root.assert_empty();
}

#[tokio::test]
async fn every_format_of_registries_is_understood() {
    let Some(registry) = Registry::start() else { return };
    let layout = Layout::new("amd64", &[BASE, TOP]);
    for (tag, options) in [
        ("schema2", &["--format", "v2s2"][..]),
        ("zstd", &["--dest-compress-format", "zstd", "--dest-compress"]),
    ] {
        registry.push(&layout, &format!("formats:{tag}"), options);
        let root = Root::new();
        let name = registry.name(&format!("formats:{tag}"));
        let (image, _) = pull(&root.images, &name).await.expect(tag);
        let layers = root.images.layers(&image.id).expect("layers");
        assert_eq!(read(&layers[1], "bin/sh"), "sh\n", "{tag}");
        let cmd = image.config.config().as_ref().and_then(|config| config.cmd().clone());
        assert_eq!(cmd, Some(vec!["/bin/sh".to_owned()]));
    }
}

#[tokio::test]
async fn an_index_gives_the_image_of_the_platform() {
    let Some(registry) = Registry::start() else { return };
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let layout = Layout::new(architecture, &[&format!("echo {architecture} >arch")]);
        let digest = registry.push(&layout, &format!("multi:{architecture}"), &[]);
        let size = fs::metadata(registry.blob(&digest[7..])).expect("stat").len();
        manifests.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}",
            "size":{size},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        ));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#,
        manifests.join(",")
    );
    registry.put("multi", "all", kind, &index);
    let name = registry.name("multi:all");
    for (platform, want) in [("linux/amd64", "amd64\n"), ("linux/arm64/v8", "arm64\n")] {
        let root = Root::new();
        let (image, _) = pull_as(&root.images, &name, platform, None).await.expect(platform);
        assert_eq!(read(&root.images.layers(&image.id).expect("layers")[0], "arch"), want);
    }
    let root = Root::new();
    let error = pull_as(&root.images, &name, "linux/s390x", None).await.expect_err("not there");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(text(&error).contains("no matching manifest for linux/s390x"), "{}", text(&error));
    let one = registry.name("multi:arm64");
    let error = pull(&root.images, &one).await.expect_err("not for us");
    assert!(text(&error).contains("(linux/arm64) does not match"), "{}", text(&error));
    assert!(root.images.list().is_empty());
}

#[tokio::test]
async fn a_digest_is_a_name() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.push(&Layout::new("amd64", &[BASE]), "app:1", &[]);
    let root = Root::new();
    let name = format!("{}@{digest}", registry.name("app"));
    let (image, _) = pull(&root.images, &name).await.expect("pull");
    assert!(image.tags.is_empty());
    for word in [&name, &image.id.to_string(), &image.id.hex()[..4].to_owned()] {
        assert_eq!(root.images.get(word).map(|found| found.id), Ok(image.id.clone()), "{word}");
    }
    root.images.tag(&name, &"mine:2".parse().expect("a name")).expect("tag");
    assert_eq!(root.reopen().get("mine:2").map(|found| found.id), Ok(image.id));
    assert_eq!(root.images.get("mine").map_err(|e| e.kind()).err(), Some(Kind::NotFound));
}

#[tokio::test]
async fn docker_hub_is_asked_for_at_its_mirror() {
    let Some(registry) = Registry::start() else { return };
    registry.push(&Layout::new("amd64", &[BASE]), "library/busybox:latest", &[]);
    let mut registries = mirrored(free_port());
    registries.mirrors.extend(mirrored(registry.port).mirrors);
    let root = Root::with(registries);
    let (image, told) = pull(&root.images, "busybox").await.expect("by the second mirror");
    assert_eq!(image.tags[0].to_string(), "busybox:latest");
    assert!(told.has("latest: Pulling from library/busybox"));
    assert!(root.images.get("docker.io/library/busybox").is_ok());
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let Some(registry) = Registry::start() else { return };
    registry.push(&Layout::new("amd64", &[BASE, TOP]), "bad:1", &[]);
    let good = Root::new();
    let (image, _) = pull(&good.images, &registry.name("bad:1")).await.expect("while it is good");
    let manifest = good.dir.path().join("content/blobs/sha256").join(image.manifest.hex());
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(manifest).expect("read")).expect("JSON");
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    let path = registry.blob(&layer[7..]);
    let mut bytes = fs::read(&path).expect("read");
    for (what, change) in [
        ("other bytes", (|bytes| *bytes.last_mut().expect("some") ^= 1) as fn(&mut Vec<u8>)),
        ("more bytes", |bytes| bytes.extend([0; 100])),
    ] {
        change(&mut bytes);
        fs::write(&path, &bytes).expect("write");
        let root = Root::new();
        let error = pull(&root.images, &registry.name("bad:1")).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Invalid, "{what}: {}", text(&error));
        assert!(text(&error).contains(&layer), "{}", text(&error));
        assert!(root.images.list().is_empty());
        assert!(!root.list("content/blobs/sha256").contains(&layer[7..].to_owned()));
        root.settle();
        root.reopen();
        root.assert_empty();
    }
}

#[tokio::test]
async fn what_no_registry_gives_is_told_in_one_line() {
    let root = Root::new();
    let port = free_port();
    let name = format!("127.0.0.1:{port}/app:1");
    let error = pull(&root.images, &name).await.expect_err("nobody listens");
    assert_eq!(error.kind(), Kind::Unavailable);
    let want =
        format!("pull {name}: connect to 127.0.0.1:{port}: Connection refused (os error 111)");
    assert_eq!(text(&error), want);
    let Some(registry) = Registry::start() else { return };
    let name = registry.name("absent:1");
    let error = pull(&root.images, &name).await.expect_err("not there");
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(text(&error), format!("manifest for {name} not found: manifest unknown"));
}

#[tokio::test]
async fn a_closed_registry_wants_the_password() {
    let Some(registry) = Registry::start_closed() else { return };
    registry.push(&Layout::new("amd64", &[BASE]), "app:1", &[]);
    let (root, name) = (Root::new(), registry.name("app:1"));
    let basic =
        |password: &str| Some(Auth::Basic { username: "me".into(), password: password.into() });
    for auth in [None, basic("wrong")] {
        let error = pull_as(&root.images, &name, "linux", auth).await.expect_err("closed");
        assert_eq!(error.kind(), Kind::Denied, "{}", text(&error));
    }
    pull_as(&root.images, &name, "linux", basic("secret")).await.expect("with the password");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_download_goes_on_where_it_broke() {
    let Some(registry) = Registry::start() else { return };
    let big = "head -c 4000000 /dev/urandom >big";
    registry.push(&Layout::new("amd64", &[big]), "library/big:latest", &[]);
    let breaking = Breaking::before(registry.port, 1_000_000);
    let root = Root::with(mirrored(breaking.port));
    let (image, told) = pull(&root.images, "big").await.expect("in the end");
    assert!(breaking.broke.load(Ordering::SeqCst));
    assert!(told.has("Retrying in 1 second"), "{:?}", told.lines());
    assert_eq!(image.size, 4_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_given_up_leaves_no_half_of_anything() {
    let Some(registry) = Registry::start() else { return };
    let big = "head -c 40000000 /dev/urandom >big";
    registry.push(&Layout::new("amd64", &[BASE, big]), "big:1", &[]);
    let (root, name) = (Root::new(), registry.name("big:1"));
    let (begun, seen) = tokio::sync::watch::channel(false);
    let reference: Reference = name.parse().expect("a name");
    let hear = |progress: image::Progress| {
        begun.send_replace(progress.status == image::Status::Downloading || *seen.borrow());
    };
    let mut downloading = begun.subscribe();
    let platform = Platform::host();
    tokio::select! {
        pulled = root.images.pull(&reference, &platform, None, hear) => {
            panic!("done before it could be given up: {}", pulled.is_ok());
        }
        waited = downloading.wait_for(|begun| *begun) => drop(waited.expect("a sender")),
    }
    root.settle();
    assert!(root.images.list().is_empty());
    pull(&root.images, &name).await.expect("the next pull");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pulls_of_one_image_share_the_work() {
    let Some(registry) = Registry::start() else { return };
    registry.push(&Layout::new("amd64", &[BASE, TOP]), "app:1", &[]);
    registry.push(&Layout::new("amd64", &[BASE]), "base:1", &[]);
    let root = Root::new();
    let (app, base) = (registry.name("app:1"), registry.name("base:1"));
    let pulls = (pull(&root.images, &app), pull(&root.images, &base), pull(&root.images, &app));
    let (one, other, same) = tokio::join!(pulls.0, pulls.1, pulls.2);
    let (one, other, same) = (one.expect("one").0, other.expect("other").0, same.expect("same").0);
    assert_eq!(one.id, same.id);
    assert_eq!(one.chain[..1], other.chain, "the lower layer is shared");
    assert_eq!(root.list("snapshots").len(), 2);
    root.images.remove(&app, &[], false).await.expect("remove");
    assert_eq!(root.list("snapshots").len(), 1);
    assert_eq!(read(&root.images.layers(&other.id).expect("layers")[0], "etc/motd"), "base\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_beside_pulls_take_nothing_that_a_pull_has_found() {
    let Some(registry) = Registry::start() else { return };
    registry.push(&Layout::new("amd64", &[BASE, TOP]), "app:1", &[]);
    registry.push(&Layout::new("amd64", &[BASE]), "base:1", &[]);
    let root = Root::new();
    let (app, base) = (registry.name("app:1"), registry.name("base:1"));
    for _ in 0..20 {
        pull(&root.images, &base).await.expect("the lower layer is here");
        // The removal collects while the pull of what stands on the same layer is under way.
        let removal = async {
            root.images.remove(&base, &[], false).await.expect("remove");
            let all = root.images.list().into_iter().filter(|image| image.tags.is_empty());
            root.images.prune(all.map(|image| image.id).collect(), Vec::new()).await
        };
        let (pulled, pruned) = tokio::join!(pull(&root.images, &app), removal);
        let image = pulled.expect("pull").0;
        pruned.expect("prune");
        let layers = root.images.layers(&image.id).expect("it is named");
        assert!(layers.iter().all(|layer| layer.is_dir()), "every layer is there");
        root.images.remove(&app, &[], false).await.expect("remove");
    }
    assert_eq!(root.list("snapshots"), [""; 0], "and nothing stays");
}
