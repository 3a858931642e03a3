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

pub(crate) fn archives_may_be_compressed_by_bzip2_and_xz(host: &mut Host) {
    made(host, "plain:1", &[]);
    let archive = host.dir().join("image-made.tar").display().to_string();
    let want = host.engine.inspect("plain:1")["RootFS"]["Layers"].clone();
    host.docker(&["rmi", "plain:1"]).ok();
    for (program, suffix) in [("xz", "xz"), ("bzip2", "bz2")] {
        host.engine.on_host(program, &["-kf", &archive]).ok();
        host.docker(&["import", &format!("{archive}.{suffix}"), "squeezed:1"]).ok();
        let layers = host.engine.inspect("squeezed:1")["RootFS"]["Layers"].clone();
        assert_eq!(layers, want, "{program}");
        let saved = host.dir().join("squeezed.tar").display().to_string();
        host.docker(&["save", "-o", &saved, "squeezed:1"]).ok();
        host.docker(&["rmi", "squeezed:1"]).ok();
        host.engine.on_host(program, &["-f", &saved]).ok();
        let loaded = host.docker(&["load", "-i", &format!("{saved}.{suffix}")]).ok();
        assert!(loaded.contains("Loaded image: squeezed:1"), "{loaded}");
        host.docker(&["rmi", "squeezed:1"]).ok();
    }
}

/// Makes an image with one file, which nothing else has; gives its id.
fn made(host: &Host, name: &str, flags: &[&str]) -> String {
    let root = host.dir().join("image-made");
    std::fs::create_dir_all(&root).expect("a directory");
    std::fs::write(root.join("file"), name).expect("a file");
    let archive = host.dir().join("image-made.tar");
    let [root, archive] = [root, archive].map(|path| path.display().to_string());
    host.engine.on_host("tar", &["-C", &root, "-cf", &archive, "."]).ok();
    host.docker(&[&["import"], flags, &[&archive, name]].concat()).ok()
}

fn id(host: &Host, name: &str) -> String {
    host.docker(&["images", "-q", "--no-trunc", name]).ok()
}

pub(crate) fn what_is_saved_is_loaded(host: &mut Host) {
    let one = made(host, "one:1", &[]);
    host.docker(&["tag", "one:1", "one:2"]).ok();
    let archive = host.dir().join("saved.tar").display().to_string();
    host.docker(&["save", "-o", &archive, "one", IMAGE]).ok();
    host.docker(&["rmi", "one:1", "one:2", IMAGE]).ok();
    let loaded = host.docker(&["load", "-i", &archive]).ok();
    for line in ["Loaded image: one:1", "Loaded image: one:2"] {
        assert!(loaded.contains(line), "{loaded}");
    }
    assert!(loaded.contains(&format!("Loaded image: {IMAGE}:latest")), "{loaded}");
    assert_eq!(id(host, "one:2"), one);
    let ran = run(host, Isolation::Process, &[IMAGE, "cat", "/usr/share/added"]);
    assert_eq!(ran.ok(), "from the second layer");

    host.docker(&["save", "-o", &archive, &one]).ok();
    host.docker(&["rmi", "-f", &one]).ok();
    let loaded = host.docker(&["load", "-q", "-i", &archive]).ok();
    assert_eq!(loaded, format!("Loaded image ID: {one}"));
    host.docker(&["rmi", &one]).ok();

    let whole = std::fs::read(&archive).expect("an archive");
    std::fs::write(&archive, &whole[..whole.len() / 3]).expect("a file");
    let said = host.docker(&["load", "-i", &archive]).fails(1);
    assert!(said.contains("archive"), "{said}");
    assert_eq!(id(host, &one), "");
    let said = host.docker(&["save", "-o", &archive, "absent"]).fails(1);
    assert!(said.contains("No such image: absent"), "{said}");
}

pub(crate) fn other_tools_read_what_is_saved_and_write_what_is_loaded(host: &mut Host) {
    let dir = host.dir().join("tools");
    std::fs::create_dir_all(&dir).expect("a directory");
    let at = |name: &str| dir.join(name).display().to_string();
    let own = id(host, IMAGE);
    host.docker(&["save", "-o", &at("saved.tar"), IMAGE]).ok();
    let skopeo = |from: &str, to: &str| {
        host.engine.on_host("skopeo", &["--insecure-policy", "copy", "-q", from, to]).ok();
    };
    skopeo(&format!("docker-archive:{}", at("saved.tar")), &format!("oci:{}:a", at("a")));
    skopeo(&format!("oci-archive:{}:latest", at("saved.tar")), &format!("oci:{}:b", at("b")));
    host.engine
        .on_host("umoci", &["unpack", "--image", &format!("{}:b", at("b")), &at("tree")])
        .ok();
    let added = dir.join("tree/rootfs/usr/share/added");
    assert!(added.exists(), "umoci has unpacked it");

    skopeo(&format!("oci:{}:b", at("b")), &format!("docker-archive:{}:tool:1", at("back.tar")));
    let loaded = host.docker(&["load", "-q", "-i", &at("back.tar")]).ok();
    assert_eq!(loaded, "Loaded image: tool:1");
    assert_eq!(id(host, "tool:1"), own, "the same configuration");

    // The last member of the layer that this makes is not padded.
    let text = dir.join("text");
    std::fs::write(&text, "inserted").expect("a file");
    let image = format!("{}:b", at("b"));
    host.engine
        .on_host("umoci", &["insert", "--image", &image, &text.display().to_string(), "/inserted"])
        .ok();
    host.engine.on_host("tar", &["-C", &at("b"), "-cf", &at("oci.tar"), "."]).ok();
    let loaded = host.docker(&["load", "-q", "-i", &at("oci.tar")]).ok();
    let id = loaded.strip_prefix("Loaded image ID: ").expect("a layout has tags alone");
    assert_eq!(run(host, Isolation::Process, &[id, "cat", "/inserted"]).ok(), "inserted");
    host.docker(&["rmi", "tool:1", id]).ok();
    std::fs::remove_dir_all(dir).expect("removed");
}

pub(crate) fn a_history_names_the_steps_and_their_sizes(host: &mut Host) {
    let format = "{{.CreatedBy}} {{.Size}}";
    let history = host.docker(&["history", "--no-trunc", "--format", format, IMAGE]).ok();
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(lines[0].starts_with("hide and add ") && lines[1].starts_with("busybox "), "{history}");
    assert_eq!(
        host.docker(&["history", "-q", "--no-trunc", IMAGE]).ok().lines().next(),
        Some(id(host, IMAGE).as_str())
    );
    made(host, "told:1", &["-m", "by hand", "-c", "CMD [\"/file\"]", "--platform", "linux/arm64"]);
    let comment = host.docker(&["history", "--format", "{{.Comment}}", "told:1"]).ok();
    assert_eq!(comment, "by hand");
    let image = host.engine.inspect("told:1");
    assert_eq!(image["Architecture"], "arm64");
    assert_eq!(image["Config"]["Cmd"][0], "/file");
    host.docker(&["rmi", "told:1"]).ok();
}

pub(crate) fn a_prune_removes_what_nobody_uses(host: &mut Host) {
    let old = made(host, "lost:1", &[]);
    // The name goes to another image, and the first has none.
    host.docker(&["tag", IMAGE, "lost:1"]).ok();
    let kept = made(host, "kept:1", &["-c", "LABEL keep=yes"]);
    host.docker(&["create", "--name", "user", IMAGE]).ok();
    let df = |format: &str| host.docker(&["system", "df", "--format", format]).ok();
    assert!(
        df("{{.Type}} {{.TotalCount}} {{.Active}}").contains("Images 3 1"),
        "{}",
        df("{{.Type}} {{.TotalCount}} {{.Active}}")
    );

    let pruned = host.docker(&["image", "prune", "-f"]).ok();
    assert!(pruned.contains(&format!("deleted: {old}")), "{pruned}");
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    let pruned = host.docker(&["image", "prune", "-af", "--filter", "label!=keep"]).ok();
    assert!(!pruned.contains("untagged"), "{pruned}");
    let pruned = host.docker(&["image", "prune", "-af", "--filter", "until=24h"]).ok();
    assert!(!pruned.contains(&kept), "{pruned}");
    let pruned = host.docker(&["image", "prune", "-af"]).ok();
    assert!(pruned.contains("untagged: kept:1") && !pruned.contains(IMAGE), "{pruned}");
    host.docker(&["rm", "user"]).ok();
    host.docker(&["rmi", "lost:1"]).ok();
}

pub(crate) fn filters_choose_images(host: &mut Host) {
    made(host, "mine/first:1", &["-c", "LABEL tier=front"]);
    made(host, "mine/second:2", &["-c", "LABEL tier=back"]);
    let chosen = |filters: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let arguments: Vec<&str> = format.into_iter().chain(filters).collect();
        let mut names: Vec<String> =
            host.docker(&arguments).ok().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(chosen(&["reference=mine/*"]), "mine/first:1 mine/second:2");
    assert_eq!(chosen(&["reference=mine/*:2"]), "mine/second:2");
    assert_eq!(chosen(&["label=tier=front"]), "mine/first:1");
    assert_eq!(chosen(&["label=tier"]), "mine/first:1 mine/second:2");
    assert_eq!(chosen(&["since=mine/first:1"]), "mine/second:2");
    assert_eq!(chosen(&["before=mine/second:2", "reference=mine/*"]), "mine/first:1");
    assert_eq!(chosen(&["dangling=true"]), "");
    let tree = host.docker(&["images", "--tree"]).ok();
    assert!(tree.contains("linux/amd64"), "{tree}");
    host.docker(&["rmi", "mine/first:1", "mine/second:2"]).ok();
}

pub(crate) fn what_happens_to_an_image_is_told(host: &mut Host) {
    let start = host.engine.on_host("date", &["+%s.%N"]).ok();
    let archive = host.dir().join("told.tar").display().to_string();
    host.docker(&["tag", IMAGE, "told:1"]).ok();
    host.docker(&["save", "-o", &archive, "told:1"]).ok();
    host.docker(&["load", "-i", &archive]).ok();
    host.docker(&["pull", "-q", IMAGE]).ok();
    host.docker(&["rmi", "told:1"]).ok();
    made(host, "made:1", &[]);
    host.docker(&["rmi", "made:1"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
    let format = "{{.Action}} {{.Actor.Attributes.name}}";
    let end = host.engine.on_host("date", &["+%s.%N"]).ok();
    let filter = ["events", "--since", &start, "--until", &end, "--filter", "type=image"];
    let told = host.docker(&[&filter[..], &["--format", format]].concat()).ok();
    let actions = [
        "tag told:1",
        "save sha256:",
        "load told:1",
        "pull 127.0.0.1:5000/busybox",
        "untag sha256:",
        "import made:1",
        "delete sha256:",
        "prune",
    ];
    for action in actions {
        assert!(told.lines().any(|line| line.starts_with(action)), "{action}: {told}");
    }
}
