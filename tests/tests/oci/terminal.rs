//! Terminals: to a console socket, and in the foreground.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;
use tests::command::Seen;

use crate::bundle::Bundle;

/// The master that the runtime sends to the console socket.
pub(crate) fn master(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().expect("the runtime connects");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 100];
    let mut data = [std::io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(stream.as_fd(), &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("a message");
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.expect("a descriptor")
}

#[test]
fn the_master_goes_to_the_console_socket() {
    let script = "tty; stty size; stat -c %F /dev/console; test -t 0 -a -t 1 -a -t 2 && echo all; \
                  read line; echo got $line";
    let Some(bundle) = Bundle::sh(script) else { return };
    let bundle = bundle
        .with("/process/terminal", json!(true))
        .with("/process/consoleSize", json!({"height": 30, "width": 100}));
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let receiver = std::thread::spawn(move || master(&listener));
    let name = path.display().to_string();
    bundle.runtime(&["run", "-d", "--console-socket", &name, &bundle.id]).ok();
    let pty = std::fs::File::from(receiver.join().expect("received"));
    let seen = Seen::of(pty.try_clone().expect("cloned"));
    seen.expect("/dev/pts/0");
    seen.expect("30 100");
    seen.expect("character special file");
    seen.expect("all");
    (&pty).write_all(b"hello\n").expect("written");
    seen.expect("got hello");
    let listener = UnixListener::bind(bundle.path().join("two.sock")).expect("bound");
    let name = bundle.path().join("two.sock").display().to_string();
    drop((listener, name));
}

#[test]
pub(crate) fn an_exec_has_a_terminal_of_its_own() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let receiver = std::thread::spawn(move || master(&listener));
    let name = path.display().to_string();
    let script = "tty; sleep 0.2";
    let args = ["exec", "-t", "-d", "--console-socket", &name, &bundle.id, "sh", "-c", script];
    bundle.runtime(&args).ok();
    let mut pty = std::fs::File::from(receiver.join().expect("received"));
    let mut text = [0; 100];
    let count = pty.read(&mut text).expect("output");
    assert_eq!(String::from_utf8_lossy(&text[..count]).trim(), "/dev/pts/0");
}

#[test]
pub(crate) fn in_the_foreground_the_output_arrives_though_nobody_has_a_terminal() {
    let Some(bundle) = Bundle::sh("tty; exit 4") else { return };
    let ran = bundle.with("/process/terminal", json!(true)).run();
    assert_eq!(ran.code, 4, "{ran}");
    assert_eq!(ran.out.trim(), "/dev/pts/0");
}

#[test]
fn a_detached_terminal_needs_a_socket_and_a_socket_a_terminal() {
    let Some(bundle) = Bundle::sh("true") else { return };
    bundle.runtime(&["create", "--console-socket", "/x", &bundle.id]).fails(1);
    let bundle = bundle.with("/process/terminal", json!(true));
    bundle.runtime(&["create", &bundle.id]).fails(1);
    bundle.runtime(&["create", "--console-socket", "/no/such/socket", &bundle.id]).fails(1);
}
