//! `hull`, our own client: what docker's users type, typed to it.

use std::fs;
use std::time::{Duration, Instant};

use spec::Isolation;
use tests::command::{Ran, eventually, run};
use tests::host::IMAGE;
use tests::programs::program;
use tests::{Host, Pty};

use crate::commands::{Line, type_all_to};
use crate::registries::HTPASSWD;

const A_CONTAINERS_LIFE: &[Line] = &[
    ("create --name made ISOLATION IMAGE echo hi", 0, ""),
    ("ps -a --filter name=made --format {{.Status}}", 0, "Created"),
    ("start -a made", 0, "hi"),
    ("logs made", 0, "hi"),
    ("logs -t --tail 1 --since 10m made", 0, "Z hi"),
    ("wait made", 0, "0"),
    ("container rm made", 0, "made"),
    ("run --rm ISOLATION IMAGE cat /absent", 1, "No such file"),
    ("run --rm ISOLATION IMAGE absent", 127, "executable file not found in $PATH"),
    ("run --rm ISOLATION IMAGE /etc", 126, ""),
    ("run --rm --isolation=wrong IMAGE true", 125, "wrong"),
    ("run -d ISOLATION --name it -h box -e A=b -l k=v -m 64m IMAGE sleep 1000", 0, ""),
    ("run -d ISOLATION --name it IMAGE true", 125, "already in use"),
    ("exec it hostname", 0, "box"),
    ("exec -e A=c -w /tmp -u guest it env", 0, "A=c"),
    ("exec it false", 1, ""),
    ("exec it absent", 127, "executable file not found in $PATH"),
    ("top it", 0, "sleep 1000"),
    ("container top it -o pid,comm", 0, "sleep"),
    ("ps --filter label=k=v --filter status=running --format {{.Names}}", 0, "it"),
    ("ps --format {{.Labels}}={{.State}}", 0, "k=v=running"),
    ("ps --format json", 0, "\"Names\":\"it\""),
    ("ps -s --format {{.Names}}:{{.Size}}", 0, "it:"),
    ("container ls", 0, "CONTAINER ID"),
    ("inspect --type container -f {{.Config.Env}} it", 0, "A=b"),
    ("inspect -f {{range.Config.Env}}<{{.}}>{{end}} it", 0, "<A=b>"),
    ("inspect -f {{nope.State}} it", 1, "no function"),
    ("inspect --type image it", 1, "no such object: it"),
    ("stats --no-stream --format {{.MemUsage}} it", 0, "/ 64MiB"),
    ("stats --no-stream it", 0, "MEM USAGE / LIMIT"),
    ("port it", 0, ""),
    ("port it 80", 1, "not published"),
    ("pause it", 0, "it"),
    ("ps --format {{.Status}}", 0, "(Paused)"),
    ("exec it true", 1, "is paused"),
    ("attach it", 1, "is paused"),
    ("unpause it", 0, "it"),
    ("rename it other", 0, ""),
    ("inspect it", 1, "no such object: it"),
    ("update -m 32m --memory-swap 64m other", 0, "other"),
    ("rm other", 1, "container is running"),
    ("restart -t 0 other", 0, "other"),
    ("kill -s KILL other", 0, "other"),
    ("wait other", 0, "137"),
    ("kill other", 1, "is not running"),
    ("attach other", 1, "is not running"),
    ("start other", 0, "other"),
    ("stop -t 0 other absent", 1, "No such container: absent"),
    ("ps -aq --filter exited=137", 0, ""),
    ("rm -v other", 0, "other"),
    ("rm -f other", 0, "other"),
    ("rm other", 1, "No such container: other"),
    ("container prune -f", 0, "Total reclaimed space: 0B"),
];

const THE_ENGINE: &[Line] = &[
    ("version", 0, "hulld "),
    ("version --format {{.Server.ApiVersion}}/{{.Server.MinAPIVersion}}", 0, "1.51/1.24"),
    ("info", 0, "Default isolation: USUAL"),
    ("info --format {{.Isolation}}", 0, "USUAL"),
    ("system info --format json", 0, "\"ServerVersion\""),
    ("run --name told IMAGE true", 0, ""),
    ("events --since 10m --until 0s --filter container=told --filter event=die", 0, "exitCode=0"),
    ("system events --since 10m --until 0s --format {{.Type}}/{{.Action}}", 0, "container/die"),
    ("network ls --format {{.Name}}", 0, "bridge"),
    ("network inspect bridge", 0, "com.docker.network.bridge.name"),
    ("network inspect absent", 1, "network absent not found"),
    ("network create --label k=v --subnet 10.77.0.0/24 net", 0, ""),
    ("network ls --filter label=k=v --format {{.Name}}", 0, "net"),
    ("network inspect -f {{(index@.IPAM.Config@0).Subnet}} net", 0, "10.77.0.0/24"),
    ("network rm net", 0, "net"),
    ("network prune -f", 0, ""),
    ("volume inspect absent", 1, "no such volume"),
    ("system df", 0, "Images"),
    ("system df -v", 0, "told"),
    ("system prune -f --filter until=1h", 0, "Total reclaimed space"),
    ("no-such-verb", 2, "unrecognized subcommand"),
    ("ps --no-such-flag", 2, "unexpected argument"),
    ("--help", 0, "--isolation=hyperv"),
    ("run --help", 0, "Openings:"),
    ("completion bash", 0, "complete -F _hull"),
    ("completion tcsh", 2, "possible values"),
    ("man DIR/man", 0, ""),
    ("rm told", 0, "told"),
];

const FILES: &[Line] = &[
    ("volume create --label k=v vol", 0, "vol"),
    ("volume ls -q --filter label=k=v", 0, "vol"),
    ("volume ls", 0, "VOLUME NAME"),
    ("volume inspect -f {{.Driver}} vol", 0, "local"),
    ("run --rm -v vol:/d IMAGE touch /d/kept", 0, ""),
    ("run --rm -v vol:/d:ro IMAGE ls /d", 0, "kept"),
    ("run --rm --mount type=volume,source=vol,target=/d IMAGE ls /d", 0, "kept"),
    ("run --name filed -v vol:/d IMAGE sh -c mkdir@/tmp/t;@echo@x@>/tmp/t/made", 0, ""),
    ("volume rm vol", 1, "volume is in use"),
    ("diff filed", 0, "A /tmp/t/made"),
    ("cp filed:/tmp/t/made DIR/made", 0, ""),
    ("cp filed:/tmp/t DIR", 0, ""),
    ("cp filed:/tmp/t/. DIR/t2", 0, ""),
    ("cp DIR/made filed:/root/there", 0, ""),
    ("cp DIR/t filed:/root", 0, ""),
    ("cp DIR/t/. filed:/root/u", 0, ""),
    ("cp filed:/absent DIR/absent", 1, "Could not find the file /absent in container filed"),
    ("cp DIR/absent filed:/root", 1, "no such file"),
    ("cp DIR/made filed:/absent/", 1, "no such directory"),
    ("export -o DIR/filed.tar filed", 0, ""),
    ("commit -m why -c CMD@ls@/root filed committed:1", 0, "sha256:"),
    ("run --rm committed:1", 0, "there"),
    ("run --rm committed:1 cat /root/t/made /root/u/made", 0, "x\nx"),
    ("rmi committed:1", 0, "Untagged: committed:1"),
    ("rm filed", 0, "filed"),
    ("volume clone vol twin", 0, "twin"),
    ("volume clone vol twin", 1, "a volume of that name exists"),
    ("volume snapshot vol", 0, "vol-snapshot-1"),
    ("volume rm twin vol-snapshot-1", 0, "vol-snapshot-1"),
    ("volume rm vol", 0, "vol"),
    ("volume prune -f", 0, "Total reclaimed space"),
];

const AN_IMAGES_LIFE: &[Line] = &[
    ("pull IMAGE", 0, "Image is up to date for"),
    ("pull -q IMAGE", 0, "127.0.0.1:5000/busybox:latest"),
    ("tag IMAGE 127.0.0.1:5000/verb:1", 0, ""),
    ("images 127.0.0.1:5000/verb --format {{.Tag}}", 0, "1"),
    ("image ls --digests", 0, "sha256:"),
    ("image inspect -f {{.Os}}/{{.Architecture}} 127.0.0.1:5000/verb:1", 0, "linux/amd64"),
    ("history 127.0.0.1:5000/verb:1", 0, "CREATED BY"),
    ("push 127.0.0.1:5000/verb:1", 0, "1: digest: sha256:"),
    ("save -o DIR/verb.tar 127.0.0.1:5000/verb:1", 0, ""),
    ("rmi 127.0.0.1:5000/verb:1", 0, "Untagged: 127.0.0.1:5000/verb:1"),
    ("rmi 127.0.0.1:5000/verb:1", 1, "No such image: 127.0.0.1:5000/verb:1"),
    ("load -i DIR/verb.tar", 0, "Loaded image: 127.0.0.1:5000/verb:1"),
    ("load -i DIR/absent.tar", 1, "no such file"),
    ("image rm 127.0.0.1:5000/verb:1", 0, "Untagged"),
    ("run --rm --pull never 127.0.0.1:5000/verb:1 true", 125, "No such image"),
    ("run --rm 127.0.0.1:5000/verb:1 true", 0, "Unable to find image"),
    ("rmi 127.0.0.1:5000/verb:1", 0, "Untagged"),
    ("image prune -f", 0, "Total reclaimed space"),
    ("pull 127.0.0.1:5000/absent", 1, "not found"),
    ("run 127.0.0.1:5000/absent", 125, "Unable to find image"),
];

fn hull(host: &Host, words: &[&str]) -> Ran {
    // Where a word of these tables must hold a space it has an @.
    let words: Vec<String> = words.iter().map(|word| word.replace('@', " ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    typed(host, &words, b"")
}

pub(crate) fn typed(host: &Host, words: &[&str], input: &[u8]) -> Ran {
    run(host.engine.other_client(&program("hull").to_string_lossy(), words), input)
}

pub(crate) fn on_terminal(host: &Host, words: &[&str]) -> Pty {
    let mut client = host.engine.other_client(&program("hull").to_string_lossy(), words);
    client.env("TERM", "xterm").env_remove("NO_COLOR");
    Pty::start(&client, 24, 80)
}

fn type_all(host: &Host, isolation: Isolation, lines: &[Line]) {
    type_all_to(host, isolation, lines, |words| hull(host, words));
}

pub(crate) fn a_containers_life_by_verb(host: &mut Host, isolation: Isolation) {
    type_all(host, isolation, A_CONTAINERS_LIFE);
}

pub(crate) fn the_engine_by_verb(host: &mut Host) {
    type_all(host, Isolation::Process, THE_ENGINE);
    let page = fs::read_to_string(host.dir().join("man/hull-run.1")).expect("a page a verb");
    assert!(page.contains("isolation"), "{page}");
}

pub(crate) fn files_and_volumes_by_verb(host: &mut Host) {
    type_all(host, Isolation::Process, FILES);
    let read = |name: &str| fs::read_to_string(host.dir().join(name)).unwrap_or_default();
    assert_eq!(["made", "t/made", "t2/made"].map(read), ["x\n", "x\n", "x\n"]);
}

pub(crate) fn an_images_life_by_verb(host: &mut Host) {
    type_all(host, Isolation::Process, AN_IMAGES_LIFE);
}

pub(crate) fn a_prune_asks_first(host: &mut Host) {
    typed(host, &["run", "--name", "kept", IMAGE, "true"], b"").ok();
    let asked = typed(host, &["container", "prune"], b"n\n");
    assert_eq!(asked.code, 1, "{asked}");
    assert!(asked.err.contains("all stopped containers") && asked.err.contains("[y/N]"), "{asked}");
    let told = typed(host, &["container", "prune"], b"y\n").ok();
    assert!(told.contains("Deleted Containers:"), "{told}");
}

pub(crate) fn a_terminal_is_left_by_its_keys(host: &mut Host, isolation: Isolation) {
    let isolation = format!("--isolation={isolation}");
    let mut shell = on_terminal(host, &["run", "-it", "--name", "left", &isolation, IMAGE, "sh"]);
    shell.send("stty size; echo $((20+3))\n");
    shell.screen.expect("24 80");
    shell.screen.expect("23");
    shell.send("\x10\x11");
    assert_eq!(shell.wait(), 0);
    host.engine.until("left", "running");
    let mut shell = on_terminal(host, &["attach", "--detach-keys", "ctrl-x,x", "left"]);
    shell.send("echo $((30+4))\n");
    shell.screen.expect("34");
    shell.send("\x18x");
    assert_eq!(shell.wait(), 0);
    let mut shell = on_terminal(host, &["exec", "-it", "left", "sh"]);
    shell.send("exit 9\n");
    assert_eq!(shell.wait(), 9);
}

pub(crate) fn streams_and_exit_codes_are_the_programs(host: &mut Host, isolation: Isolation) {
    let isolation = format!("--isolation={isolation}");
    let script = "cat; echo oops >&2; exit 5";
    let words = ["run", "--rm", "-i", &isolation, IMAGE, "sh", "-c", script];
    let ran = typed(host, &words, b"in and out");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (5, "in and out", "oops\n"),
        "{ran}"
    );
    let cid = host.dir().join(format!("cid{isolation}"));
    let cid = cid.to_string_lossy();
    let words = ["run", "-d", "--cidfile", &cid, &isolation, IMAGE, "sh", "-c", "exit 4"];
    let id = typed(host, &words, b"").ok();
    assert_eq!(fs::read_to_string(&*cid).expect("it is written"), id.trim());
    assert_eq!(typed(host, &["wait", id.trim()], b"").ok(), "4");
    assert_eq!(typed(host, &["start", "-a", id.trim()], b"").code, 4);
}

pub(crate) fn a_pull_shows_bars_on_a_terminal(host: &mut Host) {
    let name = "127.0.0.1:5000/library/busybox";
    let pull = on_terminal(host, &["pull", name]);
    pull.screen.expect("Pulling from library/busybox");
    pull.screen.expect(name);
    assert_eq!(pull.wait(), 0);
    host.docker(&["rmi", name]).ok();
    let list = on_terminal(host, &["images", "--no-trunc"]);
    list.screen.expect("REPOSITORY");
    assert_eq!(list.wait(), 0);
    let wrong = on_terminal(host, &["inspect", "nobody"]);
    wrong.screen.expect("\x1b[31mhull:\x1b[0m no such object: nobody");
    assert_eq!(wrong.wait(), 1);
    let hull = program("hull");
    let mut client = host.engine.other_client(&hull.to_string_lossy(), &["inspect", "nobody"]);
    client.env("NO_COLOR", "1");
    let plain = Pty::start(&client, 24, 80);
    plain.screen.expect("hull: no such object: nobody");
    assert_eq!(plain.wait(), 1);
}

pub(crate) fn a_live_view_follows_its_container(host: &mut Host, isolation: Isolation) {
    let wall = format!("--isolation={isolation}");
    host.docker(&["run", "-d", "--name", "seen", &wall, IMAGE, "sleep", "1000"]).ok();
    let stats = on_terminal(host, &["stats", "seen"]);
    stats.screen.expect("\x1b[2JCONTAINER ID");
    assert!(!stats.screen.expect("seen").contains('…'), "what does not fit is left out");
    drop(stats);
    let top = on_terminal(host, &["top", "--live", "seen", "-o", "pid,comm"]);
    top.screen.expect("sleep");
    host.docker(&["exec", "-d", "seen", "tail", "-f", "/dev/null"]).ok();
    top.screen.expect("tail");
    host.docker(&["rm", "-f", "seen"]).ok();
    assert_eq!(top.wait(), 0);
    let once = typed(host, &["top", "--live", "seen"], b"");
    assert!(once.fails(1).contains("No such container: seen"));
}

pub(crate) fn a_login_is_dockers_too(host: &mut Host) {
    let passwords = host.dir().join("hull-htpasswd");
    fs::write(&passwords, HTPASSWD).expect("a file");
    let auth = format!("auth: {{htpasswd: {{realm: r, path: {}}}}}", passwords.display());
    let _registry = host.another_registry("127.0.0.1:5077", "", &auth);
    let name = "127.0.0.1:5077/mine:1";
    host.docker(&["tag", IMAGE, name]).ok();
    assert_eq!(typed(host, &["push", name], b"").code, 1, "nobody");
    let login = |secret: &[u8]| {
        typed(host, &["login", "-u", "me", "--password-stdin", "127.0.0.1:5077"], secret)
    };
    assert_eq!(login(b"wrong\n").code, 1);
    assert!(login(b"secret\n").ok().contains("Login Succeeded"));
    typed(host, &["push", name], b"").ok();
    host.docker(&["rmi", name]).ok();
    host.docker(&["pull", "-q", name]).ok();
    assert!(typed(host, &["logout", "127.0.0.1:5077"], b"").ok().contains("Removing login"));
    assert_eq!(typed(host, &["push", name], b"").code, 1, "forgotten");
    host.docker(&["rmi", name]).ok();
}

/// With a socket of our own; `daemon` has the one of systemd.
pub(crate) fn stop_waits_for_the_engine_and_start_for_its_answer(host: &mut Host) {
    let engine = host.another_engine_with(&[]);
    let client =
        |words: &[&str]| run(engine.other_client(&program("hull").to_string_lossy(), words), b"");
    client(&["ps"]).ok();
    let (pid, begun) = (engine.pid(), Instant::now());
    client(&["system", "stop"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Ours to reap: it is a zombie until then.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(" Z "), "{state}");
    let stopped = client(&["ps"]);
    assert_eq!(stopped.code, 1);
    assert!(stopped.err.contains("no engine answers at"), "{stopped}");
    eventually("its socket is gone", || !engine.exec_root().join("hull.sock").exists());
}

/// This machine runs the suites of both modes: nothing that they need is missing.
pub(crate) fn the_doctor_finds_what_works_and_what_mends_the_rest(host: &mut Host) {
    let ran = typed(host, &["doctor", "--json"], b"");
    let findings: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let verdict = |probe: &str| {
        let all = findings.as_array().into_iter().flatten();
        let found = all.clone().find(|finding| finding["probe"] == probe);
        found.and_then(|finding| finding["verdict"].as_str()).unwrap_or("not probed").to_owned()
    };
    for probe in ["engine", "namespaces", "overlayfs", "packet filter", "hypervisor", "seccomp"] {
        assert_eq!(verdict(probe), "works", "{probe}: {ran}");
    }
    // Where the engine has them, not where an engine usually has.
    for probe in ["guest kernel", "guest modules"] {
        assert_eq!(verdict(probe), "works", "{probe}: {ran}");
    }
    let missing =
        findings.as_array().is_some_and(|all| all.iter().any(|f| f["verdict"] == "missing"));
    assert_eq!(ran.code, i32::from(missing), "{ran}");
    for finding in findings.as_array().into_iter().flatten() {
        assert_eq!(finding["verdict"] == "works", finding["remedy"].is_null(), "{finding}");
    }
    let nobody = host.dir().join("nobody.sock").display().to_string();
    let told = typed(host, &["--host", &format!("unix://{nobody}"), "doctor"], b"");
    assert!(told.out.contains("-> hull system start"), "{told}");
}
