//! Volumes and bind mounts.

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field};

/// Imports busybox's tree with something in `/data` and a `VOLUME` there.
fn image_with_a_volume(host: &Host) {
    let id = host.docker(&["create", IMAGE]).ok();
    host.docker(&["rm", &id]).ok();
    let script = "mkdir -p /data/in; echo old >/data/in/file; chown -R 7:8 /data; chmod 750 /data";
    host.docker(&["run", "--name", "seed", IMAGE, "sh", "-c", script]).ok();
    host.docker(&["commit", "-c", "VOLUME /data", "seed", "seeded"]).ok();
    host.docker(&["rm", "seed"]).ok();
}

pub(crate) fn a_volume_outlives_its_containers(host: &mut Host, isolation: Isolation) {
    let flag = &format!("--isolation={isolation}");
    assert_eq!(host.docker(&["volume", "create", "--label", "a=b", "web"]).ok(), "web");
    let row = host.docker(&["volume", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"]);
    assert_eq!(row.ok(), "web");
    host.docker(&["run", "--rm", flag, "-v", "web:/v", IMAGE, "sh", "-c", "echo kept >/v/f"]).ok();
    assert_eq!(
        host.docker(&["run", "--rm", flag, "-v", "web:/v:ro", IMAGE, "cat", "/v/f"]).ok(),
        "kept"
    );
    let said =
        host.docker(&["run", "--rm", flag, "-v", "web:/v:ro", IMAGE, "touch", "/v/x"]).fails(1);
    assert!(said.contains("Read-only file system"), "{said}");

    let id = host.docker(&["create", flag, "-v", "web:/v", IMAGE]).ok();
    let row = host.docker(&["system", "df", "-v"]).ok();
    assert!(row.lines().any(|line| line.starts_with("web ") && line.contains("5B")), "{row}");
    let said = host.docker(&["volume", "rm", "web"]).fails(1);
    assert!(said.contains(&format!("remove web: volume is in use - [{id}]")), "{said}");
    let seen = &host.engine.inspect(&id)["Mounts"][0];
    assert_eq!((&seen["Type"], &seen["Name"]), (&json!("volume"), &json!("web")));
    host.docker(&["rm", &id]).ok();
    assert_eq!(host.docker(&["volume", "rm", "web"]).ok(), "web");
    let said = host.docker(&["volume", "inspect", "web"]).fails(1);
    assert!(said.contains("no such volume"), "{said}");
}

pub(crate) fn nameless_volumes_go_with_their_container(host: &mut Host) {
    let count = |host: &Host| host.docker(&["volume", "ls", "-q"]).ok().lines().count();
    let before = count(host);
    host.docker(&["run", "--rm", "-v", "/v", IMAGE, "touch", "/v/x"]).ok();
    assert_eq!(count(host), before);
    let first = host.docker(&["create", "-v", "/v", IMAGE]).ok();
    let second = host.docker(&["create", "--volumes-from", &first, IMAGE]).ok();
    host.docker(&["rm", "-v", &first]).ok();
    assert_eq!(count(host), before + 1);
    host.docker(&["rm", &second]).ok();
    assert_eq!(count(host), before + 1);
    host.docker(&["volume", "create", "named"]).ok();
    let said = host.docker(&["volume", "prune", "-f"]).ok();
    assert!(said.starts_with("Deleted Volumes:") && !said.contains("named"), "{said}");
    assert_eq!(count(host), before + 1);
    assert!(host.docker(&["volume", "prune", "-af"]).ok().contains("named"));
}

pub(crate) fn a_new_volume_is_filled_from_the_image(host: &mut Host, isolation: Isolation) {
    let flag = &format!("--isolation={isolation}");
    image_with_a_volume(host);
    let look = "cat /data/in/file; stat -c '%u:%g %a' /data";
    let said = host.docker(&["run", "--rm", flag, "seeded", "sh", "-c", look]).ok();
    assert_eq!(said, "old\n7:8 750");
    let said =
        host.docker(&["run", "--rm", flag, "-v", "v1:/data", "seeded", "sh", "-c", look]).ok();
    assert_eq!(said, "old\n7:8 750");
    let none =
        host.docker(&["run", "--rm", flag, "-v", "v2:/data:nocopy", "seeded", "ls", "/data"]).ok();
    assert_eq!(none, "");
    host.docker(&["volume", "rm", "v1", "v2"]).ok();
    host.docker(&["rmi", "seeded"]).ok();
}

pub(crate) fn an_images_volume_works_behind_both_walls(host: &mut Host, isolation: Isolation) {
    image_with_a_volume(host);
    let flag = format!("--isolation={isolation}");
    let script = "cat /data/in/file; echo new >/data/new && cat /data/new";
    let said = host.docker(&["run", "--rm", &flag, "seeded", "sh", "-c", script]).ok();
    assert_eq!(said, "old\nnew");
    host.docker(&["rmi", "seeded"]).ok();
}

pub(crate) fn a_volume_can_be_what_its_options_say(host: &mut Host, isolation: Isolation) {
    let flag = &format!("--isolation={isolation}");
    let memory = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,mode=700"];
    host.docker(&[&["volume", "create"], &memory[..], &["mem"]].concat()).ok();
    let id = detached(host, isolation, &["-v", "mem:/m"], &["sleep", "1000"]);
    let look = "stat -c %a /m; dd if=/dev/zero of=/m/big bs=64k count=32 2>&1 | grep -o 'No space'; \
                rm /m/big";
    assert_eq!(host.docker(&["exec", &id, "sh", "-c", look]).ok(), "700\nNo space");
    host.docker(&["exec", &id, "touch", "/m/shared"]).ok();
    let list = |host: &Host| host.docker(&["run", "--rm", flag, "-v", "mem:/m", IMAGE, "ls", "/m"]);
    assert_eq!(list(host).ok(), "shared");
    let said = host.engine.post("/volumes/mem/clone", &json!({ "Name": "again" }));
    assert_eq!(said.0, 409, "{}", said.1);
    host.docker(&["rm", "-f", &id]).ok();
    assert_eq!(list(host).ok(), "");
    let said = host.engine.post("/volumes/mem/clone", &json!({ "Name": "again" }));
    assert!(said.0 == 400 && said.1.contains("where its options say"), "{}", said.1);
    host.docker(&["volume", "rm", "mem"]).ok();
    let said = host.docker(&["volume", "create", "--opt", "what=x", "bad"]).fails(1);
    assert!(said.contains("invalid option: \"what\""), "{said}");
    let said = host.docker(&["volume", "create", "-d", "netapp", "bad"]).fails(1);
    assert!(said.contains("plugin \"netapp\" not found"), "{said}");
    let tmpfs = ["--tmpfs=/t:size=1m,mode=1700,exec", IMAGE, "sh", "-c"];
    let script = "stat -c %a /t; cp /bin/busybox /t/true 2>&1 | grep -o 'No space'; rm -f /t/true; \
                  printf '#!/bin/sh\\necho ran' >/t/run; chmod +x /t/run; /t/run";
    let said = super::run(host, isolation, &[&tmpfs[..], &[script]].concat()).ok();
    assert!(said.starts_with("1700") && said.ends_with("ran"), "{said}");
}

pub(crate) fn a_volume_is_cloned_and_kept_as_it_was(host: &mut Host, isolation: Isolation) {
    let other = match isolation {
        Isolation::Process => Isolation::Vm,
        Isolation::Vm => Isolation::Process,
    };
    for (name, flags) in [("tree", &[][..]), ("disk", &["--opt=size=32M"])] {
        host.docker(&[&["volume", "create", "--label=k=v"], flags, &[name]].concat()).ok();
        let mount = format!("-v={name}:/v");
        let script = "echo first >/v/file; ln /v/file /v/link; chown 7:8 /v/file; chmod 4711 /v/file; \
                      touch /v/done; exec sleep 1000";
        let id = detached(host, isolation, &[&mount], &["sh", "-c", script]);
        tests::command::eventually("it is written", || {
            host.docker(&["exec", &id, "test", "-e", "/v/done"]).code == 0
        });
        let copy = |how: &str, new: &str| {
            let page = format!("/volumes/{name}/{how}");
            host.engine.post(&page, &json!({ "Name": new }))
        };
        let (status, said) = copy("clone", "new");
        assert!(status == 409 && said.contains("has it mounted"), "{said}");
        host.docker(&["kill", &id]).ok();
        host.docker(&["wait", &id]).ok();
        assert_eq!(copy("clone", "new").0, 201);
        let (status, said) = copy("snapshot", "");
        assert!(status == 201 && said.contains("dev.hull.snapshot.of"), "{said}");
        assert_eq!(copy("clone", "new").0, 409);
        host.docker(&["rm", &id]).ok();

        // Either is what the source was, whatever becomes of that.
        host.docker(&["volume", "rm", name]).ok();
        let look = "cat /v/link; stat -c '%h %u:%g %a' /v/file; ls /v";
        let snapshot = format!("{name}-snapshot-1");
        let seen = |host: &Host, volume: &str, by: Isolation| {
            super::run(host, by, &["-v", &format!("{volume}:/v:ro"), IMAGE, "sh", "-c", look]).ok()
        };
        let want = "first\n2 7:8 4711\ndone\nfile\nlink";
        assert_eq!(seen(host, "new", other), want);
        assert_eq!(seen(host, &snapshot, isolation), want);
        let label =
            host.docker(&["volume", "inspect", "-f", "{{.Labels.k}} {{.Options.size}}", "new"]);
        assert!(label.ok().starts_with("v "));
        let write = ["-v", &format!("{snapshot}:/v"), IMAGE, "true"].map(str::to_owned);
        let write: Vec<_> = write.iter().map(String::as_str).collect();
        let said = super::run(host, isolation, &write).fails(125);
        assert!(said.contains(&format!("{snapshot} is a snapshot of {name}")), "{said}");
        host.docker(&["volume", "rm", "new", &snapshot]).ok();
    }
}

/// A file system whose files share data, as the data root of an engine.
const SHARING: &str = "truncate -s 400M $DATA/disk; mkfs.xfs -q -m reflink=1 $DATA/disk; \
    mount -o loop $DATA/disk $DATA";

pub(crate) fn copies_share_their_data_where_the_file_system_can(host: &mut Host) {
    const SIZE: u64 = 48 << 20;
    let engine = host.another_engine_among_mounts(SHARING);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let root = format!("/proc/{}/root{}", engine.pid(), engine.data_root().display());
    let used = || {
        let all = rustix::fs::statvfs(&*root).expect("it is mounted");
        (all.f_blocks - all.f_bfree) * all.f_frsize
    };
    let inside = |volume: &str, script: &str| {
        let mount = if volume.contains(':') { volume.to_owned() } else { format!("{volume}:/v") };
        let mount = format!("-v={mount}");
        let words = ["run", "--rm", "--isolation=process", &mount, IMAGE, "sh", "-c", script];
        engine.docker(&words).ok()
    };
    for (name, flags) in [("tree", &[][..]), ("disk", &["--opt=size=96M"])] {
        engine.docker(&[&["volume", "create"], flags, &[name]].concat()).ok();
        let empty = used();
        inside(name, "dd if=/dev/urandom of=/v/file bs=1M count=48 2>/dev/null; sync");
        let full = used();
        assert!(full - empty >= SIZE, "{name}: {empty} {full}");
        for how in ["clone", "snapshot"] {
            let page = format!("/volumes/{name}/{how}");
            let (status, said) = engine.post(&page, &json!({ "Name": format!("{name}-{how}") }));
            assert_eq!(status, 201, "{said}");
        }
        // The file system may have kept room for more of the file until now.
        let copied = used().saturating_sub(full);
        assert!(copied < SIZE / 4, "{name}: two copies of {SIZE} bytes take {copied}");
        // What is written to one is not in another.
        let sum = "md5sum </v/file";
        let before = inside(name, sum);
        let clone = format!("{name}-clone");
        assert_eq!(inside(&clone, sum), before);
        inside(&clone, "echo other | dd of=/v/file conv=notrunc 2>/dev/null");
        assert_ne!(inside(&clone, sum), before);
        assert_eq!(inside(name, sum), before);
        assert_eq!(inside(&format!("{name}-snapshot:/v:ro"), sum), before);
    }
    let all = engine.docker(&["volume", "ls", "-q"]).ok();
    let mut remove = vec!["volume", "rm"];
    remove.extend(all.lines());
    engine.docker(&remove).ok();
}

pub(crate) fn binds_show_the_hosts_files(host: &mut Host, isolation: Isolation) {
    let flag = &format!("--isolation={isolation}");
    let dir = host.dir().join("bound");
    let source = dir.to_string_lossy().into_owned();
    let bind = format!("{source}:/b");
    host.docker(&["run", "--rm", flag, "-v", &bind, IMAGE, "sh", "-c", "echo hi >/b/f"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("f")).expect("written"), "hi\n");
    let file = format!("{source}/f:/etc/motd:ro");
    assert_eq!(
        host.docker(&["run", "--rm", flag, "-v", &file, IMAGE, "cat", "/etc/motd"]).ok(),
        "hi"
    );
    let mount = format!("type=bind,src={source},dst=/b,readonly");
    let said =
        host.docker(&["run", "--rm", flag, "--mount", &mount, IMAGE, "touch", "/b/x"]).fails(1);
    assert!(said.contains("Read-only file system"), "{said}");
    let missing = format!("type=bind,src={source}/none,dst=/b");
    let said = host.docker(&["run", "--rm", flag, "--mount", &missing, IMAGE, "true"]).fails(125);
    assert!(said.contains("bind source path does not exist"), "{said}");
    let tmpfs = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0710";
    let said =
        host.docker(&["run", "--rm", flag, "--mount", tmpfs, IMAGE, "stat", "-c", "%a", "/t"]).ok();
    assert_eq!(said, "710");
    host.docker(&["volume", "create", "parts"]).ok();
    let script = "mkdir /v/a; echo part >/v/a/f";
    host.docker(&["run", "--rm", flag, "-v", "parts:/v", IMAGE, "sh", "-c", script]).ok();
    let part = "type=volume,src=parts,dst=/p,volume-subpath=a";
    assert_eq!(
        host.docker(&["run", "--rm", flag, "--mount", part, IMAGE, "cat", "/p/f"]).ok(),
        "part"
    );
    host.docker(&["volume", "rm", "parts"]).ok();
    let id = host.docker(&["create", flag, "-v", &bind, "-v", "/b", IMAGE]);
    assert!(id.code == 0 || id.err.contains("Duplicate mount point"), "{id}");
    if id.code == 0 {
        assert_eq!(field(host, id.out.trim(), "{{len .Mounts}}"), "1");
        host.docker(&["rm", id.out.trim()]).ok();
    }
}

pub(crate) fn owners_modes_links_and_locks_are_the_hosts(host: &mut Host, isolation: Isolation) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let dir = host.dir().join(format!("owned-{isolation}"));
    std::fs::create_dir_all(dir.join("sub")).expect("a directory");
    std::fs::write(dir.join("old"), "x".repeat(300_000)).expect("a file");
    symlink("/etc/hostname", dir.join("out")).expect("a link");
    for path in [&dir, &dir.join("old")] {
        std::os::unix::fs::chown(path, Some(7), Some(8)).expect("an owner");
    }
    std::fs::set_permissions(dir.join("sub"), std::fs::Permissions::from_mode(0o1777))
        .expect("mode");
    let bind = format!("{}:/b", dir.display());
    let script = "cd /b; umask 027; echo new >sub/new; mkdir sub/dir; ln old hard; ln -s old soft; \
                  mv sub/new sub/moved; chmod 4755 sub/dir; wc -c <old; readlink out; \
                  stat -c '%h %u' old; printf more >>old; truncate -s 10 sub/moved; ls sub; \
                  mkfifo sub/fifo; mknod sub/dev c 1 3 2>/dev/null || echo no device";
    let flag = format!("--isolation={isolation}");
    let said =
        host.docker(&["run", "--rm", &flag, "-v", &bind, "-u", "7:8", IMAGE, "sh", "-c", script]);
    let out = said.out.clone();
    assert!(out.contains("300000\n/etc/hostname\n2 7\n") && out.contains("dir\nmoved"), "{said}");
    assert!(out.contains("no device"), "{said}");
    let of = |name: &str| std::fs::symlink_metadata(dir.join(name)).expect("there");
    assert_eq!((of("sub/moved").uid(), of("sub/moved").gid()), (7, 8));
    assert_eq!((of("sub/moved").mode() & 0o7777, of("sub/moved").len()), (0o640, 10));
    assert_eq!(of("sub/dir").mode() & 0o7777, 0o4755);
    assert_eq!((of("old").nlink(), of("old").len()), (2, 300_004));
    let fifo = of("sub/fifo").file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&fifo));

    // The host's own program, with what it is linked to: busybox has none.
    let programs =
        ["/usr/bin/flock", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"];
    let mut flags = vec![format!("-v={bind}")];
    flags.extend(programs.map(|path| format!("-v={path}:{path}:ro")));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let hold = ["flock", "/b/lock", "sh", "-c", "echo held >/b/told; exec sleep 1000"];
    let id = detached(host, isolation, &flags, &hold);
    tests::command::eventually("the lock is held", || dir.join("told").exists());
    let lock = std::fs::File::open(dir.join("lock")).expect("a file");
    let tried = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert_eq!(tried, Err(rustix::io::Errno::WOULDBLOCK));
    host.docker(&["rm", "-f", &id]).ok();
    tests::command::eventually("the lock goes with its holder", || {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    });
}

pub(crate) fn what_one_writes_the_other_reads(host: &mut Host) {
    host.docker(&["volume", "create", "common"]).ok();
    let vm = detached(host, Isolation::Vm, &["-v", "common:/v"], &["sleep", "1000"]);
    let from = ["--volumes-from", vm.as_str()];
    let process = detached(host, Isolation::Process, &from, &["sleep", "1000"]);
    for (writer, reader, text) in [(&vm, &process, "one"), (&process, &vm, "two")] {
        let write = format!("echo {text} >/v/{text}");
        host.docker(&["exec", writer, "sh", "-c", &write]).ok();
        assert_eq!(host.docker(&["exec", reader, "cat", &format!("/v/{text}")]).ok(), text);
    }
    host.docker(&["rm", "-f", &vm, &process]).ok();
    host.docker(&["volume", "rm", "common"]).ok();
}

pub(crate) fn mounts_do_not_spread_into_a_vm(host: &mut Host) {
    let said = host
        .docker(&["run", "--rm", "--isolation=hyperv", "-v", "/tmp:/b:rshared", IMAGE, "true"])
        .fails(125);
    assert!(said.contains("mounts do not spread across the wall of a VM"), "{said}");
}

pub(crate) fn a_guest_knows_more_files_than_its_server_holds_open(host: &mut Host) {
    let dir = host.dir().join("many");
    for part in 0..9 {
        let part = dir.join(part.to_string());
        std::fs::create_dir_all(&part).expect("a directory");
        for number in 0..1000 {
            std::fs::write(part.join(number.to_string()), "").expect("a file");
        }
    }
    std::fs::write(dir.join("0/77"), "first").expect("a file");
    let bind = format!("-v={}:/m", dir.display());
    let script = "find /m -type f -size -9 | wc -l; cat /m/*/77; echo new >/m/1/5; cat /m/1/5";
    let said = super::run(host, Isolation::Vm, &[&bind, IMAGE, "sh", "-c", script]).ok();
    // Sizes are asked for, so every file is looked up.
    assert_eq!(said, "9000\nfirstnew");
    assert_eq!(std::fs::read_to_string(dir.join("1/5")).expect("a file"), "new\n");
    std::fs::remove_dir_all(dir).expect("removed");
}
