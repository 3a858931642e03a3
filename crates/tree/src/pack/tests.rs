use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::Mode;

use super::*;
use crate::unpack::extract::{Extract, extract};

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("directory")
}

fn packed(root: &Path, marks: Marks) -> Vec<u8> {
    let root = open(root);
    let mut packer = Packer::new(Vec::new(), root.as_fd(), marks, &|_| false);
    packer.add(b".", b".").expect("packed");
    packer.finish().expect("to memory")
}

#[test]
fn what_is_packed_comes_out_the_same() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    let long = "n".repeat(200);
    std::fs::create_dir_all(from.join("a").join(&long)).expect("directory");
    std::fs::create_dir(&to).expect("directory");
    std::fs::write(from.join("a").join(&long).join("ä"), "text").expect("file");
    std::fs::hard_link(from.join("a").join(&long).join("ä"), from.join("b")).expect("link");
    symlink("/etc/passwd", from.join("c")).expect("symlink");
    let mode = std::fs::Permissions::from_mode(0o751);
    std::fs::set_permissions(from.join("a"), mode.clone()).expect("mode");
    let how = Extract { dress_base: true, ..Extract::default() };
    extract(&packed(&from, Marks::Files)[..], open(&to), &how).expect("unpacked");
    assert_eq!(std::fs::read_to_string(to.join("b")).expect("file"), "text");
    assert_eq!(std::fs::read_link(to.join("c")).expect("symlink"), Path::new("/etc/passwd"));
    assert_eq!(
        std::fs::metadata(to.join("a")).expect("directory").permissions().mode() & 0o777,
        0o751
    );
    assert_eq!(std::fs::metadata(to.join("b")).expect("file").nlink(), 2);
}

#[test]
fn a_symlink_in_the_way_leads_to_a_place_inside() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    std::fs::create_dir_all(from.join("d")).expect("directory");
    std::fs::write(from.join("d/f"), "in").expect("file");
    std::fs::create_dir_all(to.join("base")).expect("directory");
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    // The directory `d` gives way to nothing: what is there is no directory, so it is replaced.
    symlink(&outside, to.join("base/d")).expect("symlink");
    let how = Extract { base: b"base".to_vec(), ..Extract::default() };
    extract(&packed(&from, Marks::Files)[..], open(&to), &how).expect("unpacked");
    assert!(std::fs::read_dir(&outside).expect("directory").next().is_none());
    assert_eq!(std::fs::read_to_string(to.join("base/d/f")).expect("file"), "in");
    let kept = Extract { keep_kinds: true, ..how };
    std::fs::remove_dir_all(to.join("base/d")).expect("removed");
    std::fs::write(to.join("base/d"), "").expect("file");
    let refused = extract(&packed(&from, Marks::Files)[..], open(&to), &kept).unwrap_err();
    assert_eq!(refused.to_string(), "cannot overwrite non-directory \"d\" with directory");
}

#[test]
fn records_count_their_own_length() {
    let mut records = Records::default();
    records.add(b"a", &[b'x'; 5]);
    assert_eq!(records.0, b"11 a=xxxxx\n");
}
