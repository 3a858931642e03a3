//! A program on a terminal, as a person has it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::command::{LIMIT, Seen, code, wait};

/// A terminal, and the program whose controlling terminal it is.
#[derive(Debug)]
pub struct Pty {
    controller: File,
    child: Child,
    /// What was on the screen so far, as bytes came.
    pub screen: Seen,
}

impl Pty {
    /// Starts `command` on a terminal of `rows` and `columns`.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let controller = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
            .expect("a pseudo-terminal");
        rustix::pty::grantpt(&controller).expect("ours");
        rustix::pty::unlockpt(&controller).expect("ours");
        resize(&controller, rows, columns);
        let name = rustix::pty::ptsname(&controller, Vec::new()).expect("it has a name");
        let open = || -> OwnedFd {
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
                .expect("the terminal's other side")
        };
        // `setsid --ctty` makes its standard input the controlling terminal: without one the
        // program is not told of a resize.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "dumb")
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("start setsid");
        let controller = File::from(controller);
        let screen = Seen::of(controller.try_clone().expect("a descriptor"));
        Self { controller, child, screen }
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).expect("the terminal is open");
    }

    /// Gives the terminal another size; the program is told by SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.controller, rows, columns);
    }

    /// Waits for the program's end and gives its exit status.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        let status = wait(&mut self.child, Instant::now() + LIMIT);
        code(status.unwrap_or_else(|| panic!("not done, saw {:?}", self.screen)))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Both fail only when it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).expect("a terminal");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_terminal_learns_of_its_size_and_of_ctrl_c() {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.05; done",
        ]);
        let mut pty = Pty::start(&shell, 33, 77);
        pty.screen.expect("33 77\r\n");
        pty.screen.expect("ready");
        pty.resize(44, 99);
        pty.screen.expect("44 99\r\n");
        pty.send("\x03");
        assert_eq!(pty.wait(), 130);
    }
}
