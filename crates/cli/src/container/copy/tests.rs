use super::*;

fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        if *kind == tar::EntryType::Symlink {
            header.set_size(0);
            builder.append_link(&mut header, path, text).expect("written");
        } else {
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes()).expect("written");
        }
    }
    builder.into_inner().expect("complete")
}

fn copied(
    at: &Path,
    to: &str,
    contents: bool,
    entries: &[(&str, tar::EntryType, &str)],
) -> Result<(), Error> {
    let to = at.join(to).to_string_lossy().into_owned() + if to.ends_with('/') { "/" } else { "" };
    Unpacking { contents, to, owners: false }.unpack(&*archive(entries))
}

#[test]
fn copies_arrive_as_dockers_do() {
    use tar::EntryType::{Directory, Regular};
    let dir = tempfile::tempdir().expect("temporary directory");
    let at = dir.path();
    let file = [("f", Regular, "new")];
    let tree = [("d/", Directory, ""), ("d/f", Regular, "in d")];
    let read = |path: &str| fs::read_to_string(at.join(path)).unwrap_or_default();
    copied(at, "other", false, &file).expect("under another name");
    copied(at, "", false, &file).expect("into a directory");
    assert_eq!((read("other"), read("f")), ("new".into(), "new".into()));
    copied(at, "x", false, &tree).expect("a new directory");
    copied(at, "x", false, &tree).expect("into it");
    copied(at, "y", true, &tree).expect("what is in it");
    copied(at, "y", true, &tree).expect("again, over it");
    assert_eq!(
        (read("x/f"), read("x/d/f"), read("y/f")),
        ("in d".into(), "in d".into(), "in d".into())
    );
    assert!(copied(at, "f", false, &tree).is_err(), "a directory over a file");
    assert!(copied(at, "no/such", false, &file).is_err(), "no parent");
    let left: Vec<_> = fs::read_dir(at).expect("there").filter_map(Result::ok).collect();
    assert!(left.iter().all(|e| !e.file_name().to_string_lossy().starts_with(".hull")), "{left:?}");
}

#[test]
fn no_link_in_an_archive_leads_out() {
    use tar::EntryType::{Directory, Regular, Symlink};
    let dir = tempfile::tempdir().expect("temporary directory");
    let outside = dir.path().join("outside");
    let inside = dir.path().join("inside");
    fs::create_dir(&outside).expect("made");
    fs::create_dir(&inside).expect("made");
    let target = outside.to_string_lossy().into_owned();
    let entries =
        [("d/", Directory, ""), ("d/link", Symlink, &*target), ("d/link/planted", Regular, "x")];
    let _ = copied(&inside, "", false, &entries);
    assert!(!outside.join("planted").exists());
    // A link that an earlier copy left is replaced, not followed.
    copied(&inside, "", false, &[("l", Symlink, &*target)]).expect("a link");
    copied(&inside, "", false, &[("l", Regular, "file")]).expect("a file in its place");
    assert!(fs::symlink_metadata(inside.join("l")).expect("there").is_file());
}

#[test]
fn a_place_is_in_a_container_unless_it_looks_like_a_path() {
    assert!(matches!(Place::parse("web:/etc"), Place::In("web", "/etc")));
    for text in ["./a:b", "/a:b", "a", "-"] {
        assert!(matches!(Place::parse(text), Place::Here(_)), "{text}");
    }
}
