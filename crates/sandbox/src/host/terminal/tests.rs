use std::fs::File;
use std::io::{Read, Write};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::*;

/// A raw terminal whose pump runs: its other side, and our ends of the pipes.
fn raw_terminal() -> (File, File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    let master = master.expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).expect("its other side");
    let mut raw = tcgetattr(&slave).expect("attributes");
    raw.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &raw).expect("attributes");
    let (stdin, typing) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let (screen, stdout) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let ends = Stdio { stdin: Some(stdin), stdout: Some(stdout), stderr: None };
    start(Arc::new(master), ends).expect("a thread");
    assert!(!rustix::fs::fcntl_getfl(&typing).expect("flags").contains(OFlags::NONBLOCK));
    (slave.into(), typing.into(), screen.into())
}

#[test]
fn all_that_is_shown_arrives_before_the_end() {
    let (mut slave, typing, mut screen) = raw_terminal();
    let text = "0123456789abcdef".repeat(20_000);
    let shown = text.clone();
    let program = thread::spawn(move || slave.write_all(shown.as_bytes()).expect("shown"));
    let mut seen = String::new();
    screen.read_to_string(&mut seen).expect("read");
    program.join().expect("written");
    assert!(seen == text, "{} of {} bytes", seen.len(), text.len());
    drop(typing);
}

#[test]
fn what_is_typed_arrives_and_its_end_hangs_nothing_up() {
    let (mut slave, mut typing, mut screen) = raw_terminal();
    typing.write_all(b"ls").expect("typed");
    drop(typing);
    let mut bytes = [0; 2];
    slave.read_exact(&mut bytes).expect("read");
    assert_eq!(&bytes, b"ls");
    slave.write_all(b"file").expect("shown");
    drop(slave);
    let mut seen = String::new();
    screen.read_to_string(&mut seen).expect("read");
    assert_eq!(seen, "file");
}

#[test]
fn a_program_goes_on_when_nobody_looks() {
    let (mut slave, typing, screen) = raw_terminal();
    drop((typing, screen));
    slave.write_all(&vec![b'x'; 1 << 20]).expect("shown to nobody");
}
