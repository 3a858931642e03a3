//! `docker pull` of a large image by hulld and by Debian's dockerd, from one registry.
//!
//! The image has eight layers of this machine's own programs, libraries and documents, 500 MB together,
//! compressed by gzip as `docker push` does. What is timed is the whole command: download, check, unpack,
//! name. The removal between two rounds is not. Both keep their data on one filesystem.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::Host;
use tests::command::run;

use crate::contest::{Contestant, race};
use crate::peers::{Dockerd, finish};

const ROUNDS: usize = 5;
const LAYERS: u64 = 8;
/// Bytes of files in one layer.
const LAYER: u64 = 62_500_000;
/// The image's name in the registry.
const NAME: &str = "127.0.0.1:5000/large:1";

/// Prints how they compare, and the most memory that hulld had meanwhile.
pub(crate) fn compare(host: &Host) {
    publish(host);
    let dockerd = Dockerd::beside(host);
    let hulld = host.engine.pid();
    // From here on the peak is that of the pulls.
    fs::write(format!("/proc/{hulld}/clear_refs"), "5").expect("root");
    let hull =
        |arguments: &'static [&'static str]| move || drop(finish(host.engine.client(arguments)));
    let other = |arguments: &'static [&'static str]| {
        let dockerd = &dockerd;
        move || drop(dockerd.docker(arguments))
    };
    let pull = &["pull", "-q", NAME];
    let remove = &["rmi", NAME];
    let contestants = vec![
        Contestant::new("hulld", hull(pull)).then(hull(remove)),
        Contestant::new("dockerd", other(pull)).then(other(remove)),
    ];
    let title = "docker pull of 500 MB in 8 layers from a registry on this machine";
    race(ROUNDS, contestants).print(title);
    println!("  most memory of hulld meanwhile: {} KiB", peak(hulld));
}

/// The most memory that a process had at once, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Makes the image and pushes it.
fn publish(host: &Host) {
    let dir = host.dir().join("large");
    fs::create_dir(&dir).expect("a directory");
    let at = |name: &str| dir.join(name).display().to_string();
    let image = format!("{}:x", at("oci"));
    tool("umoci", &["init", "--layout", &at("oci")]);
    tool("umoci", &["new", "--image", &image]);
    for (number, files) in files().iter().enumerate() {
        let (list, tar) = (at(&format!("{number}.list")), at(&format!("{number}.tar")));
        fs::write(&list, files.join("\n")).expect("a file");
        tool("tar", &["-C", "/", "--no-recursion", "-cf", &tar, "-T", &list]);
        tool("umoci", &["raw", "add-layer", "--image", &image, &tar]);
        fs::remove_file(tar).expect("removed");
    }
    let (from, to) = (format!("oci:{image}"), format!("docker://{NAME}"));
    let copy = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", &from, &to];
    host.engine.on_host("skopeo", &copy).ok();
    fs::remove_dir_all(dir).expect("removed");
}

/// This machine's files, in as many lists as there are layers, of as many bytes each.
fn files() -> Vec<Vec<String>> {
    let find = "find /usr/bin /usr/lib /usr/share -xdev -type f -size -20000k -printf '%s %p\\n'";
    let mut find = Command::new("sh").args(["-c", find]).output().expect("findutils").stdout;
    find.retain(|byte| *byte != b'\r');
    let text = String::from_utf8_lossy(&find);
    let mut lines: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(size, path)| Some((size.parse().ok()?, path.strip_prefix('/')?)))
        .collect();
    lines.sort_by_key(|(_, path)| *path);
    let mut layers = vec![Vec::new()];
    let mut bytes = 0;
    for (size, path) in lines {
        if bytes >= LAYER * layers.len() as u64 {
            if layers.len() as u64 == LAYERS {
                break;
            }
            layers.push(Vec::new());
        }
        bytes += size;
        layers.last_mut().expect("one at least").push(path.to_owned());
    }
    let wanted = LAYER * LAYERS;
    assert!(bytes >= wanted, "/usr has {bytes} bytes of files, {wanted} are wanted");
    layers
}

fn tool(program: &str, arguments: &[&str]) {
    assert!(Path::new("/usr/bin").join(program).exists(), "{program} is missing");
    let mut command = Command::new(program);
    command.args(arguments);
    run(command, b"").ok();
}
