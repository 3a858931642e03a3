//! Contexts that are meant to do harm: one clear error each, or nothing of it outside.

use std::fs;
use std::io::Write;

use tests::Host;
use tests::host::{Engine, IMAGE};

use super::super::hostile_images::{Member, archive, assert_untouched, member, outside};

/// An archive with a Dockerfile and `members`.
fn hostile(host: &Host, dockerfile: &str, members: Vec<Member>) -> Vec<u8> {
    let path = host.dir().join("hostile.tar");
    let dockerfile = dockerfile.replace("BASE", IMAGE);
    let mut all = vec![member(tar::EntryType::Regular, "Dockerfile", dockerfile)];
    all.extend(members);
    archive(&path, &all);
    fs::read(path).expect("an archive")
}

/// What lies in the builder's directory and is no cache.
pub(super) fn left(engine: &Engine) -> Vec<String> {
    let entries = fs::read_dir(engine.data_root().join("build")).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    names
        .map(|name| name.expect("text"))
        .filter(|name| name != "cache" && name != "empty")
        .collect()
}

pub(crate) fn no_context_reaches_outside(host: &mut Host) {
    use tar::EntryType::{Char, Fifo, Link, Regular, Symlink};
    let outside = outside(host);
    let at = outside.display().to_string();
    let refused: [(Vec<Member>, &str); 8] = [
        (
            vec![member(Symlink, "up", at.clone()), member(Regular, "up/planted", "x")],
            "beneath something that is no directory",
        ),
        (vec![member(Regular, "../above", "x")], "leads out of the build context"),
        (vec![member(Regular, "a/../../above", "x")], "leads out of the build context"),
        (vec![member(Char, "device", "")], "is a device"),
        (vec![member(Fifo, "fifo", "")], "is a FIFO"),
        (
            vec![member(Link, "hard", "../../etc/passwd")],
            "is a link to a file that is not before it",
        ),
        (vec![member(Link, "hard", "absent")], "is a link to a file that is not before it"),
        (vec![member(Symlink, "loop", "loop"), member(Regular, "x", "")], "loop"),
    ];
    for (members, want) in refused {
        let dockerfile = "FROM BASE\nCOPY loop /x\n";
        let ran = host.engine.docker_with(&["build", "-"], &hostile(host, dockerfile, members));
        assert_ne!(ran.code, 0, "{want}: {ran}");
        assert!(ran.err.to_lowercase().contains(&want.to_lowercase()), "{want}: {ran}");
    }
    // Links lead to places in the context and in the image, wherever they point.
    let members = vec![
        member(Symlink, "up", format!("../../../../../..{at}")),
        member(Symlink, "abs", at.clone()),
        member(Regular, "/rooted", "x"),
        member(Symlink, "d/deep", format!("{at}/secret")),
    ];
    let dockerfile = format!(
        "FROM BASE\nRUN ln -s {at} /hole\nCOPY . /all\nCOPY rooted /hole/planted\nCOPY d /hole/dir\n\
         RUN test -e {at}/planted && test \"$(cat /all/rooted)\" = x\n"
    );
    let sent = hostile(host, &dockerfile, members);
    let ran = host.engine.docker_with(&["build", "--force-rm", "-t", "holes", "-"], &sent);
    assert_eq!(ran.code, 0, "{ran}");
    assert_untouched(&outside);
    host.docker(&["rmi", "holes"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
    assert_eq!(left(&host.engine), [""; 0]);
}

pub(crate) fn names_with_every_byte_are_copied(host: &mut Host) {
    let path = host.dir().join("bytes.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).expect("a file"));
    let dockerfile = format!("FROM {IMAGE}\nCOPY d /d\nRUN test \"$(ls /d | wc -l)\" -ge 250\n");
    let mut put = |name: &[u8], text: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_mode(0o644);
        header.set_uid(5);
        header.set_gid(5);
        header.set_mtime(1);
        header.set_size(text.len() as u64);
        header.set_cksum();
        archive.append(&header, text.as_bytes()).expect("written");
    };
    put(b"Dockerfile", &dockerfile);
    for byte in (1..=u8::MAX).filter(|byte| *byte != b'/' && *byte != b'.') {
        put(&[b'd', b'/', byte], "x");
    }
    archive.into_inner().and_then(|mut file| file.flush()).expect("written");
    let sent = fs::read(path).expect("an archive");
    let ran = host.engine.docker_with(&["build", "-t", "bytes", "-"], &sent);
    assert_eq!(ran.code, 0, "{ran}");
    host.docker(&["rmi", "bytes"]).ok();
}

pub(crate) fn very_many_files_are_copied(host: &mut Host) {
    // A hundred thousand take a minute of a program that is not optimized: that is left to `make soak`.
    let many = std::env::var_os("HULL_SOAK_BUILDS").is_some();
    let count = if many { 100_000 } else { 10_000 };
    let path = host.dir().join("many.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).expect("a file"));
    let mut put = |name: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).expect("written");
    };
    let dockerfile = format!(
        "FROM {IMAGE}\nCOPY d /d\n\
         RUN test \"$(find /d -type f | wc -l)\" = {count} && test \"$(cat /d/7/7)\" = 7\n"
    );
    put("Dockerfile", &dockerfile);
    for number in 0..count {
        put(&format!("d/{}/{number}", number % 500), &number.to_string());
    }
    archive.into_inner().and_then(|mut file| file.flush()).expect("written");
    let sent = fs::read(path).expect("an archive");
    let ran = host.engine.docker_with(&["build", "-t", "many", "-"], &sent);
    assert_eq!(ran.code, 0, "{ran}");
    host.docker(&["rmi", "many"]).ok();
}

pub(crate) fn an_archive_larger_than_the_disk_leaves_nothing(host: &mut Host) {
    let engine = host.another_engine_on_a_disk_of(24 << 20);
    let dir = host.dir().join("endless");
    fs::create_dir_all(&dir).expect("a directory");
    let socket = engine.exec_root().join("hull.sock").display().to_string();
    let sh = |script: &str| {
        let script = format!("set -e; cd {}; {script}", dir.display());
        engine.on_host("sh", &["-c", &script])
    };
    let made = "truncate -s 256M big; printf 'FROM scratch\\nCOPY big /\\n' > Dockerfile; \
                tar -cf whole.tar Dockerfile big; xz -0 -k whole.tar; bzip2 -k whole.tar; rm big";
    sh(made).ok();
    let docker = format!("docker -H unix://{socket} build");
    for script in [
        format!("gzip -c whole.tar | {docker} -"),
        format!("{docker} - < whole.tar.xz"),
        format!(
            "mkdir xz; mv whole.tar.xz xz; printf 'FROM scratch\\nADD whole.tar.xz /' > xz/Dockerfile; {docker} xz"
        ),
        format!(
            "mkdir bz; mv whole.tar.bz2 bz; printf 'FROM scratch\\nADD whole.tar.bz2 /' > bz/Dockerfile; {docker} bz"
        ),
    ] {
        let ran = sh(&script);
        assert_ne!(ran.code, 0, "{script}: {ran}");
        assert!(ran.err.to_lowercase().contains("no space left on device"), "{script}: {ran}");
        assert_eq!(left(&engine), [""; 0], "{script}");
        assert_eq!(engine.docker(&["images", "-aq"]).ok(), "");
    }
    fs::remove_dir_all(&dir).expect("removed");
}
