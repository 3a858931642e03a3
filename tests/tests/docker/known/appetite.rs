//! What a container or an archive says must not fill the engine's memory.

use std::fs::{self, File};

use tests::Host;
use tests::host::{Engine, IMAGE};

/// The most memory that the engine has had, in KiB.
fn peak(engine: &Engine) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", engine.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The most that it may take more for it, in KiB.
const MORE: u64 = 48 << 10;

/// containerd's CVE-2022-31030: what a program in the container printed was kept, however much it was.
pub(crate) fn a_check_that_never_stops_talking_is_cut(host: &mut Host) {
    let before = peak(&host.engine);
    let check = ["--health-cmd=yes hull", "--health-interval=100ms", "--health-timeout=1s"];
    let retries = ["--health-retries=1", "--name=talks"];
    host.docker(&[&["run", "-d"], &check[..], &retries, &[IMAGE, "sleep", "1000"]].concat()).ok();
    tests::command::eventually("its check has failed", || {
        host.docker(&["inspect", "-f", "{{.State.Health.Status}}", "talks"]).ok() == "unhealthy"
    });
    let log = host.docker(&["inspect", "-f", "{{json .State.Health.Log}}", "talks"]).ok();
    assert!(log.len() < 64 << 10, "{} bytes are kept", log.len());
    host.docker(&["rm", "-f", "talks"]).ok();
    assert!(peak(&host.engine) < before + MORE, "{before} to {} KiB", peak(&host.engine));
}

/// containerd's CVE-2023-25153: an archive's list of images was read whole, however long it was.
pub(crate) fn an_archives_lists_have_a_limit(host: &mut Host) {
    let before = peak(&host.engine);
    for name in ["manifest.json", "index.json", "oci-layout"] {
        let path = host.dir().join("long.tar");
        let mut archive = tar::Builder::new(File::create(&path).expect("a file"));
        let mut put = |name: &str, bytes: &mut dyn std::io::Read, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes).expect("written");
        };
        if name == "index.json" {
            let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
            put("oci-layout", &mut &layout[..], layout.len() as u64);
        }
        let size = 400 << 20;
        put(name, &mut std::io::Read::take(std::io::repeat(b' '), size), size);
        drop(archive);
        let said = host.docker(&["load", "-i", &path.to_string_lossy()]);
        assert_ne!(said.code, 0, "{name}: {said}");
        fs::remove_file(&path).expect("removed");
        assert!(peak(&host.engine) < before + MORE, "{before} to {} KiB", peak(&host.engine));
    }
}
