//! `-it`: a terminal in the container for the one in front of the client.

use std::thread;
use std::time::Duration;

use spec::Isolation;
use tests::host::IMAGE;
use tests::{Host, Pty};

use super::detached;

pub(crate) fn a_terminal_has_a_size_that_follows_the_window(host: &mut Host, isolation: Isolation) {
    let flag = format!("--isolation={isolation}");
    let mut pty = host.engine.on_terminal(&["run", "--rm", "-it", &flag, IMAGE, "sh"], 33, 77);
    shows_size(&mut pty, "33 77");
    pty.resize(44, 99);
    shows_size(&mut pty, "44 99");

    pty.send("tty; test -t 2 && echo all three\n");
    pty.screen.expect("/dev/pts/0");
    pty.screen.expect("all three\r\n");

    is_interrupted(&mut pty);
    pty.send("exit 6\n");
    assert_eq!(pty.wait(), 6);
}

pub(crate) fn an_exec_has_a_terminal_of_its_own(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    let mut pty = host.engine.on_terminal(&["exec", "-it", &id, "sh"], 21, 61);
    shows_size(&mut pty, "21 61");
    pty.resize(22, 62);
    shows_size(&mut pty, "22 62");
    pty.send("exit 8\n");
    assert_eq!(pty.wait(), 8);
}

/// Asks for the size until it is `want`: the client sets it once the program runs.
#[track_caller]
fn shows_size(pty: &mut Pty, want: &str) {
    // The shell does the waiting, so that the screen shows one answer.
    pty.send(&format!(
        "until [ \"$(stty size)\" = '{want}' ]; do sleep 0.1; done; echo it is $(stty size)\n"
    ));
    pty.screen.expect(&format!("it is {want}\r\n"));
    // The client looks out for changes only once its first size was answered.
    thread::sleep(Duration::from_millis(300));
}

/// Has the shell run what its interrupt key ends.
#[track_caller]
pub(super) fn is_interrupted(pty: &mut Pty) {
    pty.send("sleep 1000\n");
    thread::sleep(Duration::from_millis(500));
    pty.send("\x03");
    pty.send("echo status $?\n");
    pty.screen.expect("status 130\r\n");
}
