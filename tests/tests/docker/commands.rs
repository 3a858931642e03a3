//! The commands of the stock client, one after another as a user types them: the exit code of each,
//! and a piece of what it prints.

use std::process::Stdio;

use spec::Isolation;
use tests::command::Ran;
use tests::host::IMAGE;
use tests::{Host, wall};

/// A command without `docker`, its exit code, and what is in its output.
pub(crate) type Line = (&'static str, i32, &'static str);

/// `ISOLATION` and `IMAGE` stand for this run's.
const A_CONTAINERS_LIFE: &[Line] = &[
    ("create --name made ISOLATION IMAGE echo hi", 0, ""),
    ("ps -a --filter name=made --format {{.Status}}", 0, "Created"),
    ("start -a made", 0, "hi"),
    ("logs made", 0, "hi"),
    ("logs -t --tail 1 made", 0, "Z hi"),
    ("logs -f --since 1h --until 1h made", 0, ""),
    ("attach made", 1, "cannot attach to a stopped container"),
    ("start made", 0, "made"),
    ("wait made", 0, "0"),
    ("rm made", 0, "made"),
    ("run --rm ISOLATION --pull always IMAGE echo up", 0, "up"),
    ("run --rm ISOLATION --platform linux/amd64 -t IMAGE tty", 0, "/dev/pts/0"),
    ("run --rm ISOLATION --platform linux/s390x IMAGE true", 125, "linux/s390x"),
    ("run --rm ISOLATION IMAGE cat /absent", 1, "No such file"),
    ("run --rm ISOLATION IMAGE absent", 127, "executable file not found in $PATH"),
    ("run -d ISOLATION --name it -h box -e A=b -l k=v -m 64m IMAGE sleep 1000", 0, ""),
    ("exec it hostname", 0, "box"),
    ("exec -e A=c -w /tmp -u guest it env", 0, "A=c"),
    ("exec -t it tty", 0, "/dev/pts/"),
    ("exec -d it true", 0, ""),
    ("exec it false", 1, ""),
    ("exec it absent", 127, "executable file not found in $PATH"),
    ("top it", 0, "sleep 1000"),
    ("top it -o pid,comm", 0, "sleep"),
    ("ps --filter label=k=v --filter status=running --format {{.Names}}", 0, "it"),
    ("ps -s --format {{.Names}}:{{.Size}}", 0, "it:"),
    ("inspect --type container -f {{.Config.Env}} it", 0, "A=b"),
    ("stats --no-stream --format {{.MemUsage}} it", 0, "/ 64MiB"),
    ("port it", 0, ""),
    ("pause it", 0, "it"),
    ("ps --format {{.Status}}", 0, "(Paused)"),
    ("exec it true", 1, "is paused"),
    ("unpause it", 0, "it"),
    ("rename it other", 0, ""),
    ("inspect it", 1, "o such object: it"),
    ("update -m 32m --memory-swap 64m other", 0, "other"),
    ("rm other", 1, "container is running"),
    ("restart -t 0 other", 0, "other"),
    ("kill -s KILL other", 0, "other"),
    ("wait other", 0, "137"),
    ("kill other", 1, "is not running"),
    ("start other", 0, "other"),
    ("stop -t 0 other", 0, "other"),
    ("ps -a --filter exited=137 --format {{.Names}}", 0, "other"),
    ("rm -v other", 0, "other"),
    ("rm other", 1, "No such container: other"),
    ("container prune -f", 0, "Total reclaimed space: 0B"),
];

const THE_ENGINE: &[Line] = &[
    ("version", 0, "Server: Hull"),
    ("version --format {{.Server.APIVersion}}/{{.Server.MinAPIVersion}}", 0, "1.51/1.24"),
    ("info", 0, "Storage Driver: overlay2"),
    ("info --format {{.Isolation}}", 0, "USUAL"),
    ("run --name told IMAGE true", 0, ""),
    ("events --since 10m --until -1s --filter container=told --filter event=die", 0, "exitCode=0"),
    ("network ls --format {{.Name}}", 0, "bridge"),
    ("network inspect bridge", 0, "com.docker.network.bridge.name"),
    ("network inspect absent", 1, "network absent not found"),
    ("network create --label k=v net", 0, ""),
    ("network ls --filter label=k=v --format {{.Name}}", 0, "net"),
    ("network inspect -f {{.Driver}} net", 0, "bridge"),
    ("run -d --name away -p 127.0.0.1:8099:80 IMAGE sleep 1000", 0, ""),
    ("port away", 0, "80/tcp -> 127.0.0.1:8099"),
    ("network connect --alias far net away", 0, ""),
    ("network inspect -f {{range.Containers}}{{.Name}}{{end}} net", 0, "away"),
    ("network rm net", 1, "has active endpoints"),
    ("network disconnect net away", 0, ""),
    ("rm -f away", 0, "away"),
    ("network rm net", 0, "net"),
    ("network prune -f", 0, ""),
    ("volume ls", 0, "VOLUME NAME"),
    ("volume inspect absent", 1, "no such volume"),
    ("system df", 0, "Images"),
    ("system df -v", 0, "told"),
    ("plugin ls", 0, "ENABLED"),
    ("checkpoint ls told", 1, "experimental"),
    ("search busybox", 0, "busybox"),
    ("login -u some -p body 127.0.0.1:5000", 0, "Login Succeeded"),
    ("logout 127.0.0.1:5000", 0, "Removing login credentials"),
    ("context ls", 0, "default"),
    ("builder prune -f", 0, "Total reclaimed space: 0B"),
    ("node ls", 1, "This node is not a swarm manager"),
    ("service ls", 1, "This node is not a swarm manager"),
    ("swarm init", 1, "This node is not a swarm manager"),
    ("system prune -f", 0, "Deleted Containers:"),
    ("rm told", 1, "No such container: told"),
];

const FILES: &[Line] = &[
    ("volume create --label k=v vol", 0, "vol"),
    ("volume ls -q --filter label=k=v", 0, "vol"),
    ("volume inspect -f {{.Driver}} vol", 0, "local"),
    ("run --rm -v vol:/d IMAGE touch /d/kept", 0, ""),
    ("run --rm -v vol:/d:ro IMAGE ls /d", 0, "kept"),
    ("run --rm --mount type=volume,source=vol,target=/d IMAGE ls /d", 0, "kept"),
    ("run --name filed -v vol:/d IMAGE touch /tmp/made", 0, ""),
    ("volume rm vol", 1, "volume is in use"),
    ("diff filed", 0, "A /tmp/made"),
    ("cp filed:/tmp/made DIR/made", 0, ""),
    ("cp DIR/made filed:/root/there", 0, ""),
    ("cp filed:/absent DIR/absent", 1, "Could not find the file /absent in container filed"),
    ("export -o DIR/filed.tar filed", 0, ""),
    ("import -m why DIR/filed.tar imported:1", 0, "sha256:"),
    ("run --rm imported:1 ls /tmp", 0, "made"),
    ("rmi imported:1", 0, "Untagged: imported:1"),
    ("commit -m why filed committed:1", 0, "sha256:"),
    ("run --rm committed:1 ls /root /tmp", 0, "there"),
    ("rmi committed:1", 0, "Untagged: committed:1"),
    ("rm filed", 0, "filed"),
    ("volume rm vol", 0, "vol"),
    ("volume prune -f", 0, "Total reclaimed space"),
    ("volume create vol", 0, "vol"),
    ("volume prune -af", 0, "Deleted Volumes:"),
];

const AN_IMAGES_LIFE: &[Line] = &[
    ("pull IMAGE", 0, "Image is up to date for"),
    ("pull -q IMAGE", 0, "127.0.0.1:5000/busybox:latest"),
    ("tag IMAGE 127.0.0.1:5000/command:1", 0, ""),
    ("images 127.0.0.1:5000/command --format {{.Tag}}", 0, "1"),
    ("image inspect -f {{.Os}}/{{.Architecture}} 127.0.0.1:5000/command:1", 0, "linux/amd64"),
    ("image inspect --platform linux/amd64 127.0.0.1:5000/command:1", 0, "\"RepoTags\""),
    ("image inspect --platform linux/s390x 127.0.0.1:5000/command:1", 1, "linux/s390x"),
    ("images --tree", 0, "127.0.0.1:5000/command:1"),
    ("build -t command:built DIR/context", 0, "Successfully tagged command:built"),
    ("rmi command:built", 0, "Untagged: command:built"),
    ("builder prune -f", 0, "Total reclaimed space"),
    ("history 127.0.0.1:5000/command:1", 0, "hide and add"),
    ("push 127.0.0.1:5000/command:1", 0, "1: digest: sha256:"),
    ("save -o DIR/command.tar 127.0.0.1:5000/command:1", 0, ""),
    ("rmi 127.0.0.1:5000/command:1", 0, "Untagged: 127.0.0.1:5000/command:1"),
    ("rmi 127.0.0.1:5000/command:1", 1, "No such image: 127.0.0.1:5000/command:1"),
    ("load -i DIR/command.tar", 0, "Loaded image: 127.0.0.1:5000/command:1"),
    ("rmi 127.0.0.1:5000/command:1", 0, "Untagged"),
    ("pull --quiet 127.0.0.1:5000/command:1", 0, "127.0.0.1:5000/command:1"),
    ("rmi 127.0.0.1:5000/command:1", 0, "Untagged"),
    ("image prune -f", 0, "Total reclaimed space"),
    ("pull 127.0.0.1:5000/absent", 1, "not found"),
    ("run 127.0.0.1:5000/absent", 125, "Unable to find image"),
];

pub(crate) fn a_containers_life_by_command(host: &mut Host, isolation: Isolation) {
    type_all(host, isolation, A_CONTAINERS_LIFE);
}

pub(crate) fn the_engine_by_command(host: &mut Host) {
    type_all(host, Isolation::Process, THE_ENGINE);
}

pub(crate) fn files_and_volumes_by_command(host: &mut Host) {
    type_all(host, Isolation::Process, FILES);
}

pub(crate) fn an_images_life_by_command(host: &mut Host) {
    let context = host.dir().join("context");
    std::fs::create_dir(&context).expect("a directory");
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n")
        .expect("a file");
    type_all(host, Isolation::Process, AN_IMAGES_LIFE);
    // This one the client asks the registry itself.
    let words = ["manifest", "inspect", "--insecure", "127.0.0.1:5000/busybox"];
    let mut client = host.engine.client(&words);
    let ran = host.engine.spawn_beside(client.stdout(Stdio::piped())).wait_with_output();
    let said = String::from_utf8_lossy(&ran.expect("it ran").stdout).into_owned();
    assert!(said.contains("\"schemaVersion\": 2"), "{said}");
}

fn type_all(host: &Host, isolation: Isolation, lines: &[Line]) {
    type_all_to(host, isolation, lines, |words| host.docker(words));
}

/// Types lines to a client: `run` is given the words behind its name.
pub(crate) fn type_all_to(
    host: &Host,
    isolation: Isolation,
    lines: &[Line],
    run: impl Fn(&[&str]) -> Ran,
) {
    let isolation = format!("--isolation={isolation}");
    let dir = host.dir().display().to_string();
    for (line, code, want) in lines {
        let words = line.split(' ').map(|word| match word {
            "ISOLATION" => isolation.clone(),
            "IMAGE" => IMAGE.to_owned(),
            word => word.replace("DIR", &dir),
        });
        let words: Vec<String> = words.collect();
        let ran = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, *code, "{ran}");
        let want = want.replace("USUAL", &wall::usual().to_string());
        assert!(says(&ran, &want), "no {want:?}: {ran}");
    }
}

fn says(ran: &Ran, want: &str) -> bool {
    ran.out.contains(want) || ran.err.contains(want)
}
