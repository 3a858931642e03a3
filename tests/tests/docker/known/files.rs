//! Files of the host that a container, an image or a build could reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::super::hostile_images::{assert_untouched, outside};
use super::super::{detached, run};

/// Docker's CVE-2019-14271: `cp` executed and loaded what lay in the container.
pub(crate) fn cp_runs_nothing_of_the_container(host: &mut Host, isolation: Isolation) {
    let script = "for at in /bin /sbin /usr/bin /usr/sbin; do mkdir -p $at; for name in tar docker-tar \
         unpigz gzip hull-agent hull-runtime; do rm -f $at/$name; \
         printf '#!/bin/busybox sh\\ntouch /ran\\n' >$at/$name; chmod 755 $at/$name; done; done; \
         for at in /lib /lib64 /usr/lib /lib/x86_64-linux-gnu; do mkdir -p $at; \
         for name in libnss_files.so.2 libc.so.6 ld-linux-x86-64.so.2; do echo x >$at/$name; done; done; \
         echo 'passwd: files' >/etc/nsswitch.conf; touch /ready; exec sleep 1000";
    let id = detached(host, isolation, &[], &["/bin/busybox", "sh", "-c", script]);
    host.docker(&["exec", &id, "sh", "-c", "until [ -e /ready ]; do sleep 0.1; done"]).ok();
    let file = host.dir().join("sent");
    fs::write(&file, "sent").expect("a file");
    for archive in [&[][..], &["-a"]] {
        let to = format!("{id}:/tmp/");
        host.docker(&["exec", &id, "mkdir", "-p", "/tmp"]).ok();
        host.docker(&[&["cp"], archive, &[&*file.to_string_lossy(), &to]].concat()).ok();
        let back = host.dir().join("back").to_string_lossy().into_owned();
        host.docker(&[&["cp"], archive, &[&*format!("{id}:/tmp/sent"), &back]].concat()).ok();
        assert_eq!(fs::read(&back).expect("a file"), b"sent");
    }
    host.docker(&["exec", &id, "test", "!", "-e", "/ran"]).ok();
    host.docker(&["rm", "-f", &id]).ok();
}

/// Docker's CVE-2018-15664 and CVE-2021-41089: a directory that becomes a link between the look and the use.
pub(crate) fn cp_is_not_led_out_by_a_race(host: &mut Host, isolation: Isolation) {
    let outside = outside(host);
    let at = outside.display();
    let script = format!(
        "while :; do rm -rf /d; mkdir /d; rm -rf /d; ln -s {at} /d; rm -f /d; ln -s ../../..{at} /d; done"
    );
    let id = detached(host, isolation, &[], &["sh", "-c", &script]);
    let file = host.dir().join("planted");
    fs::write(&file, "planted").expect("a file");
    let file = file.to_string_lossy().into_owned();
    for _ in 0..15 {
        for to in ["/d/planted", "/d/secret", "/d/"] {
            host.docker(&["cp", &file, &format!("{id}:{to}")]);
        }
        let read = host.docker(&["cp", &format!("{id}:/d/secret"), "-"]);
        assert!(!read.out.contains("untouched"), "{read}");
    }
    host.docker(&["rm", "-f", &id]).ok();
    assert_untouched(&outside);
}

/// containerd's CVE-2022-23648: a volume of the image's at a path that led out was filled with the host's files.
pub(crate) fn a_volume_is_filled_from_the_image_alone(host: &mut Host, isolation: Isolation) {
    let outside = outside(host);
    let at = outside.display();
    let id = host.docker(&["create", IMAGE, "ln", "-s", &format!("../../../..{at}"), "/leak"]).ok();
    host.docker(&["start", "-a", &id]).ok();
    for volume in ["/leak".to_owned(), format!("/../../../..{at}"), "/leak/../secret".to_owned()] {
        let change = format!("VOLUME [\"{volume}\"]");
        let made = host.docker(&["commit", "-c", &change, &id, "known:leak"]);
        if made.code != 0 {
            continue;
        }
        let list = format!("cat {volume}/secret {at}/secret /leak/secret");
        let said = run(host, isolation, &["known:leak", "sh", "-c", &list]);
        assert!(!said.out.contains("untouched"), "{volume}: {said}");
        host.docker(&["rmi", "known:leak"]).ok();
    }
    host.docker(&["rm", &id]).ok();
    assert_untouched(&outside);
}

/// Docker's CVE-2021-41091, containerd's CVE-2021-41103 and CVE-2024-25621: any user of the host reached the
/// files of containers, programs with root's rights among them.
pub(crate) fn other_users_reach_no_containers_files(host: &mut Host) {
    let id = host.docker(&["run", "-d", "-v", "known:/v", IMAGE, "sleep", "1000"]).ok();
    let machine = host.docker(&["run", "-d", "--isolation=hyperv", IMAGE, "sleep", "1000"]).ok();
    let roots = [host.engine.data_root(), host.engine.exec_root()];
    let before = roots.map(|root| fs::metadata(root).expect("a directory").permissions());
    for root in roots {
        // As hulld makes it where it is not there yet.
        fs::set_permissions(root, fs::Permissions::from_mode(0o711)).expect("allowed");
    }
    let mut paths: Vec<String> = roots.iter().flat_map(|root| walk(root)).collect();
    // The suite's own; what only root can join; and a filter that is no secret.
    let public = |path: &str| path.contains("/netns/") || path.ends_with("/seccomp");
    let own = |path: &str| path.ends_with("/hulld.log") || path.contains("/certs/");
    paths.retain(|path| !own(path) && !public(path));
    assert!(paths.iter().any(|path| path.ends_with("bin/busybox")), "no layer was looked at");
    let list = host.dir().join("paths");
    fs::write(&list, paths.join("\n")).expect("a file");
    fs::set_permissions(host.dir(), fs::Permissions::from_mode(0o755)).expect("allowed");
    let script = format!(
        "while read -r at; do if [ -f \"$at\" -a -r \"$at\" ] || [ ! -d \"$at\" -a -w \"$at\" ]; \
         then echo \"$at\"; fi; done <{}",
        list.display()
    );
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
    let reached = host.engine.on_host("setpriv", &nobody).ok();
    for (root, mode) in roots.iter().zip(before) {
        fs::set_permissions(root, mode).expect("allowed");
    }
    assert_eq!(reached, "");
    host.docker(&["rm", "-f", &id, &machine]).ok();
    host.docker(&["volume", "rm", "known"]).ok();
}

/// Everything beneath, but not what is mounted there in turn.
fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        found.push(path.display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&path));
        }
    }
    found
}

/// BuildKit's CVE-2024-23651 and CVE-2024-23652: a mount whose place or source became a link led the
/// builder to the host's files, and its cleaning up removed them.
pub(crate) fn a_builds_mounts_are_not_led_out(host: &mut Host, isolation: Isolation) {
    let outside = outside(host);
    let at = outside.display();
    let dir = host.dir().join("led");
    fs::create_dir_all(&dir).expect("a directory");
    let dockerfile = format!(
        "FROM {IMAGE}\n\
         RUN --mount=type=cache,id=led,target=/c ln -s {at} /c/out && ln -s ../../../../../..{at} /c/up\n\
         RUN --mount=type=tmpfs,target=/place/dir mkdir /other && ln -s {at} /other/dir\n\
         RUN rm -rf /place && ln -s {at} /place\n\
         RUN --mount=type=tmpfs,target=/place/dir true\n\
         RUN --mount=type=cache,id=led,source=out,target=/c sh -c 'cat /c/secret; touch /c/planted' || true\n"
    );
    fs::write(dir.join("Dockerfile"), dockerfile).expect("a file");
    let isolation = format!("--isolation={isolation}");
    let context = dir.to_string_lossy().into_owned();
    let ran = host.docker(&["build", &isolation, "-t", "known:led", &context]);
    assert!(!ran.out.contains("untouched"), "{ran}");
    assert_untouched(&outside);
    if ran.code == 0 {
        host.docker(&["rmi", "known:led"]).ok();
    }
    host.docker(&["builder", "prune", "-af"]).ok();
    assert_untouched(&outside);
}
