//! What stays known although it is closed.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn shared(most: usize) -> (TempDir, Nodes) {
    let dir = tempfile::tempdir().expect("a directory");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir.path(), flags, Mode::empty()).expect("open");
    (dir, Nodes::new(root, most).expect("a root"))
}

fn find(nodes: &mut Nodes, parent: u64, name: &str) -> u64 {
    let name = CString::new(name).expect("a name");
    let parent = nodes.get(parent).expect("there");
    nodes.find(&parent, &name).expect("found").0
}

/// Looks up so many others that what was known before is closed.
fn crowd_out(dir: &Path, nodes: &mut Nodes) {
    fs::create_dir_all(dir.join("crowd")).expect("a directory");
    let crowd = find(nodes, ROOT, "crowd");
    for n in 0..40 {
        fs::write(dir.join(format!("crowd/{n}")), "").expect("a file");
        find(nodes, crowd, &n.to_string());
    }
}

fn inode(nodes: &mut Nodes, number: u64) -> Result<u64, Errno> {
    Ok(nodes.get(number)?.stat()?.st_ino)
}

#[test]
fn more_files_are_known_than_are_open() {
    use std::os::unix::fs::MetadataExt;
    let (dir, mut nodes) = shared(16);
    let mut known = Vec::new();
    for n in 0..20 {
        let above = dir.path().join(format!("d{n}/e"));
        fs::create_dir_all(&above).expect("a directory");
        let outer = find(&mut nodes, ROOT, &format!("d{n}"));
        let inner = find(&mut nodes, outer, "e");
        for file in 0..20 {
            let path = above.join(file.to_string());
            fs::write(&path, "").expect("a file");
            let number = find(&mut nodes, inner, &file.to_string());
            known.push((number, fs::metadata(path).expect("there").ino()));
            assert!(nodes.open <= 16, "{} are open", nodes.open);
        }
    }
    for (number, want) in known {
        assert_eq!(inode(&mut nodes, number), Ok(want));
        let open = nodes.by_number.values().filter(|entry| entry.node.is_some()).count();
        assert!(open <= 16 && open == nodes.open, "{open} are open, {} counted", nodes.open);
    }
}

#[test]
fn what_has_taken_a_closed_files_name_is_another() {
    let (dir, mut nodes) = shared(8);
    fs::write(dir.path().join("a"), "").expect("a file");
    let number = find(&mut nodes, ROOT, "a");
    crowd_out(dir.path(), &mut nodes);
    fs::rename(dir.path().join("a"), dir.path().join("b")).expect("renamed");
    assert_eq!(inode(&mut nodes, number), Err(Errno::STALE));
    fs::write(dir.path().join("a"), "").expect("a file");
    assert_eq!(inode(&mut nodes, number), Err(Errno::STALE));
    assert_ne!(find(&mut nodes, ROOT, "a"), number);
    assert_eq!(find(&mut nodes, ROOT, "b"), number, "it is met again by its new name");
    crowd_out(dir.path(), &mut nodes);
    assert!(inode(&mut nodes, number).is_ok());
}

#[test]
fn a_closed_directory_that_became_a_link_leads_nowhere() {
    let (dir, mut nodes) = shared(8);
    let secret = tempfile::tempdir().expect("a directory");
    for at in [dir.path().join("d"), secret.path().to_owned()] {
        fs::create_dir_all(&at).expect("a directory");
        fs::write(at.join("f"), "").expect("a file");
    }
    let directory = find(&mut nodes, ROOT, "d");
    let file = find(&mut nodes, directory, "f");
    crowd_out(dir.path(), &mut nodes);
    fs::rename(dir.path().join("d"), dir.path().join("moved")).expect("renamed");
    std::os::unix::fs::symlink(secret.path(), dir.path().join("d")).expect("a link");
    assert!(inode(&mut nodes, file).is_err());
    assert!(inode(&mut nodes, directory).is_err());
}

#[test]
fn what_lost_its_name_stays_open_and_what_got_another_is_found() {
    let (dir, mut nodes) = shared(8);
    for name in ["gone", "old"] {
        fs::write(dir.path().join(name), "").expect("a file");
    }
    let (gone, moved) = (find(&mut nodes, ROOT, "gone"), find(&mut nodes, ROOT, "old"));
    crowd_out(dir.path(), &mut nodes);
    let root = nodes.get(ROOT).expect("there");
    nodes.lose(&root, c"gone");
    fs::remove_file(dir.path().join("gone")).expect("removed");
    fs::rename(dir.path().join("old"), dir.path().join("new")).expect("renamed");
    nodes.gain(&root, c"new");
    crowd_out(dir.path(), &mut nodes);
    assert!(inode(&mut nodes, gone).is_ok());
    assert!(inode(&mut nodes, moved).is_ok());
    nodes.forget(gone, 1);
    assert_eq!(inode(&mut nodes, gone), Err(Errno::STALE));
}
