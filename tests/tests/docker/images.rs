//! Images from a registry, its mirror, and archives.

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::run;

pub(crate) fn an_image_is_pulled_listed_and_removed(host: &mut Host) {
    let pull = host.docker(&["pull", IMAGE]).ok();
    assert!(pull.contains("Digest: sha256:"), "{pull}");
    assert!(pull.contains(&format!("Image is up to date for {IMAGE}:latest")), "{pull}");
    let row = host.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", IMAGE]).ok();
    assert_eq!(row, format!("{IMAGE}:latest"));
    let image = host.engine.inspect(IMAGE);
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));

    host.docker(&["create", "--name", "user", IMAGE]).ok();
    let said = host.docker(&["rmi", IMAGE]).fails(1);
    assert!(said.contains("user") || said.contains("in use") || said.contains("using"), "{said}");
    host.docker(&["rm", "user"]).ok();
    host.docker(&["rmi", IMAGE]).ok();
    assert_eq!(host.docker(&["images", "-q", IMAGE]).ok(), "");

    let pull = host.docker(&["pull", IMAGE]).ok();
    assert!(pull.contains(&format!("Downloaded newer image for {IMAGE}:latest")), "{pull}");
}

pub(crate) fn docker_hub_is_reached_by_its_mirror(host: &mut Host) {
    host.docker(&["pull", "busybox"]).ok();
    let ran = run(host, Isolation::Process, &["busybox", "cat", "/usr/share/added"]);
    assert_eq!(ran.ok(), "from the second layer");
    let [hub, own] = ["busybox", IMAGE].map(|name| host.engine.inspect(name)["Id"].clone());
    assert_eq!(hub, own, "two names of one image");
    host.docker(&["rmi", "busybox"]).ok();
    host.engine.inspect(IMAGE);
}

pub(crate) fn run_pulls_what_is_not_there(host: &mut Host) {
    host.docker(&["rmi", IMAGE]).ok();
    assert_eq!(run(host, Isolation::Process, &[IMAGE, "echo", "pulled"]).ok(), "pulled");
    let said = host.docker(&["run", "--rm", "--pull=never", "absent", "true"]).fails(125);
    assert!(said.contains("No such image: absent"), "{said}");
}

pub(crate) fn an_imported_archive_is_an_image(host: &mut Host, isolation: Isolation) {
    let root = host.dir().join("imported");
    std::fs::create_dir_all(root.join("bin")).expect("a directory");
    std::fs::copy("/bin/busybox", root.join("bin/sh")).expect("busybox-static");
    let archive = host.dir().join("imported.tar");
    let [root, archive] = [root, archive].map(|path| path.display().to_string());
    host.engine.on_host("tar", &["-C", &root, "-cf", &archive, "."]).ok();

    let id = host.docker(&["import", &archive, "mine:1"]).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    let echoed = run(host, isolation, &["mine:1", "/bin/sh", "-c", "echo imported"]).ok();
    assert_eq!(echoed, "imported");
    host.docker(&["rmi", "mine:1"]).ok();
}
