//! Images that are meant to do harm, and disks without room for good ones: one clear error each, the images
//! that were there stay, and nothing is left over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tests::Host;
use tests::command::Ran;
use tests::host::{Engine, IMAGE};

/// Ids of all images and names of all blobs, layers and unfinished files.
fn held(engine: &Engine) -> Vec<String> {
    let mut held: Vec<String> =
        engine.docker(&["images", "-aq", "--no-trunc"]).ok().lines().map(str::to_owned).collect();
    for dir in ["content/blobs/sha256", "content/ingest", "snapshots"] {
        let entries = fs::read_dir(engine.data_root().join(dir)).expect("a directory");
        held.extend(entries.map(|entry| entry.expect("an entry").path().display().to_string()));
    }
    held.sort();
    held
}

/// That the command fails with one line that holds `want`, and changes nothing.
#[track_caller]
fn refused(engine: &Engine, before: &[String], ran: Ran, want: &str) {
    let said = ran.fails(1);
    let clear = said.lines().last().unwrap_or_default().to_lowercase();
    assert!(clear.contains(want), "want {want:?}: {said}");
    assert_eq!(held(engine), before, "{said}");
}

/// One member: type, name, target or contents.
pub(crate) type Member = (tar::EntryType, String, String);

/// Writes names as they are, which the writer's own checks would refuse.
pub(crate) fn archive(path: &Path, members: &[Member]) {
    let mut archive = tar::Builder::new(io::BufWriter::new(File::create(path).expect("a file")));
    for (kind, name, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        if *kind == tar::EntryType::Char {
            header.set_device_major(0).expect("in range");
            header.set_device_minor(0).expect("in range");
        }
        let is_file = *kind == tar::EntryType::Regular;
        if !is_file {
            header.set_link_name_literal(text).expect("short");
        }
        header.set_size(if is_file { text.len() as u64 } else { 0 });
        header.set_cksum();
        let bytes = if is_file { text.as_bytes() } else { b"" };
        archive.append(&header, bytes).expect("written");
    }
    archive.into_inner().and_then(|mut file| file.flush()).expect("written");
}

pub(crate) fn member(
    kind: tar::EntryType,
    name: impl Into<String>,
    text: impl Into<String>,
) -> Member {
    (kind, name.into(), text.into())
}

/// A directory outside of everything that the engine owns, which no archive may change.
pub(crate) fn outside(host: &Host) -> std::path::PathBuf {
    let outside = host.dir().join("outside");
    fs::create_dir_all(outside.join("dir")).expect("a directory");
    fs::write(outside.join("secret"), "untouched").expect("a file");
    outside
}

#[track_caller]
pub(crate) fn assert_untouched(outside: &Path) {
    assert_eq!(fs::read(outside.join("secret")).expect("a file"), b"untouched");
    let names = |dir: &Path| fs::read_dir(dir).expect("a directory").count();
    assert_eq!((names(outside), names(&outside.join("dir"))), (2, 0), "something came outside");
}

pub(crate) fn ten_thousand_tricks_stay_inside_the_image(host: &mut Host) {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let outside = outside(host);
    let out = outside.display().to_string();
    // Where the links lead inside of the image.
    let mut members = vec![member(Directory, format!("{out}/dir"), "")];
    // Each leads to the place outside in another way, and then writes, links, hides or replaces there.
    for number in 0..1250 {
        let link = format!("l{number}");
        let up = "../".repeat(12 + number % 5);
        members.extend([
            member(
                Symlink,
                &link,
                if number % 2 == 0 { out.clone() } else { format!("{up}{out}") },
            ),
            member(Regular, format!("{link}/new"), "written through a link"),
            member(Regular, format!("{link}/dir/new"), "deeper"),
            member(Regular, format!("{link}/.wh.secret"), ""),
            member(Regular, format!("{link}/dir/.wh..wh..opq"), ""),
            // What was a directory becomes a link, and the other way round.
            member(Directory, format!("s{number}"), ""),
            member(Symlink, format!("s{number}"), &out),
            member(Regular, format!("s{number}/secret"), "swapped"),
        ]);
    }
    let tar = host.dir().join("tricks.tar");
    archive(&tar, &members);
    assert!(members.len() >= 10_000);
    let tar = tar.display().to_string();
    host.docker(&["import", &tar, "tricks:1"]).ok();
    assert_untouched(&outside);
    // Inside, the links lead to places inside.
    let export = host.dir().join("tricks-out.tar").display().to_string();
    host.docker(&["create", "--name", "tricks", "tricks:1", "/none"]).ok();
    host.docker(&["export", "-o", &export, "tricks"]).ok();
    let list = host.engine.on_host("tar", &["-tf", &export]).ok();
    assert!(list.contains(&format!("{}/new", out.trim_start_matches('/'))), "{list:.400}");
    host.docker(&["rm", "tricks"]).ok();
    host.docker(&["rmi", "tricks:1"]).ok();
    assert_untouched(&outside);

    let before = held(&host.engine);
    for (kind, name, text, want) in [
        (Regular, "../../outside/new", "", "leads out of the layer"),
        (Regular, "a/../../new", "", "leads out of the layer"),
        (Directory, "..", "", "leads out of the layer"),
        (Link, "hard", "../../../etc/passwd", "leads out of the layer"),
        (Link, "hard", "/etc/hull-none", "hard"),
        (Regular, ".wh...", "", "invalid whiteout"),
        (Regular, "a/.wh.", "", "invalid whiteout"),
        (tar::EntryType::Char, "null", "", "reserved for overlayfs"),
    ] {
        archive(Path::new(&tar), &[member(Regular, "good", "x"), member(kind, name, text)]);
        refused(&host.engine, &before, host.docker(&["import", &tar, "bad:1"]), want);
        assert_untouched(&outside);
    }
}

pub(crate) fn an_archive_that_is_cut_off_leaves_nothing(host: &mut Host) {
    let at = |name: &str| host.dir().join(name).display().to_string();
    let (saved, cut) = (at("whole.tar"), at("cut"));
    host.docker(&["save", "-o", &saved, IMAGE]).ok();
    host.engine.on_host("sh", &["-c", &format!("gzip -kf {saved}")]).ok();
    host.docker(&["rmi", IMAGE]).ok();
    let before = held(&host.engine);
    for whole in [saved.clone(), format!("{saved}.gz")] {
        let bytes = fs::read(whole).expect("an archive");
        for part in [1, 5, 9] {
            fs::write(&cut, &bytes[..bytes.len() * part / 10]).expect("a file");
            refused(&host.engine, &before, host.docker(&["load", "-i", &cut]), "archive");
        }
    }
    // What was compressed and is cut off cannot be imported; neither can what is no archive.
    let gzip = fs::read(format!("{saved}.gz")).expect("an archive");
    fs::write(&cut, &gzip[..gzip.len() / 2]).expect("a file");
    refused(&host.engine, &before, host.docker(&["import", &cut, "cut:1"]), "archive");
    fs::write(&cut, "this is no archive").expect("a file");
    refused(&host.engine, &before, host.docker(&["import", &cut, "cut:1"]), "archive");
    host.docker(&["load", "-q", "-i", &saved]).ok();
}

pub(crate) fn a_full_disk_stops_what_needs_room_and_nothing_else(host: &mut Host) {
    let engine = host.another_engine_on_a_disk_of(24 << 20);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    // A VM's template and initramfs have no room on a disk that small.
    let wall = "--isolation=process";
    engine.docker(&["create", wall, "--name", "large", IMAGE]).ok();
    let at = |name: &str| host.dir().join(name).display().to_string();
    // An image that has room on the first engine's disk alone.
    let (tree, tar, saved) = (at("large"), at("large.tar"), at("large-saved.tar"));
    let make = format!("mkdir -p {tree} && head -c 20000000 /dev/urandom >{tree}/file");
    host.engine.on_host("sh", &["-c", &make]).ok();
    host.engine.on_host("tar", &["-C", &tree, "-cf", &tar, "."]).ok();
    let name = "127.0.0.1:5000/large:1";
    host.docker(&["import", &tar, name]).ok();
    host.docker(&["push", name]).ok();
    host.docker(&["save", "-o", &saved, name]).ok();
    host.docker(&["rmi", name]).ok();

    let before = held(&engine);
    let used = used(&engine);
    for command in [&["pull", name][..], &["load", "-i", &saved], &["import", &tar, "imported:1"]] {
        refused(&engine, &before, engine.docker(command), "no space left on device");
    }
    assert_eq!(self::used(&engine), used, "all room is free again");
    // A commit needs room for what the container wrote: twice, as a blob and as a layer.
    engine.on_host("truncate", &["-s", "10000000", &format!("{tree}/file")]).ok();
    engine.docker(&["cp", &format!("{tree}/file"), "large:/small"]).ok();
    refused(
        &engine,
        &before,
        engine.docker(&["commit", "large", "made:1"]),
        "no space left on device",
    );
    engine.docker(&["rm", "large"]).ok();
    assert_eq!(engine.docker(&["run", "--rm", wall, IMAGE, "echo", "alive"]).ok(), "alive");
    fs::remove_dir_all(tree).expect("removed");
}

/// Blocks in use on the engine's disk.
fn used(engine: &Engine) -> String {
    let disk = engine.data_root().join("snapshots").display().to_string();
    engine.on_host("df", &["--output=used", &disk]).ok()
}

pub(crate) fn a_blob_that_has_rotted_is_told_and_fetched_again(host: &mut Host) {
    host.docker(&["rmi", IMAGE]).ok();
    host.docker(&["pull", "-q", IMAGE]).ok();
    let blobs = host.engine.data_root().join("content/blobs/sha256");
    let largest = fs::read_dir(&blobs).expect("a directory").map(|entry| entry.expect("an entry"));
    let largest = largest.max_by_key(|entry| entry.metadata().map_or(0, |data| data.len()));
    let path = largest.expect("a blob").path();
    let mut bytes = fs::read(&path).expect("a blob");
    bytes[1000] ^= 1;
    fs::write(&path, bytes).expect("written");
    let saved = host.dir().join("rotten.tar").display().to_string();
    let said = host.docker(&["save", "-o", &saved, IMAGE]).fails(1);
    assert!(said.contains("the file is damaged"), "{said}");
    assert_eq!(host.docker(&["run", "--rm", IMAGE, "echo", "layers are whole"]).code, 0);
    host.docker(&["rmi", IMAGE]).ok();
    host.docker(&["pull", "-q", IMAGE]).ok();
    host.docker(&["save", "-o", &saved, IMAGE]).ok();
}
