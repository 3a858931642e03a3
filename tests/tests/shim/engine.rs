//! The shim as our own engine drives it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{
    PauseRequest, PidsRequest, ResizePtyRequest, ResumeRequest, StateRequest, StatsRequest, Status,
};
use containerd_shim_protos::{Client, TaskClient};
use spec::Isolation;
use tests::command::eventually;
use ttrpc::Code;

use crate::bench::{Bench, context, is_gone, kill_9, wait};

const OUTPUT: &str = r#"{"stdout":true,"stderr":true}"#;
const ALL: &str = r#"{"stdin":true,"stdout":true,"stderr":true}"#;

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("until the end");
    String::from_utf8(bytes).expect("text")
}

fn code<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> Code {
    match result.expect_err("refused") {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("no answer from the shim: {other}"),
    }
}

#[test]
fn output_goes_to_the_client_and_the_log_and_the_code_to_all_who_wait() {
    let bench =
        Bench::created("out", &["sh", "-c", "echo one; echo two >&2; exit 7"], false, false);
    let client = bench.attach("", OUTPUT);
    let (tasks, id) = (bench.tasks.clone(), bench.id().to_owned());
    let other = thread::spawn(move || wait(&tasks, &id, ""));
    bench.start("").expect("started");
    assert_eq!((bench.wait(""), other.join().expect("no panic")), (7, 7));
    assert_eq!(bench.wait(""), 7, "asked again");
    let seen = text(client);
    assert!(seen.contains("\u{1}\0\0\0\0\0\0\u{4}one\n"), "{seen:?}");
    assert!(seen.contains("\u{2}\0\0\0\0\0\0\u{4}two\n"), "{seen:?}");
    let mut log = bench.log();
    log.sort();
    let want = [("stderr", "two\n"), ("stdout", "one\n")];
    assert_eq!(log, want.map(|(stream, line)| (stream.to_owned(), line.to_owned())));
    assert_eq!(bench.delete("").expect("deleted").exit_status, 7);
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn behind_a_vm_it_is_all_the_same() {
    let bench = Bench::behind(Isolation::Vm, "vm");
    bench.configure(&["sh", "-c", "echo one; echo two >&2; read x; exit 7"], false);
    bench.create(false, true).expect("created");
    let mut client = bench.attach("", ALL);
    bench.start("").expect("started");
    bench.exec("e", &["sh", "-c", "cat; exit 3"], true).expect("made");
    let mut exec = bench.attach("e", ALL);
    bench.start("e").expect("started");
    exec.write_all(b"typed").expect("sent");
    exec.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(text(exec), "\u{1}\0\0\0\0\0\0\u{5}typed");
    assert_eq!(bench.wait("e"), 3);
    assert_eq!(code(bench.exec("lost", &["/bin/nowhere"], false)), Code::OUT_OF_RANGE);
    client.write_all(b"\n").expect("sent");
    assert_eq!(bench.wait(""), 7);
    let seen = text(client);
    assert!(seen.contains("one\n") && seen.contains("two\n"), "{seen:?}");
    assert_eq!(bench.log().len(), 2);
    assert_eq!(bench.delete("").expect("deleted").exit_status, 7);
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn a_start_that_nobody_waits_for_leaves_no_server() {
    let bench = Bench::new("left");
    bench.shut_down();
    let address = bench.bundle().join("address");
    eventually("the first server is gone", || !address.exists());
    let other = File::open(bench.bundle()).expect("a bundle");
    other.lock().expect("free");
    let mut start = bench.starting();
    let mut start = start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(start.stdout.take());
    thread::sleep(Duration::from_millis(100));
    assert_eq!(start.try_wait().expect("ours"), None, "it waits for the bundle");
    other.unlock().expect("locked");
    let ended = start.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("nobody reads it"), "{said}");
    assert!(!address.exists());
    bench.nothing_is_left();
}

#[test]
fn after_the_shim_of_a_vm_was_killed_delete_leaves_nothing() {
    let bench = Bench::behind(Isolation::Vm, "vmkill");
    bench.configure(&["sleep", "1000"], false);
    let worker = bench.create(false, false).expect("created");
    bench.start("").expect("started");
    kill_9(bench.shim_pid());
    assert_eq!(bench.clean_up().exit_status, 137);
    assert!(is_gone(worker.cast_signed()), "the worker is left");
    bench.nothing_is_left();
}

#[test]
fn input_arrives_and_ends_with_the_clients_side() {
    let bench = Bench::created("in", &["cat"], false, true);
    let mut client = bench.attach("", ALL);
    bench.start("").expect("started");
    client.write_all(b"through the wall\n").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    assert!(text(client).ends_with("through the wall\n"));
    assert_eq!(bench.wait(""), 0);
}

#[test]
fn megabytes_arrive_whole() {
    let bench = Bench::created("much", &["seq", "1000000"], false, false);
    let client = bench.attach("", r#"{"stdout":true}"#);
    bench.start("").expect("started");
    let mut seen = Vec::new();
    let mut frames = client;
    let mut header = [0; 8];
    while frames.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes(header[4..].try_into().expect("four bytes"));
        let mut bytes = vec![0; length as usize];
        frames.read_exact(&mut bytes).expect("a whole frame");
        seen.extend(bytes);
    }
    let seen = String::from_utf8(seen).expect("text");
    assert!(seen.lines().map(str::parse).eq((1..=1_000_000).map(Ok)), "{} bytes", seen.len());
    assert_eq!(bench.wait(""), 0);
    assert_eq!(bench.log().len(), 1_000_000);
}

#[test]
fn a_terminal_has_the_size_it_was_given() {
    let script = "read x; stty size; read x; stty size";
    let bench = Bench::created("tty", &["sh", "-c", script], true, true);
    let mut client = bench.attach("", ALL);
    let resize = |height, width| {
        let mut request = ResizePtyRequest::new();
        request.id = bench.id().into();
        (request.height, request.width) = (height, width);
        bench.tasks.resize_pty(context(), &request).expect("resized");
    };
    resize(30, 100);
    bench.start("").expect("started");
    client.write_all(b"\n").expect("typed");
    let mut seen = String::new();
    while !seen.contains("30 100") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("more to come");
        seen.push(byte[0].into());
    }
    resize(40, 120);
    client.write_all(b"\n").expect("typed");
    assert!(text(client).contains("40 120\r\n"));
    assert_eq!(bench.wait(""), 0);
}

#[test]
fn another_process_runs_beside_the_first() {
    let bench = Bench::created("exec", &["sleep", "1000"], false, false);
    bench.start("").expect("started");
    bench.exec("one", &["sh", "-c", "cat; exit 3"], true).expect("made");
    let mut client = bench.attach("one", ALL);
    bench.start("one").expect("started");
    client.write_all(b"typed").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(text(client), "\u{1}\0\0\0\0\0\0\u{5}typed");
    assert_eq!(bench.wait("one"), 3);
    assert_eq!(code(bench.kill("one", 9)), Code::NOT_FOUND);
    assert_eq!(bench.delete("one").expect("deleted").exit_status, 3);
    assert_eq!(code(bench.delete("one")), Code::NOT_FOUND);

    let runs = |exec, path| bench.exec(exec, &[path], false).and_then(|()| bench.start(exec));
    assert_eq!(code(runs("lost", "/bin/nowhere")), Code::OUT_OF_RANGE);
    assert_eq!(code(runs("plain", "/etc/plain")), Code::DATA_LOSS);
    assert_eq!(code(runs("garbage", "/etc/garbage")), Code::DATA_LOSS);
    bench.exec("never", &["true"], false).expect("made");
    assert_eq!(code(bench.delete("")), Code::FAILED_PRECONDITION);

    bench.kill("", 9).expect("killed");
    assert_eq!(bench.wait(""), 137);
    bench.delete("").expect("deleted with what is left in it");
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn a_background_process_does_not_hold_up_the_end_of_an_exec() {
    let bench = Bench::created("bg", &["sleep", "1000"], false, false);
    bench.start("").expect("started");
    bench.exec("one", &["sh", "-c", "sleep 1000 & echo done"], false).expect("made");
    let client = bench.attach("one", OUTPUT);
    let before = Instant::now();
    bench.start("one").expect("started");
    assert_eq!(bench.wait("one"), 0);
    assert!(text(client).ends_with("done\n"));
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[test]
fn a_program_that_is_not_there_is_told_from_one_that_cannot_run() {
    let cases = [
        ("/bin/nowhere", Code::OUT_OF_RANGE),
        ("/etc/plain", Code::DATA_LOSS),
        ("/etc/garbage", Code::DATA_LOSS),
    ];
    for (path, want) in cases {
        let bench = Bench::new("lost");
        bench.configure(&[path], false);
        // What the search finds out is told at once, what execve(2) finds out at the start.
        match bench.create(false, false) {
            Ok(_) => {
                assert_eq!(code(bench.start("")), want, "{path}");
                bench.delete("").expect("deleted");
            }
            refused => assert_eq!(code(refused), want, "{path}"),
        }
        bench.shut_down();
        bench.nothing_is_left();
    }
}

#[test]
fn a_container_can_be_looked_at_and_paused() {
    let bench = Bench::created("look", &["sleep", "1000"], false, false);
    let state = || {
        let mut request = StateRequest::new();
        request.id = bench.id().into();
        let state = bench.tasks.state(context(), &request).expect("known");
        (state.status.enum_value().expect("a status"), state.pid)
    };
    assert_eq!(state().0, Status::CREATED);
    let pid = bench.start("").expect("started");
    assert_eq!(state(), (Status::RUNNING, pid));
    assert_eq!(code(bench.start("")), Code::FAILED_PRECONDITION);

    let mut request = PidsRequest::new();
    request.id = bench.id().into();
    let processes = bench.tasks.pids(context(), &request).expect("listed").processes;
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(processes[0].pid, pid);
    let info: serde_json::Value = serde_json::from_slice(&processes[0].info.value).expect("JSON");
    assert_eq!(info["args"], serde_json::json!(["sleep", "1000"]));

    let mut pause = PauseRequest::new();
    pause.id = bench.id().into();
    bench.tasks.pause(context(), &pause).expect("paused");
    assert_eq!(state().0, Status::PAUSED);
    assert_eq!(code(bench.tasks.pause(context(), &pause)), Code::FAILED_PRECONDITION);
    let mut resume = ResumeRequest::new();
    resume.id = bench.id().into();
    bench.tasks.resume(context(), &resume).expect("resumed");
    assert_eq!(state().0, Status::RUNNING);

    let mut usage = StatsRequest::new();
    usage.id = bench.id().into();
    let told = bench.tasks.stats(context(), &usage).expect("told").stats;
    let told: serde_json::Value = serde_json::from_slice(&told.value).expect("JSON");
    assert_eq!(told["pids"]["current"], 1, "{told}");
    assert_eq!(code(bench.kill("", 0)), Code::INVALID_ARGUMENT);
    bench.tasks.pause(context(), &pause).expect("paused");
    bench.kill("", 15).and_then(|()| bench.kill("", 9)).expect("killed although it is paused");
    assert_eq!(bench.wait(""), 137);
    assert_eq!(code(bench.kill("", 9)), Code::NOT_FOUND);
}

#[test]
fn a_container_that_was_never_started_can_be_deleted() {
    let bench = Bench::created("never", &["true"], false, false);
    bench.delete("").expect("deleted");
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn a_refused_container_leaves_nothing() {
    let bench = Bench::new("bad");
    assert_eq!(code(bench.create(false, false)), Code::INVALID_ARGUMENT, "no config.json");
    bench.configure(&["true"], true);
    assert_eq!(code(bench.create(false, false)), Code::INVALID_ARGUMENT, "terminal or not");
    bench.configure(&["true"], false);
    bench.create(false, false).expect("a second try");
    assert_eq!(code(bench.create(false, false)), Code::ALREADY_EXISTS);
    bench.delete("").expect("deleted");
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn a_shim_keeps_the_exit_code_for_the_next_engine() {
    let bench = Bench::created("keep", &["sh", "-c", "exit 5"], false, false);
    bench.start("").expect("started");
    let address = std::fs::read_to_string(bench.bundle().join("address")).expect("kept");
    let next = TaskClient::new(Client::connect(&address).expect("it still listens"));
    assert_eq!(wait(&next, bench.id(), ""), 5);
    // Not even a request to end makes it forget.
    bench.shut_down();
    assert_eq!(wait(&next, bench.id(), ""), 5);
}

#[test]
fn orphans_in_the_hosts_pid_namespace_are_reaped() {
    let bench = Bench::new("orphan");
    let script = "sh -c 'sleep 0.3 & echo $!'; sleep 1000";
    bench.configure_with(&["sh", "-c", script], false, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    bench.create(false, false).expect("created");
    bench.start("").expect("started");
    eventually("the orphan's number is logged", || !bench.log().is_empty());
    let orphan = bench.log()[0].1.trim().to_owned();
    eventually("it is reaped", || !Path::new("/proc").join(&orphan).exists());
    bench.kill("", 9).expect("killed");
    assert_eq!(bench.wait(""), 137);
    bench.delete("").expect("deleted");
    bench.shut_down();
    bench.nothing_is_left();
}

#[test]
fn after_the_shim_was_killed_delete_leaves_nothing() {
    let bench = Bench::created("killed", &["sleep", "1000"], false, false);
    let pid = bench.start("").expect("started");
    bench.exec("one", &["sleep", "1000"], false).expect("made");
    bench.start("one").expect("started");
    kill_9(bench.shim_pid());
    assert!(!is_gone(pid.cast_signed()), "the container outlives it");
    assert_eq!(bench.clean_up().exit_status, 137);
    assert_eq!(bench.clean_up().exit_status, 137, "it may be called twice");
    bench.nothing_is_left();
}

#[test]
fn the_code_of_a_container_that_ended_before_its_shim_is_known() {
    let bench = Bench::created("ended", &["sh", "-c", "exit 9"], false, false);
    bench.start("").expect("started");
    assert_eq!(bench.wait(""), 9);
    kill_9(bench.shim_pid());
    assert_eq!(bench.clean_up().exit_status, 9);
    bench.nothing_is_left();
}
