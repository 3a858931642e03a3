use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// A tree with a secret beside the layer, which no archive may change or show.
struct Trial {
    dir: TempDir,
}

/// A member for [`archive`]: type, name, link target or contents.
type Part<'a> = (EntryType, &'a str, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

impl Trial {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("secret"), "untouched").expect("write");
        fs::create_dir(dir.path().join("layer")).expect("create");
        fs::create_dir(dir.path().join("lower")).expect("create");
        Self { dir }
    }

    fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    fn unpack(&self, archive: &[u8]) -> Result<u64, Error> {
        let done = unpack(archive, &self.layer()).and_then(|found| {
            settle(&self.layer(), &[self.lower()], &found)?;
            Ok(found.size)
        });
        let beside = fs::read_dir(self.dir.path()).expect("list").count();
        assert_eq!(beside, 3, "something appeared beside the layer");
        let secret = fs::read_to_string(self.dir.path().join("secret")).expect("read");
        assert_eq!(secret, "untouched");
        assert_eq!(fs::metadata(self.dir.path().join("secret")).expect("stat").nlink(), 1);
        done
    }
}

/// Writes names as they are; the builder's own checks would refuse the hostile ones.
fn archive(parts: &[Part]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in parts {
        let mut header = header(*kind, name);
        if *kind == FILE {
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).expect("to memory");
        } else {
            header.set_link_name_literal(text).expect("short");
            header.set_cksum();
            builder.append(&header, io::empty()).expect("to memory");
        }
    }
    builder.into_inner().expect("to memory")
}

fn header(kind: EntryType, name: &str) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o640);
    header.set_uid(1000);
    header.set_gid(2000);
    header.set_mtime(1_000_000);
    header.set_size(0);
    header
}

/// An archive of one empty file with PAX records, or of what `header` says.
fn pax(records: &[(&str, &[u8])], mut header: Header) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().copied()).expect("to memory");
    header.set_cksum();
    builder.append(&header, io::empty()).expect("to memory");
    builder.into_inner().expect("to memory")
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: owners, devices and trusted xattrs want root");
    }
    root
}

#[test]
fn what_is_packed_is_unpacked() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let archive = archive(&[
        (DIR, "./", ""),
        (DIR, "dir/", ""),
        (FILE, "dir/file", "hello"),
        (SYMLINK, "dir/link", "/etc/passwd"),
        (LINK, "hard", "dir/file"),
        (EntryType::Fifo, "fifo", ""),
        (FILE, "/absolute/path", "inside"),
    ]);
    assert_eq!(trial.unpack(&archive).expect("unpack"), 11);
    let layer = trial.layer();
    let file = fs::metadata(layer.join("dir/file")).expect("stat");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1000, 2000, 0o640));
    assert_eq!((file.mtime(), file.nlink()), (1_000_000, 2));
    assert_eq!(fs::metadata(layer.join("hard")).expect("stat").ino(), file.ino());
    assert_eq!(fs::metadata(layer.join("dir")).expect("stat").mtime(), 1_000_000);
    assert_eq!(fs::metadata(&layer).expect("stat").uid(), 1000);
    let link = fs::symlink_metadata(layer.join("dir/link")).expect("stat");
    assert_eq!((link.uid(), link.mtime()), (1000, 1_000_000));
    assert_eq!(fs::read_link(layer.join("dir/link")).expect("read"), Path::new("/etc/passwd"));
    assert!(fs::metadata(layer.join("fifo")).expect("stat").file_type().is_fifo());
    assert_eq!(fs::read_to_string(layer.join("absolute/path")).expect("read"), "inside");
}

#[test]
fn a_later_member_replaces_an_earlier_one() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let parts = archive(&[
        (FILE, "a", "first"),
        (FILE, "a", "second"),
        (DIR, "b", ""),
        (FILE, "b/inner", "x"),
        (FILE, "b", "now a file"),
        (SYMLINK, "c", "a"),
        (DIR, "c", ""),
        (FILE, "c/inner", "y"),
    ]);
    trial.unpack(&parts).expect("unpack");
    let read = |name: &str| fs::read_to_string(trial.layer().join(name)).expect("read");
    assert_eq!(
        (read("a"), read("b"), read("c/inner")),
        ("second".into(), "now a file".into(), "y".into())
    );
}

#[test]
fn a_file_is_put_where_its_directory_is_now() {
    let trial = Trial::new();
    let parts: [Part; 5] = [
        (FILE, "a/one", "1"),
        (FILE, "a/two", "2"),
        (DIR, "b", ""),
        (SYMLINK, "a", "b"),
        (FILE, "a/three", "3"),
    ];
    trial.unpack(&archive(&parts)).expect("an archive");
    assert_eq!(fs::read_to_string(trial.layer().join("b/three")).expect("through the link"), "3");
    assert_eq!(fs::read_dir(trial.layer().join("b")).expect("a directory").count(), 1);
}

#[test]
fn no_name_leads_out_of_the_layer() {
    let cases: [(&str, &[Part]); 7] = [
        ("dots", &[(FILE, "../x", "x")]),
        ("dots further in", &[(DIR, "a", ""), (FILE, "a/../../x", "x")]),
        ("dots alone", &[(DIR, "..", "")]),
        ("absolute dots", &[(FILE, "/../x", "x")]),
        ("hard link with dots", &[(LINK, "x", "../secret")]),
        ("hard link to what is not there", &[(LINK, "x", "/etc/passwd")]),
        ("hard link through a symlink", &[(SYMLINK, "up", ".."), (LINK, "x", "up/secret")]),
    ];
    for (name, parts) in cases {
        let error = Trial::new().unpack(&archive(parts)).err();
        assert_eq!(error.map(|e| e.kind()), Some(Kind::Invalid), "{name}");
    }
}

/// Every combination of a place outside and a way to it, then writes through what the last ones left.
#[test]
fn ten_thousand_tricks_leave_nothing_outside() {
    let outside =
        ["../secret", "/../secret", "../../../../tmp/x", "/proc/self/root/x", "..", "/.."];
    let ways = ["l", "a/l", "a/../l", "./l", "/l", "//a//l", "l/.", "l/..", "..", ""];
    let kinds = [FILE, DIR, SYMLINK, LINK];
    let trial = Trial::new();
    let mut tried = 0;
    for round in 0..14_u32 {
        for (i, target) in outside.iter().enumerate() {
            for (j, way) in ways.iter().enumerate() {
                for (k, kind) in kinds.iter().enumerate() {
                    let number = (round as usize * 7 + i * 3 + j + k) % outside.len();
                    let through = format!("{way}/{}", outside[number].trim_start_matches('/'));
                    let parts: [Part; 3] = [
                        (SYMLINK, "a/l", target),
                        (*kind, way, target),
                        (kinds[(k + round as usize) % 4], &through, "overwritten"),
                    ];
                    // Alone, so that one refusal does not spare the others, and onto what is there.
                    let one = |part: &Part| archive(std::slice::from_ref(part));
                    for part in &parts {
                        drop(unpack(&one(part)[..], &trial.layer()));
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
    trial.unpack(&archive(&[])).expect("nothing was touched");
    assert!(!Path::new("/tmp/x").exists());
}

#[test]
fn holes_stay_holes() {
    let trial = Trial::new();
    let source = trial.dir.path().join("lower/sparse");
    let file = fs::File::create(&source).expect("create");
    let mut want = vec![0; 40 << 20];
    for piece in 0..30_usize {
        let at = piece * (1 << 20);
        want[at..at + 6].copy_from_slice(b"island");
        std::os::unix::fs::FileExt::write_all_at(&file, b"island", at as u64).expect("write");
    }
    file.set_len(want.len() as u64).expect("a hole at the end");
    let packed = |flags: &[&str]| {
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(trial.lower()).args(["-S", "-c"]).args(flags).arg("sparse");
        let output = tar.output().expect("tar");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for flags in [&["--format=gnu"][..], &["--format=pax"]] {
        let archive = packed(flags);
        assert!(archive.len() < 1 << 20, "tar has seen the holes");
        assert_eq!(trial.unpack(&archive).expect("unpacked"), want.len() as u64, "{flags:?}");
        let unpacked = trial.layer().join("sparse");
        assert!(fs::read(&unpacked).expect("read") == want, "{flags:?}");
        let blocks = fs::metadata(&unpacked).expect("stat").blocks();
        assert!(blocks * 512 < 4 << 20, "{flags:?} {blocks}");
    }
    let old = packed(&["--format=pax", "--sparse-version=0.1"]);
    assert_eq!(trial.unpack(&old).map_err(|e| e.kind()), Err(Kind::Unsupported));
}

#[test]
fn the_last_file_needs_no_padding() {
    let trial = Trial::new();
    let whole = archive(&[(FILE, "first", "one"), (FILE, "last", "two")]);
    // Three headers of 512 bytes and the first file's block come before the last file's three bytes.
    let end = 3 * 512 + 3;
    assert_eq!(&whole[end - 3..end], b"two");
    assert_eq!(trial.unpack(&whole[..end]).expect("umoci leaves it out"), 6);
    let trial = Trial::new();
    assert!(trial.unpack(&whole[..end - 1]).is_err(), "a file that is cut short");
}

#[test]
fn a_symlink_leads_to_places_inside_only() {
    if !root() {
        return;
    }
    for target in ["..", "../..", "/", "/proc/self/root", "/proc/self/cwd"] {
        let trial = Trial::new();
        let parts = [(SYMLINK, "up", target), (FILE, "up/secret", "changed"), (DIR, "up/x/y", "")];
        // Where the target is not in the layer there is nothing to go through.
        let done = trial.unpack(&archive(&parts));
        if !target.starts_with("/proc") {
            done.expect(target);
            let inside = fs::read_to_string(trial.layer().join("secret")).expect("read");
            assert_eq!(inside, "changed", "{target}");
        }
    }
}

#[test]
fn the_last_component_is_never_followed() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let outside = trial.dir.path().join("secret");
    let outside = outside.to_str().expect("text");
    let parts =
        [(SYMLINK, "x", outside), (FILE, "x", "changed"), (SYMLINK, "y", ".."), (DIR, "y", "")];
    trial.unpack(&archive(&parts)).expect("unpack");
    assert!(fs::symlink_metadata(trial.layer().join("x")).expect("stat").is_file());
    assert!(fs::symlink_metadata(trial.layer().join("y")).expect("stat").is_dir());
}

#[test]
fn whiteouts_become_overlayfs_marks() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let parts = archive(&[
        (FILE, "dir/.wh.gone", ""),
        (FILE, "opaque/.wh..wh..opq", ""),
        (FILE, "opaque/new", "x"),
        (FILE, ".wh.again", ""),
        (FILE, "again/inner", "x"),
        (FILE, "before/inner", "x"),
        (FILE, ".wh.before", ""),
        (FILE, "file", "x"),
        (FILE, ".wh.file", ""),
    ]);
    trial.unpack(&parts).expect("unpack");
    let layer = trial.layer();
    let gone = fs::symlink_metadata(layer.join("dir/gone")).expect("stat");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["opaque", "again", "before"] {
        let mark = xattr(&layer.join(opaque), "trusted.overlay.opaque");
        assert_eq!(mark.as_deref(), Some(&b"y"[..]), "{opaque}");
    }
    assert!(layer.join("again/inner").exists() && layer.join("before/inner").exists());
    assert!(layer.join("file").is_file(), "a whiteout does not hide its own layer's file");
    assert!(!layer.join("opaque/.wh..wh..opq").exists());
}

#[test]
fn a_whiteout_of_no_possible_name_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh..wh.plnk", ".wh..wh.aufs"] {
        let error = Trial::new().unpack(&archive(&[(FILE, name, "")])).err();
        assert_eq!(error.map(|e| e.kind()), Some(Kind::Invalid), "{name}");
    }
}

#[test]
fn an_archive_may_not_bring_overlayfs_marks() {
    let mut device = header(EntryType::Char, "whiteout");
    device.set_device_major(0).expect("ustar");
    device.set_device_minor(0).expect("ustar");
    let opaque = [("SCHILY.xattr.trusted.overlay.opaque", &b"y"[..])];
    for (name, bytes) in
        [("a device 0:0", pax(&[], device)), ("an opaque mark", pax(&opaque, header(DIR, "dir")))]
    {
        let error = Trial::new().unpack(&bytes).err();
        assert!(matches!(error, Some(Error::Reserved { .. })), "{name}: {error:?}");
    }
}

#[test]
fn pax_records_and_binary_xattrs_are_kept() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    // Version 2 with CAP_DAC_OVERRIDE and CAP_FOWNER permitted: 0x0a, which is a line end.
    let capability = [1, 0, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let records = [
        ("path", long.as_bytes()),
        ("uid", b"70000"),
        ("mtime", b"1234567.5"),
        ("SCHILY.xattr.security.capability", &capability[..]),
        ("SCHILY.xattr.user.lines", b"a\nb\0c"),
    ];
    trial.unpack(&pax(&records, header(FILE, "short"))).expect("unpack");
    let path = trial.layer().join(&long);
    let file = fs::metadata(&path).expect("stat");
    assert_eq!((file.uid(), file.mtime(), file.mtime_nsec()), (70000, 1_234_567, 500_000_000));
    assert_eq!(xattr(&path, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&path, "user.lines").as_deref(), Some(&b"a\nb\0c"[..]));
}

#[test]
fn an_implied_directory_looks_as_it_does_beneath() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let tmp = trial.lower().join("tmp");
    fs::create_dir(&tmp).expect("create");
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::set_permissions(trial.lower(), fs::Permissions::from_mode(0o700)).expect("chmod");
    symlink("/etc", trial.lower().join("link")).expect("symlink");
    trial.unpack(&archive(&[(FILE, "tmp/x", ""), (FILE, "link/x", "")])).expect("unpack");
    let mode = |path: PathBuf| fs::metadata(path).expect("stat").mode() & 0o7777;
    assert_eq!(mode(trial.layer().join("tmp")), 0o1777);
    assert_eq!(mode(trial.layer().join("link")), 0o755);
    assert_eq!(mode(trial.layer()), 0o700);
}

#[test]
fn a_broken_archive_is_refused() {
    let whole = archive(&[(FILE, "a", "some text that is longer than nothing")]);
    for length in [1, 511, 513, 530] {
        let error = Trial::new().unpack(&whole[..length]).err();
        assert_eq!(error.map(|e| e.kind()), Some(Kind::Invalid), "{length}");
    }
    assert_eq!(Trial::new().unpack(&[]).ok(), Some(0));
}

#[test]
fn overlayfs_shows_what_the_marks_mean() {
    if !root() {
        return;
    }
    let trial = Trial::new();
    let lower = trial.lower();
    for name in ["gone", "kept"] {
        fs::write(lower.join(name), "lower").expect("write");
    }
    fs::create_dir(lower.join("opaque")).expect("create");
    fs::write(lower.join("opaque/old"), "lower").expect("write");
    let parts =
        [(FILE, ".wh.gone", ""), (FILE, "opaque/.wh..wh..opq", ""), (FILE, "opaque/new", "x")];
    trial.unpack(&archive(&parts)).expect("unpack");
    let merged = tempfile::tempdir().expect("temporary directory");
    let layers = format!("lowerdir={}:{}", trial.layer().display(), lower.display());
    let mounted = std::process::Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &layers])
        .arg(merged.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("skipped: overlayfs cannot be mounted here");
        return;
    }
    let there =
        ["gone", "kept", "opaque/old", "opaque/new"].map(|n| merged.path().join(n).exists());
    let unmounted = std::process::Command::new("umount").arg(merged.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!(there, [false, true, false, true]);
}
