//! Copying, exporting, comparing and committing a container's files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::Value;
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn cp_reaches_running_and_stopped_containers(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join(format!("copied-{isolation}"));
    fs::create_dir_all(dir.join("tree/sub")).expect("directory");
    fs::write(dir.join("tree/sub/file"), "text").expect("file");
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(dir.join("tree/sub/file"), mode).expect("mode");
    symlink("sub/file", dir.join("tree/link")).expect("symlink");
    let tree = dir.join("tree").to_string_lossy().into_owned();
    let running = detached(host, isolation, &[], &["sleep", "1000"]);
    let flag = format!("--isolation={isolation}");
    let stopped = host.docker(&["create", &flag, IMAGE, "cat", "/a/sub/file"]).ok();
    for (id, back) in [(&running, "r"), (&stopped, "s")] {
        host.docker(&["cp", &tree, &format!("{id}:/a")]).ok();
        let back = dir.join(back);
        host.docker(&["cp", &format!("{id}:/a"), &back.to_string_lossy()]).ok();
        assert_eq!(fs::read_to_string(back.join("sub/file")).expect("copied"), "text");
        let seen = fs::metadata(back.join("sub/file")).expect("copied");
        assert_eq!(seen.mode() & 0o7777, 0o640);
        assert_eq!(
            fs::read_link(back.join("link")).expect("symlink").to_string_lossy(),
            "sub/file"
        );
        let said = host.docker(&["cp", &tree, &format!("{id}:/etc/passwd")]).fails(1);
        assert!(said.contains("cannot copy directory"), "{said}");
        let said = host.docker(&["cp", &format!("{id}:/nowhere"), "-"]).fails(1);
        assert!(said.contains("Could not find the file /nowhere in container"), "{said}");
    }
    assert_eq!(host.docker(&["exec", &running, "cat", "/a/sub/file"]).ok(), "text");
    assert_eq!(host.docker(&["start", "-a", &stopped]).ok(), "text");
    host.docker(&["rm", "-f", &running, &stopped]).ok();
}

pub(crate) fn cp_sees_what_is_mounted(host: &mut Host, isolation: Isolation) {
    let file = host.dir().join("mounted");
    fs::write(&file, "text").expect("file");
    let file = file.to_string_lossy().into_owned();
    host.docker(&["volume", "create", "copied"]).ok();
    let running = detached(host, isolation, &["-v", "copied:/vol"], &["sleep", "1000"]);
    let flag = format!("--isolation={isolation}");
    let stopped = host.docker(&["create", &flag, "-v", "copied:/vol", IMAGE, "true"]).ok();
    for id in [&running, &stopped] {
        host.docker(&["cp", &file, &format!("{id}:/vol/from-{id}")]).ok();
    }
    let volume = host.docker(&["exec", &running, "ls", "/vol"]).ok();
    assert_eq!(volume.lines().count(), 2, "{volume}");
    host.docker(&["rm", "-f", &running, &stopped]).ok();
    host.docker(&["volume", "rm", "copied"]).ok();
}

pub(crate) fn no_symlink_of_a_container_leads_cp_out(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join("outside");
    fs::create_dir_all(&dir).expect("directory");
    fs::write(dir.join("secret"), "host").expect("file");
    let outside = dir.to_string_lossy().into_owned();
    let script = format!("ln -s {outside} /out; ln -s ../../../..{outside} /up; sleep 1000");
    let id = detached(host, isolation, &[], &["sh", "-c", &script]);
    host.docker(&["exec", &id, "sh", "-c", "until [ -L /up ]; do sleep 0.1; done"]).ok();
    for link in ["out", "up"] {
        let said = host.docker(&["cp", &format!("{id}:/{link}/secret"), "-"]).fails(1);
        assert!(said.contains("Could not find"), "{said}");
        let file = dir.join("secret").to_string_lossy().into_owned();
        host.docker(&["cp", &file, &format!("{id}:/{link}/planted")]);
        assert!(!dir.join("planted").exists());
    }
    let said = host.docker(&["cp", &format!("{id}:/proc/1/root/etc/passwd"), "-"]);
    assert!(said.code != 0 || !said.out.contains("host"), "{said}");
    host.docker(&["rm", "-f", &id]).ok();
}

pub(crate) fn diff_export_and_commit_tell_what_was_written(host: &mut Host, isolation: Isolation) {
    let script = "echo new >/new; rm /etc/group; echo x >>/etc/passwd; mkdir /dir; \
                  rm -rf /var; mkdir /var; echo v >/var/v";
    let name = detached(host, isolation, &["--name", "written"], &["sh", "-c", script]);
    host.docker(&["wait", &name]).ok();
    let diff = host.docker(&["diff", "written"]).ok();
    for line in ["A /new", "C /etc", "D /etc/group", "C /etc/passwd", "A /dir"] {
        assert!(diff.lines().any(|own| own == line), "{line} in {diff}");
    }
    for line in ["/etc/hosts", "/proc", "/dev"] {
        assert!(!diff.lines().any(|own| own.ends_with(line)), "{line} in {diff}");
    }
    // Where nothing was written Docker has no list, and some clients look for that.
    let still = detached(host, isolation, &["--name", "still"], &["sleep", "1000"]);
    let (status, body) = host.engine.get(&format!("/containers/{still}/changes"));
    assert_eq!((status, body.trim()), (200, "null"));
    let resized = host.engine.post(&format!("/containers/{still}/resize?h=5&w=5"), &Value::Null);
    assert_eq!(resized.0, 200, "it has no terminal: {}", resized.1);
    host.docker(&["rm", "-f", "still"]).ok();
    let tar = host.dir().join("export.tar").to_string_lossy().into_owned();
    host.docker(&["export", "-o", &tar, "written"]).ok();
    let list = host.engine.on_host("tar", &["-tf", &tar]).ok();
    assert!(list.lines().any(|line| line == "new") && !list.contains("etc/group\n"), "{list}");

    let change = [
        "-c",
        "ENV A=b ON=$PATH:/on",
        "-c",
        "LABEL a=\"is $A\"",
        "-c",
        "CMD [\"cat\", \"/new\"]",
        "-a",
        "me",
        "-m",
        "why",
    ];
    let id = host.docker(&[&["commit"], &change[..], &["written", "made:1"]].concat()).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(host.docker(&["run", "--rm", "made:1"]).ok(), "new");
    let seen = "test ! -e /etc/group && cat /var/v && ls /var && echo $A";
    assert_eq!(host.docker(&["run", "--rm", "made:1", "sh", "-c", seen]).ok(), "v\nv\nb");
    let said =
        host.docker(&["image", "inspect", "-f", "{{.Author}} {{.Config.Env}}", "made:1"]).ok();
    assert!(said.starts_with("me ") && said.contains("A=b") && said.contains("bin:/on"), "{said}");
    assert_eq!(host.engine.inspect("made:1")["Config"]["Labels"]["a"], "is b");
    let changes =
        ["HEALTHCHECK --interval=1s CMD true", "ONBUILD RUN make", "SHELL [\"ash\", \"-c\"]"];
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
    host.docker(&[&["commit"], &changes[..], &["written", "made:3"]].concat()).ok();
    let config = &host.engine.inspect("made:3")["Config"];
    assert_eq!(config["Healthcheck"]["Test"][0], "CMD-SHELL", "{config}");
    assert_eq!((&config["OnBuild"][0], &config["Shell"][1]), (&"RUN make".into(), &"-c".into()));
    // Words for a shell are for that of the image.
    host.docker(&["create", "--name", "shelled", "made:3"]).ok();
    host.docker(&["commit", "-c", "CMD echo $0", "shelled", "made:4"]).ok();
    assert_eq!(host.docker(&["run", "--rm", "made:4"]).ok(), "ash");
    host.docker(&["rm", "shelled"]).ok();
    host.docker(&["rmi", "made:4"]).ok();
    host.docker(&["rmi", "made:3"]).ok();
    host.docker(&["rm", "written"]).ok();

    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    host.docker(&["commit", &id, "made:2"]).ok();
    assert_eq!(field(host, &id, "{{.State.Status}}"), "running");
    host.docker(&["rm", "-f", &id]).ok();
    // Behind the other wall.
    let flag = match isolation {
        Isolation::Process => "--isolation=hyperv",
        Isolation::Vm => "--isolation=process",
    };
    assert_eq!(host.docker(&["run", "--rm", flag, "made:1", "sh", "-c", seen]).ok(), "v\nv\nb");
    host.docker(&["rmi", "made:1", "made:2"]).ok();
}
