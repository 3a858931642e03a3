//! Writing cpio archives in the kernel's format.
//!
//! Spec: kernel Documentation/driver-api/early-userspace/buffer-format.rst, "newc".

use std::io::{self, Write};

/// An archive in the making; entries appear in the order they are added, so a directory comes before
/// what is in it.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inode: u32,
    /// Bytes written, for the padding to multiples of four.
    written: u64,
}

impl<W: Write> Archive<W> {
    /// An empty archive that is written to `out`.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0, written: 0 }
    }

    /// Adds a directory; `name` has no leading slash.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, 0o040_755, (0, 0), &[])
    }

    /// Adds a regular file with permission bits `mode`.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, 0o100_000 | mode, (0, 0), content)
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, 0o020_600, (major, minor), &[])
    }

    /// Ends the archive and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, size, device (2), device it stands for (2), name, check
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0, 0, 0][..usize::try_from(missing).expect("less than four")])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dev").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        archive.file("init", 0o755, b"hello").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn an_entry_is_header_name_and_content_each_padded_to_four() {
        let archive = sample();
        let first = "070701000000010000".to_owned() + "41ed0000000000000000";
        assert_eq!(&archive[..38], first.as_bytes());
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(&archive[110..114], b"dev\0");
        let init = archive.windows(5).position(|at| at == b"init\0").unwrap();
        assert_eq!(&archive[init + 6..init + 14], b"hello\0\0\0");
    }

    #[test]
    fn busybox_lists_what_was_added() {
        let spawned = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut cpio) = spawned else {
            eprintln!("skipped: no busybox");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listed = cpio.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "dev\ndev/console\ninit\n");
    }
}
