//! Images from archives, and a store that was left in the middle of something.

use std::fs;
use std::path::Path;
use std::process::Command;

use image::{Image, Images, Import, Platform, Reference, Registries, import};
use spec::{ContainerId, Kind};
use tempfile::TempDir;

fn open(root: &TempDir) -> Images {
    Images::open(root.path(), Registries::default()).expect("open")
}

async fn import(
    images: &Images,
    archive: &[u8],
    name: &str,
    changes: &[&str],
) -> Result<Image, import::Error> {
    let import = Import {
        changes: changes.iter().map(|&change| change.to_owned()).collect(),
        message: "Imported from -".to_owned(),
        platform: Platform::host(),
    };
    let name: Reference = name.parse().expect("a name");
    images.import(archive, Some(&name), &import).await
}

/// A root filesystem with busybox in it, as `tar` packs it.
fn busybox(options: &[&str]) -> Vec<u8> {
    let root = tempfile::tempdir().expect("temporary directory");
    let bin = root.path().join("bin");
    fs::create_dir(&bin).expect("create");
    fs::write(bin.join("busybox"), "not really").expect("write");
    for name in ["sh", "ls"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("symlink");
    }
    let tar =
        Command::new("tar").arg("-C").arg(root.path()).args(options).args(["-c", "."]).output();
    tar.expect("tar").stdout
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list");
    entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn an_archive_becomes_an_image_of_one_layer() {
    let root = tempfile::tempdir().expect("temporary directory");
    let images = open(&root);
    let changes = ["CMD [\"/bin/sh\"]", "ENV A=b"];
    let image = import(&images, &busybox(&[]), "busybox", &changes).await.expect("import");
    assert_eq!(image.tags[0].to_string(), "busybox:latest");
    assert_eq!(image.size, 10);
    let config = image.config.config().as_ref().expect("changes");
    assert_eq!(config.cmd().as_deref(), Some(&["/bin/sh".to_owned()][..]));
    let comment = image.config.history().as_ref().and_then(|h| h[0].comment().clone());
    assert_eq!(comment.as_deref(), Some("Imported from -"));
    let layers = images.layers(&image.id).expect("layers");
    assert_eq!(fs::read_to_string(layers[0].join("bin/sh")).expect("read"), "not really");
    // The same once more, compressed and by another name, shares the layer but not the id.
    let again = import(&images, &busybox(&["-z"]), "other:1", &[]).await.expect("import");
    assert_ne!(again.id, image.id);
    assert_eq!(open(&root).list().len(), 2);
    // A name goes over to the newer image; the older one stays without.
    let newer = import(&images, &busybox(&[]), "other:1", &["USER 5"]).await.expect("import");
    assert_eq!(images.get("other:1").map(|image| image.id), Ok(newer.id));
    assert!(open(&root).get(&again.id.to_string()).is_ok_and(|image| image.tags.is_empty()));
}

#[tokio::test]
async fn what_is_no_archive_leaves_nothing() {
    let root = tempfile::tempdir().expect("temporary directory");
    let images = open(&root);
    let broken = &busybox(&[])[..700];
    for (what, bytes, change, kind) in [
        ("noise", &b"this is no archive at all"[..], "USER 1", Kind::Invalid),
        ("half an archive", broken, "USER 1", Kind::Invalid),
        ("half of one by bzip2", b"BZh91AY&SY", "USER 1", Kind::Invalid),
        ("an unknown change", &busybox(&[]), "RUN true", Kind::Invalid),
    ] {
        let error = import(&images, bytes, "x", &[change]).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}");
    }
    for dir in ["content/blobs/sha256", "content/ingest", "snapshots"] {
        assert_eq!(names(&root.path().join(dir)), [""; 0], "{dir}");
    }
}

#[tokio::test]
async fn an_image_without_files_can_be_stood_on() {
    let root = tempfile::tempdir().expect("temporary directory");
    let images = open(&root);
    let image = import(&images, &[0; 1024], "empty", &[]).await.expect("import");
    let id: ContainerId = "c1".parse().expect("an id");
    let snapshot = images.prepare(&id, &image.id).await.expect("prepare");
    assert!(snapshot.lower.iter().all(|dir| dir.is_dir()));
    images.release(&id).await.expect("release");
    assert_eq!(images.snapshot(&id).map_err(|e| e.kind()), Err(Kind::NotFound));
}

#[tokio::test]
async fn what_a_crash_left_is_collected_and_nothing_else() {
    let root = tempfile::tempdir().expect("temporary directory");
    let image = import(&open(&root), &busybox(&[]), "kept", &[]).await.expect("import");
    let (content, snapshots) = (root.path().join("content"), root.path().join("snapshots"));
    let whole = (names(&content.join("blobs/sha256")).len(), names(&snapshots).len());
    fs::write(content.join("ingest/7-7.tmp"), "half a blob").expect("write");
    fs::write(content.join("blobs/sha256").join("a".repeat(64)), "no name").expect("write");
    fs::create_dir_all(snapshots.join("7-7.tmp/fs/half")).expect("create");
    fs::create_dir_all(snapshots.join("b".repeat(64)).join("fs")).expect("create");
    fs::write(content.join("7-8.tmp"), "half an index").expect("write");
    fs::create_dir_all(root.path().join("containers/unborn/upper")).expect("create");
    let images = open(&root);
    assert_eq!(names(&content.join("ingest")), [""; 0]);
    assert_eq!((names(&content.join("blobs/sha256")).len(), names(&snapshots).len()), whole);
    assert_eq!(images.get("kept").map(|kept| kept.id), Ok(image.id));
    assert!(!content.join("7-8.tmp").exists());
}

#[tokio::test]
async fn a_damaged_image_is_left_out_and_the_others_stay() {
    let root = tempfile::tempdir().expect("temporary directory");
    let images = open(&root);
    let bad = import(&images, &busybox(&[]), "bad", &["USER 1"]).await.expect("import");
    import(&images, &busybox(&[]), "good", &[]).await.expect("import");
    let config = root.path().join("content/blobs/sha256").join(bad.id.hex());
    fs::remove_file(config).expect("remove");
    let images = open(&root);
    assert!(images.get("good").is_ok());
    assert_eq!(
        images.get("bad").map_err(|e| e.to_string()).err(),
        Some("No such image: bad:latest".into())
    );
}
