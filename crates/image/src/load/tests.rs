use std::io::Write;

use super::*;
use crate::content::digest_of;
use crate::save;

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, *bytes).expect("to memory");
    }
    archive.into_inner().expect("to memory")
}

/// An archive as docker before 25 wrote it, with one layer that holds `text`.
fn old(text: &[u8], tag: &str) -> Vec<u8> {
    let layer = archive(&[("etc/text", text)]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&layer)] },
    })
    .to_string();
    let list = json!([{ "Config": "c.json", "RepoTags": [tag], "Layers": ["a/layer.tar"] }]);
    let list = list.to_string();
    let members: [(&str, &[u8]); 3] = [
        ("c.json", config.as_bytes()),
        ("a/layer.tar", &layer),
        ("manifest.json", list.as_bytes()),
    ];
    archive(&members)
}

fn taken(store: &Store, bytes: &[u8]) -> Result<Vec<Loaded>, Error> {
    let told: Told = Arc::new(|_| ());
    take_in(store, bytes, &"linux/amd64".parse().expect("a platform"), &told)
}

#[test]
fn what_is_saved_is_loaded_with_the_same_digests() {
    let roots = [(); 2].map(|()| tempfile::tempdir().expect("temporary directory"));
    let [from, to] = &roots;
    let from = Arc::new(Store::open(from.path()).expect("open"));
    let loaded = taken(&from, &old(b"hello", "a.example/b:1")).expect("load");
    assert_eq!(loaded[0].names, ["a.example/b:1".parse().expect("a name")]);

    let save = save::choose(&from, &["a.example/b:1".to_owned()]).expect("it is there");
    let mut bytes = Vec::new();
    save.write(&mut bytes).expect("to memory");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).expect("to memory");
    let to = Store::open(to.path()).expect("open");
    let again = taken(&to, &gzip.finish().expect("to memory")).expect("load");
    assert_eq!(again.len(), 1, "two lists, one image");
    assert_eq!(again[0].image.manifest, loaded[0].image.manifest);
    assert_eq!(again[0].image.id, loaded[0].image.id);
    assert_eq!(again[0].names, loaded[0].names);
    let file = to.snapshots.files(&again[0].image.chain[0]).join("etc/text");
    assert_eq!(std::fs::read(file).expect("a file"), b"hello");
}

#[test]
fn what_is_damaged_leaves_nothing() {
    let root = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(root.path()).expect("open");
    let whole = old(b"hello", "a.example/b:1");
    let other = String::from_utf8_lossy(&whole).replace("hello", "HELLO").into_bytes();
    let cases = [
        ("cut short", whole[..whole.len() / 2].to_vec(), Kind::Invalid),
        ("another layer", other, Kind::Invalid),
        ("no list", archive(&[("x", b"y")]), Kind::Invalid),
        ("no name", old(b"hello", "Not A Name"), Kind::Invalid),
    ];
    for (name, bytes, want) in cases {
        assert_eq!(taken(&store, &bytes).map(|_| ()).map_err(|e| e.kind()), Err(want), "{name}");
        drop(store.collect(&mut store.state()).expect("collect"));
        assert_eq!(store.content.list().expect("list"), [], "{name}");
        assert_eq!(store.snapshots.list().expect("list"), [], "{name}");
    }
}

#[test]
fn a_link_in_an_archive_leads_nowhere_outside() {
    let root = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(root.path()).expect("open");
    let mut archive = tar::Builder::new(Vec::new());
    for (name, target) in [("manifest.json", "../../../etc/passwd"), ("index.json", "index.json")] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        archive.append_link(&mut header, name, target).expect("to memory");
    }
    let bytes = archive.into_inner().expect("to memory");
    assert!(matches!(taken(&store, &bytes), Err(Error::Invalid(_))));
}
