//! Volumes and bind mounts.

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::field;

/// Imports busybox's tree with something in `/data` and a `VOLUME` there.
fn image_with_a_volume(host: &Host) {
    let id = host.docker(&["create", IMAGE]).ok();
    host.docker(&["rm", &id]).ok();
    let script = "mkdir -p /data/in; echo old >/data/in/file; chown -R 7:8 /data; chmod 750 /data";
    host.docker(&["run", "--name", "seed", IMAGE, "sh", "-c", script]).ok();
    host.docker(&["commit", "-c", "VOLUME /data", "seed", "seeded"]).ok();
    host.docker(&["rm", "seed"]).ok();
}

pub(crate) fn a_volume_outlives_its_containers(host: &mut Host) {
    assert_eq!(host.docker(&["volume", "create", "--label", "a=b", "web"]).ok(), "web");
    let row = host.docker(&["volume", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"]);
    assert_eq!(row.ok(), "web");
    host.docker(&["run", "--rm", "-v", "web:/v", IMAGE, "sh", "-c", "echo kept >/v/f"]).ok();
    assert_eq!(host.docker(&["run", "--rm", "-v", "web:/v:ro", IMAGE, "cat", "/v/f"]).ok(), "kept");
    let said = host.docker(&["run", "--rm", "-v", "web:/v:ro", IMAGE, "touch", "/v/x"]).fails(1);
    assert!(said.contains("Read-only file system"), "{said}");

    let id = host.docker(&["create", "-v", "web:/v", IMAGE]).ok();
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

pub(crate) fn a_new_volume_is_filled_from_the_image(host: &mut Host) {
    image_with_a_volume(host);
    let look = "cat /data/in/file; stat -c '%u:%g %a' /data";
    let said = host.docker(&["run", "--rm", "seeded", "sh", "-c", look]).ok();
    assert_eq!(said, "old\n7:8 750");
    let said = host.docker(&["run", "--rm", "-v", "v1:/data", "seeded", "sh", "-c", look]).ok();
    assert_eq!(said, "old\n7:8 750");
    let none = host.docker(&["run", "--rm", "-v", "v2:/data:nocopy", "seeded", "ls", "/data"]).ok();
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

pub(crate) fn a_volume_can_be_what_its_options_say(host: &mut Host) {
    let memory = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,mode=700"];
    host.docker(&[&["volume", "create"], &memory[..], &["mem"]].concat()).ok();
    let id = host.docker(&["run", "-d", "-v", "mem:/m", IMAGE, "sleep", "1000"]).ok();
    let said = host.docker(&["exec", &id, "stat", "-f", "-c", "%T", "/m"]).ok();
    assert_eq!(said, "tmpfs");
    host.docker(&["exec", &id, "touch", "/m/shared"]).ok();
    assert_eq!(host.docker(&["run", "--rm", "-v", "mem:/m", IMAGE, "ls", "/m"]).ok(), "shared");
    host.docker(&["rm", "-f", &id]).ok();
    assert_eq!(host.docker(&["run", "--rm", "-v", "mem:/m", IMAGE, "ls", "/m"]).ok(), "");
    host.docker(&["volume", "rm", "mem"]).ok();
    let said = host.docker(&["volume", "create", "--opt", "what=x", "bad"]).fails(1);
    assert!(said.contains("invalid option: \"what\""), "{said}");
    let said = host.docker(&["volume", "create", "-d", "netapp", "bad"]).fails(1);
    assert!(said.contains("plugin \"netapp\" not found"), "{said}");
}

pub(crate) fn binds_show_the_hosts_files(host: &mut Host) {
    let dir = host.dir().join("bound");
    let source = dir.to_string_lossy().into_owned();
    let bind = format!("{source}:/b");
    host.docker(&["run", "--rm", "-v", &bind, IMAGE, "sh", "-c", "echo hi >/b/f"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("f")).expect("written"), "hi\n");
    let file = format!("{source}/f:/etc/motd:ro");
    assert_eq!(host.docker(&["run", "--rm", "-v", &file, IMAGE, "cat", "/etc/motd"]).ok(), "hi");
    let mount = format!("type=bind,src={source},dst=/b,readonly");
    let said = host.docker(&["run", "--rm", "--mount", &mount, IMAGE, "touch", "/b/x"]).fails(1);
    assert!(said.contains("Read-only file system"), "{said}");
    let missing = format!("type=bind,src={source}/none,dst=/b");
    let said = host.docker(&["run", "--rm", "--mount", &missing, IMAGE, "true"]).fails(125);
    assert!(said.contains("bind source path does not exist"), "{said}");
    let tmpfs = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0710";
    let said =
        host.docker(&["run", "--rm", "--mount", tmpfs, IMAGE, "stat", "-c", "%a", "/t"]).ok();
    assert_eq!(said, "710");
    host.docker(&["volume", "create", "parts"]).ok();
    let script = "mkdir /v/a; echo part >/v/a/f";
    host.docker(&["run", "--rm", "-v", "parts:/v", IMAGE, "sh", "-c", script]).ok();
    let part = "type=volume,src=parts,dst=/p,volume-subpath=a";
    assert_eq!(host.docker(&["run", "--rm", "--mount", part, IMAGE, "cat", "/p/f"]).ok(), "part");
    host.docker(&["volume", "rm", "parts"]).ok();
    let id = host.docker(&["create", "-v", &bind, "-v", "/b", IMAGE]);
    assert!(id.code == 0 || id.err.contains("Duplicate mount point"), "{id}");
    if id.code == 0 {
        assert_eq!(field(host, id.out.trim(), "{{len .Mounts}}"), "1");
        host.docker(&["rm", id.out.trim()]).ok();
    }
}

pub(crate) fn a_vm_refuses_the_hosts_files_with_the_reason(host: &mut Host) {
    let said =
        host.docker(&["run", "--isolation=hyperv", "-v", "/tmp:/b", IMAGE, "true"]).fails(125);
    assert!(said.contains("host directories are not shared with VM containers yet"), "{said}");
}
