//! Pulls and pushes that do not go smoothly, with the stock client.

use std::fs;
use std::time::Duration;

use tests::command::eventually;
use tests::host::IMAGE;
use tests::relay::Wire;
use tests::{Engine, Host};

/// The registry, by way of a relay.
const SLOW: &str = "127.0.0.1:5002";
const REGISTRY: &str = "127.0.0.1:5000";

/// Files of the store that are no whole blob and no whole layer.
fn unfinished(engine: &Engine) -> Vec<String> {
    let list = |dir: &str| fs::read_dir(engine.data_root().join(dir)).into_iter().flatten();
    let entries = list("content/blobs/sha256").chain(list("content")).chain(list("snapshots"));
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let whole = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    names
        .filter(|name| {
            !whole(name) && !["blobs", "index.json", "oci-layout"].contains(&name.as_str())
        })
        .collect()
}

pub(crate) fn a_client_that_goes_ends_its_pull_and_no_other(host: &mut Host) {
    let engine = host.another_engine_with(&[]);
    let before = unfinished(&engine);
    let wire = Wire { speed: 300 << 10, breaks: None };
    let relay = engine.relay(SLOW, REGISTRY, wire);
    let image = format!("{SLOW}/busybox");
    let leave = |pull: tests::command::Running| {
        // As the terminal's key does; the client then closes its connection.
        let pid = i32::try_from(pull.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::INT)
            .expect("it runs");
        assert_ne!(pull.wait().code, 0, "it was told to end");
    };
    let alone = engine.begin(&["pull", &image]);
    eventually("the layer is on its way", || relay.carried() > 200 << 10);
    leave(alone);
    // It is noticed within a second; what was in the air comes to rest.
    std::thread::sleep(Duration::from_secs(2));
    let rest = relay.carried();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(relay.carried(), rest, "nothing is fetched for nobody");
    assert_eq!(engine.docker(&["images", "-q"]).ok(), "");
    eventually("nothing half is left", || unfinished(&engine) == before);

    let begun = relay.carried();
    let (one, two) = (engine.begin(&["pull", &image]), engine.begin(&["pull", "-q", &image]));
    eventually("the layer is on its way", || relay.carried() > begun + (200 << 10));
    leave(one);
    two.wait().ok();
    assert_eq!(engine.docker(&["run", "--rm", &image, "echo", "whole"]).ok(), "whole");
    assert_eq!(unfinished(&engine), before);
}

pub(crate) fn a_layer_that_breaks_off_goes_on_where_it_was(host: &mut Host) {
    let engine = host.another_engine_with(&[]);
    // Twice in the middle of what is the only large thing.
    let wire = Wire { speed: 4 << 20, breaks: Some((2, 300 << 10)) };
    let relay = engine.relay(SLOW, REGISTRY, wire);
    let image = format!("{SLOW}/busybox");
    let said = engine.docker(&["pull", &image]).ok();
    assert!(said.contains("Downloaded newer image") && !said.contains("rror"), "{said}");
    let asked = relay.asked().to_ascii_lowercase();
    let resumed = asked.matches("range: bytes=").count();
    assert!(resumed >= 2, "{resumed} times: {asked}");
    assert!(!asked.contains("range: bytes=0-"), "{asked}");
    assert_eq!(engine.docker(&["run", "--rm", &image, "echo", "whole"]).ok(), "whole");
}

pub(crate) fn a_manifest_of_dockers_own_form_goes_out_and_comes_back(host: &mut Host) {
    // One that does not know the image by its other form yet.
    let engine = host.another_engine_with(&[]);
    let skopeo = |arguments: &[&str]| engine.on_host("skopeo", arguments).ok();
    let flags = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false"];
    let copy = |from: &str, more: &[&str], to: &str| {
        skopeo(&[&flags[..], &["--dest-tls-verify=false"], more, &[from, to]].concat());
    };
    let own = "docker://127.0.0.1:5000/busybox:latest";
    copy(own, &["--format", "v2s2"], "docker://127.0.0.1:5000/forms:docker");
    // A layer that no registry has in another form, which would be taken instead.
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.docker(&["run", "--name", "made", IMAGE, "sh", "-c", "cat /proc/uptime >/made"]).ok();
    engine.docker(&["commit", "made", "made:1"]).ok();
    engine.docker(&["rm", "made"]).ok();
    let archive = host.dir().join("made.tar").display().to_string();
    engine.docker(&["save", "-o", &archive, "made:1"]).ok();
    engine.docker(&["rmi", "made:1", IMAGE]).ok();
    let zstd = ["--dest-compress-format", "zstd", "--format", "oci"];
    let from = format!("docker-archive:{archive}");
    copy(&from, &zstd, "docker://127.0.0.1:5000/forms:zstd");
    for (tag, kind, layer) in [
        ("docker", "application/vnd.docker.distribution.manifest.v2+json", "tar.gzip"),
        ("zstd", "application/vnd.oci.image.manifest.v1+json", "tar+zstd"),
    ] {
        let (image, pushed) =
            (format!("127.0.0.1:5000/forms:{tag}"), format!("127.0.0.1:5000/forms:{tag}-pushed"));
        engine.docker(&["pull", "-q", &image]).ok();
        assert_eq!(engine.docker(&["run", "--rm", &image, "echo", "whole"]).ok(), "whole");
        engine.docker(&["tag", &image, &pushed]).ok();
        engine.docker(&["push", "-q", &pushed]).ok();
        let raw = |name: &str| {
            let name = format!("docker://{name}");
            skopeo(&["inspect", "--raw", "--tls-verify=false", &name])
        };
        assert_eq!(raw(&pushed), raw(&image), "the very bytes");
        assert!(raw(&pushed).contains(kind) && raw(&pushed).contains(layer), "{}", raw(&pushed));
        // What others make of it: every blob is fetched and verified.
        let dir = format!("dir:{}", host.dir().join(format!("forms-{tag}")).display());
        skopeo(&[&flags[..], &[&format!("docker://{pushed}"), &dir]].concat());
        engine.docker(&["rmi", &image, &pushed]).ok();
    }
    assert_eq!(engine.docker(&["images", "-q"]).ok(), "");
}
