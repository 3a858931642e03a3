//! A guest agent for this crate's own tests: loads the modules, says `HULLAGNT`, then answers each line
//! with what it can say about the guest. Build it static.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

fn main() {
    if let Err(error) = serve() {
        println!("echo agent: {error}");
    }
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
}

fn serve() -> io::Result<()> {
    use rustix::mount::{MountFlags, mount};
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, at, kind, MountFlags::empty(), None)?;
    }
    for module in fs::read_to_string("/modules")?.lines() {
        rustix::system::finit_module(File::open(module)?, c"", 0)?;
    }
    let port = OpenOptions::new().read(true).write(true).open(port()?)?;
    (&port).write_all(b"HULLAGNT")?;
    for line in BufReader::new(&port).lines() {
        (&port).write_all(format!("{}\n", answer(&line?)).as_bytes())?;
    }
    Ok(())
}

/// The device of the port named `hull.agent`.
fn port() -> io::Result<PathBuf> {
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten() {
            let entry = entry?;
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim() == "hull.agent" && device.exists() {
                return Ok(device);
            }
        }
        sleep(Duration::from_millis(10));
    }
}

fn answer(line: &str) -> String {
    let first = |device: &str| -> io::Result<String> {
        let mut buffer = [0; 16];
        io::Read::read_exact(&mut File::open(device)?, &mut buffer)?;
        Ok(buffer.escape_ascii().to_string())
    };
    let said = match line.split_once(' ').unwrap_or((line, "")) {
        ("ping", rest) => Ok(format!("pong {rest}")),
        ("read", device) => first(device),
        ("cat", path) => fs::read_to_string(path).map(|text| text.replace('\n', " ")),
        ("mount", _) => {
            use rustix::mount::{MountFlags, mount};
            mount("/dev/vda", "/tmp", "erofs", MountFlags::RDONLY, None)
                .and_then(|()| mount("/dev/vdb", "/run", "ext4", MountFlags::empty(), None))
                .map_err(io::Error::from)
                .and_then(|()| fs::write("/run/written", "by the guest"))
                .and_then(|()| fs::read_to_string("/tmp/hello"))
        }
        ("clock", _) => {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            Ok(format!("{}.{:09}", now.tv_sec, now.tv_nsec))
        }
        ("restart", _) => {
            let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
            Ok(String::new())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    said.unwrap_or_else(|error| format!("error: {error}"))
}
