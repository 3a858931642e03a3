//! Building images by docker's buildx, which speaks BuildKit's API.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use spec::Isolation;
use tests::Host;
use tests::command::{Ran, Running, eventually, run};
use tests::host::IMAGE;
use tests::programs;

use super::cases::{CASES, Case, REFUSED};
use super::contexts::left;
use super::fetched::{AT, REPOSITORY, Server};
use super::secrets::{Agent, copy_client};
use super::{assert_holds, context, prepare};

/// Arguments that only the classic builder has.
const CLASSIC: &str = "--memory=";

/// The stock client with the plugin; `None`, and a word of it, where it could not be built.
fn client(host: &Host, words: &[&str]) -> Option<Command> {
    let Some(plugin) = programs::buildx() else {
        println!("skipped: scripts/buildx.sh could not build buildx");
        return None;
    };
    let config = host.dir().join("with-buildx");
    let plugins = config.join("cli-plugins");
    if !plugins.exists() {
        fs::create_dir_all(&plugins).expect("a directory");
        symlink(fs::canonicalize(plugin).expect("there"), plugins.join("docker-buildx"))
            .expect("a link");
    }
    let mut client = host.engine.client(words);
    client
        .env("DOCKER_CONFIG", config)
        .env("BUILDKIT_PROGRESS", "plain")
        .env_remove("SSH_AUTH_SOCK");
    Some(client)
}

fn buildx(host: &Host, words: &[&str]) -> Option<Ran> {
    buildx_with(host, words, b"")
}

fn buildx_with(host: &Host, words: &[&str], input: &[u8]) -> Option<Ran> {
    let words = [&["buildx"], words].concat();
    Some(run(client(host, &words)?, input))
}

/// Builds a Dockerfile in `dir` behind a wall.
fn build(
    host: &Host,
    isolation: Isolation,
    dir: &Path,
    text: &str,
    arguments: &[&str],
) -> Option<Ran> {
    let wall = format!("--build-arg=HULL_ISOLATION={isolation}");
    let arguments = prepare(dir, text, arguments);
    let arguments = arguments.iter().map(String::as_str);
    let words = ["build", "--no-cache", &wall, "-t", "built"].into_iter().chain(arguments);
    buildx(host, &words.collect::<Vec<_>>())
}

/// Forgets what a case has built.
fn clean(host: &Host, names: &[&str]) {
    for name in names {
        host.docker(&["rmi", name]).ok();
    }
    host.docker(&["image", "prune", "-f"]).ok();
    assert_eq!(left(&host.engine), [""; 0]);
}

pub(crate) fn every_instruction_does_what_it_says(host: &mut Host, isolation: Isolation) {
    let all = isolation == Isolation::Process || std::env::var_os("HULL_SOAK_BUILDS").is_some();
    for Case { name, context: files, arguments, dockerfile, config, by_wall } in CASES {
        if !all && !by_wall || arguments.iter().any(|argument| argument.starts_with(CLASSIC)) {
            continue;
        }
        let dir = context(host, name, files);
        let Some(ran) = build(host, isolation, &dir, dockerfile, arguments) else { return };
        assert_eq!(ran.code, 0, "{name}: {ran}");
        assert_holds(host, name, config);
    }
    clean(host, &["built"]);
}

pub(crate) fn what_cannot_be_built_is_told_and_leaves_nothing(host: &mut Host) {
    let files = [("a.txt", "a"), ("b.txt", "b"), ("out", "-> /etc/passwd")];
    let before = host.docker(&["images", "-q"]).ok();
    for (name, dockerfile, want) in REFUSED {
        let dir = context(host, name, &files);
        let target: &[&str] =
            if name.starts_with("a stage") { &["--target", "absent"] } else { &[] };
        let Some(ran) = build(host, Isolation::Process, &dir, dockerfile, target) else { return };
        assert_ne!(ran.code, 0, "{name}: {ran}");
        assert!(ran.err.contains(want.trim()), "{name}: {ran}");
    }
    let dir = context(host, "refused", &files);
    for (arguments, want) in [
        (&["--no-cache-filter", "one"][..], "--no-cache-filter"),
        (&["--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1"], "BUILDKIT_SYNTAX"),
        (&["--build-arg", "HULL_ISOLATION=chroot"], "chroot"),
        (&["--cache-from", "type=azblob,name=x"], "--cache-from"),
        (&["--output", "type=tar,dest=/dev/null,platform-split=true"], "platform-split"),
        (&["--call", "outline"], "--call"),
        (&["--cgroup-parent", "/x"], "cgroup-parent"),
        (&["-f", "absent/Dockerfile"], "absent"),
    ] {
        let dir = dir.to_string_lossy();
        fs::write(dir.to_string() + "/Dockerfile", format!("FROM {IMAGE}\n")).expect("a file");
        let ran = buildx(host, &[&["build"], arguments, &[&*dir]].concat());
        let ran = ran.expect("it was there");
        assert!(ran.code != 0 && ran.err.contains(want), "{arguments:?}: {ran}");
    }
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
    clean(host, &[]);
    assert_eq!(host.docker(&["images", "-q"]).ok(), before);
}

pub(crate) fn secrets_caches_and_agents_are_the_clients(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join(format!("buildx-secret-{isolation}"));
    let context = dir.join("context");
    copy_client(&context.join("root"));
    let agent = Agent::start(&dir);
    fs::copy(dir.join("key.pub"), context.join("root/key.pub")).expect("a copy");
    fs::write(dir.join("secret"), "never on a disk").expect("a file");
    let (_, keys) = agent.add(&["-l"]);
    let print = keys.split(' ').nth(1).expect("a fingerprint").to_owned();
    let text = format!(
        "FROM BASE\nCOPY root /\n\
         RUN --mount=type=secret,id=s,required=true test \"$(cat /run/secrets/s)\" = \"never on a disk\"\n\
         RUN --mount=type=secret,id=s,env=S test \"$S\" = \"never on a disk\" && ! test -e /run/secrets\n\
         RUN --mount=type=secret,id=absent ! test -e /run/secrets/absent\n\
         RUN --mount=type=cache,id=buildx-{isolation},target=/c echo x >> /c/x\n\
         RUN --mount=type=cache,id=buildx-{isolation},target=/c test \"$(cat /c/x)\" = x\n\
         RUN --mount=type=ssh,required=true ssh-add -l | grep -qF {print} && ssh-add -T /key.pub && ! ssh-add -D\n"
    );
    let secret = format!("id=s,src={}", dir.join("secret").display());
    let socket = format!("default={}", agent.socket.display());
    let arguments = ["--secret", &secret, "--ssh", &socket];
    let Some(ran) = build(host, isolation, &context, &text, &arguments) else { return };
    ran.ok();
    assert_eq!(agent.add(&["-l"]), (0, keys), "no command takes the key away");
    let text = "FROM BASE\nRUN --mount=type=secret,id=s,required=true true\n";
    let ran = build(host, isolation, &context, text, &[]).expect("it was there");
    assert!(ran.code != 0 && ran.err.contains("secret s: not found"), "{ran}");
    clean(host, &["built"]);
}

pub(crate) fn a_context_is_what_the_client_has(host: &mut Host) {
    let dir = host.dir().join("buildx-context");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("target/deep")).expect("a directory");
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    put("target/keep", "kept");
    put("target/deep/no", "no");
    put("no.o", "no");
    put("n\u{fc}r \u{1f40b}", "odd");
    put("empty", "");
    put("large", &"0123456789abcdef".repeat(1 << 20));
    fs::hard_link(dir.join("empty"), dir.join("second")).expect("a link");
    symlink("/etc/passwd", dir.join("out")).expect("a link");
    put("tool", "#!/bin/sh\n");
    fs::set_permissions(dir.join("tool"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    put(".dockerignore", "# what is made\n/target\n!target/keep\n*.o\n");
    let text = "FROM BASE\nCOPY . /x\n\
                RUN cd /x && test \"$(cat target/keep)\" = kept && ! test -e target/deep && ! test -e no.o \
                && test \"$(cat n*r*)\" = odd && test -f empty -a ! -s empty -a -e second && test -u tool \
                && test \"$(readlink out)\" = /etc/passwd && test \"$(wc -c < large)\" = 16777216 \
                && test \"$(stat -c %u:%g large)\" = 0:0\n";
    let Some(ran) = build(host, Isolation::Process, &dir, text, &[]) else { return };
    ran.ok();
    // By its own list, and with a Dockerfile that is somewhere else.
    let other = host.dir().join("buildx-elsewhere");
    fs::create_dir_all(&other).expect("a directory");
    fs::write(other.join("x.Dockerfile.dockerignore"), "*\n!no.o\n").expect("a file");
    let text = format!("FROM {IMAGE}\nCOPY . /x\nRUN test \"$(ls -A /x)\" = no.o\n");
    fs::write(other.join("x.Dockerfile"), text).expect("a file");
    let file = other.join("x.Dockerfile").display().to_string();
    let at = dir.display().to_string();
    buildx(host, &["build", "-t", "built", "-f", &file, &at]).expect("it was there").ok();
    // Files and images beside the context.
    let beside = format!("more={at}/target");
    let base = format!("base=docker-image://{IMAGE}");
    let text = "FROM base\nCOPY --from=more keep /\n\
                RUN --mount=type=bind,from=more,target=/m test \"$(cat /keep /m/keep)\" = keptkept\n";
    let words = ["build", "-t", "built", "--build-context", &beside, "--build-context", &base, "-"];
    buildx_with(host, &words, text.as_bytes()).expect("it was there").ok();
    // A file that changes is copied again, and nothing else is done twice.
    let text = format!("FROM {IMAGE}\nCOPY empty /\nCOPY target/keep /\n");
    fs::write(dir.join("Dockerfile"), text).expect("a file");
    let build = || buildx(host, &["build", "-t", "built", &at]).expect("it was there");
    assert_eq!(build().code, 0);
    put("target/keep", "kept otherwise");
    let again = build();
    assert_eq!((again.code, again.err.matches("CACHED").count()), (0, 1), "{again}");
    clean(host, &["built"]);
}

pub(crate) fn a_context_may_be_somewhere_else(host: &mut Host) {
    let server = Server::start(host);
    server.sh(host, REPOSITORY).ok();
    let text = format!("FROM {IMAGE}\nCOPY file /\nRUN test \"$(cat /file)\" = main\n");
    server.put("work/Dockerfile", &text);
    let push = "cd work && git checkout -q main && git add . && git commit -q -m d && git push -q ../app.git main && \
                cd ../app.git && git update-server-info && chmod -R a+rX . && tar -C ../work -cf ../c.tar file Dockerfile";
    server.sh(host, push).ok();
    for address in [format!("{AT}/app.git#main"), format!("{AT}/c.tar")] {
        let Some(ran) = buildx(host, &["build", "-t", "built", &address]) else { return };
        assert_eq!(ran.code, 0, "{address}: {ran}");
    }
    // The Dockerfile is the client's then.
    let text = format!("FROM {IMAGE}\nCOPY file /own\n");
    let own = ["build", "-t", "built", "-f", "-", &format!("{AT}/app.git#main")];
    buildx_with(host, &own, text.as_bytes()).expect("it was there").ok();
    let archive = fs::read(host.dir().join("served/c.tar")).expect("an archive");
    buildx_with(host, &["build", "-t", "built", "-"], &archive).expect("it was there").ok();
    clean(host, &["built"]);
}

pub(crate) fn a_result_is_an_image_or_files_of_the_client(host: &mut Host, isolation: Isolation) {
    let dir = context(host, &format!("buildx out {isolation}"), &[("a.txt", "a")]);
    let (out, tar) = (dir.join("out"), dir.join("out.tar"));
    let text = "FROM BASE AS made\nRUN mkdir -p /d/e && echo e > /d/e/f && ln /d/e/f /d/g && ln -s g /d/h && touch /d.x\n\
                RUN chmod 4750 /d/g && echo warned >&2\n\
                FROM scratch\nCOPY --from=made /d /d\nCOPY --from=made /d.x /\n";
    let local = format!("type=local,dest={}", out.display());
    let Some(ran) = build(host, isolation, &dir, text, &["--output", &local]) else { return };
    assert!(ran.code == 0 && ran.err.contains("warned"), "{ran}");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("a file");
    assert_eq!(
        (read("d/e/f"), read("d/g"), read("d.x")),
        ("e\n".to_owned(), "e\n".to_owned(), String::new())
    );
    assert_eq!(fs::read_link(out.join("d/h")).expect("a link"), Path::new("g"));
    let mode = fs::metadata(out.join("d/g")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o4750);
    let archive = format!("type=tar,dest={}", tar.display());
    build(host, isolation, &dir, text, &["--output", &archive]).expect("it was there").ok();
    let listed = host.engine.on_host("tar", &["-tf", &tar.display().to_string()]).ok();
    assert!(listed.contains("d/e/f") && listed.contains("d.x"), "{listed}");
    // An image has its names, and says who it is.
    let (told, id) = (dir.join("told.json"), dir.join("id"));
    let (told_at, id_at) = (told.display().to_string(), id.display().to_string());
    let arguments =
        ["-t", "built:two", "--label", "l=m", "--metadata-file", &told_at, "--iidfile", &id_at];
    build(host, isolation, &dir, text, &arguments).expect("it was there").ok();
    let id = fs::read_to_string(id).expect("an id");
    assert_eq!(host.engine.inspect("built:two")["Id"], id.as_str());
    assert_eq!(host.engine.inspect("built")["Config"]["Labels"]["l"], "m");
    assert!(fs::read_to_string(told).expect("JSON").contains(&id));
    let pushed = "127.0.0.1:5000/pushed:1";
    let at = dir.display().to_string();
    buildx(host, &["build", "--push", "-t", pushed, &at]).expect("it was there").ok();
    host.docker(&["rmi", pushed]).ok();
    host.docker(&["pull", "-q", pushed]).ok();
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
    clean(host, &["built", "built:two", pushed]);
}

pub(crate) fn rights_are_given_by_the_client_alone(host: &mut Host, isolation: Isolation) {
    let dir = context(host, &format!("buildx rights {isolation}"), &[]);
    let insecure = "FROM BASE\nRUN mkdir /m\nRUN --security=insecure mount -t tmpfs none /m\n";
    let Some(refused) = build(host, isolation, &dir, insecure, &[]) else { return };
    assert!(refused.code != 0 && refused.err.contains("not allowed"), "{refused}");
    let allowed = build(host, isolation, &dir, insecure, &["--allow", "security.insecure"]);
    allowed.expect("it was there").ok();
    if isolation == Isolation::Process {
        let network = "FROM BASE\nRUN --network=host ip link show hull0\n";
        let refused = build(host, isolation, &dir, network, &[]).expect("it was there");
        assert!(refused.code != 0 && refused.err.contains("--network=host"), "{refused}");
        let words = ["--network", "host", "--allow", "network.host"];
        build(host, isolation, &dir, network, &words).expect("it was there").ok();
    }
    clean(host, &["built"]);
}

pub(crate) fn a_policy_says_what_a_build_may_be_made_of(host: &mut Host) {
    let server = Server::start(host);
    server.put("file.txt", "file");
    let dir = context(host, "buildx policy", &[]);
    let rules = format!(
        "package docker\ndefault allow := false\nallow if input.local\nallow if input.http.url == \"{AT}/file.txt\"\n\
         allow if endswith(input.image.ref, \"busybox:latest\")\n\
         decision := {{\"allow\": allow}}\n"
    );
    fs::write(dir.join("Dockerfile.rego"), rules).expect("a file");
    let by = |text: &str| build(host, Isolation::Process, &dir, text, &[]);
    let Some(ran) = by(&format!("FROM BASE\nADD {AT}/file.txt /\n")) else { return };
    assert_eq!(ran.code, 0, "{ran}");
    for text in [
        "FROM BASE:denied\n".to_owned(),
        "FROM BASE\nCOPY --from=BASE:denied /bin/busybox /\n".to_owned(),
        format!("FROM BASE\nADD {AT}/other.txt /\n"),
        format!("FROM BASE\nADD {AT}/app.git /\n"),
    ] {
        let ran = by(&text).expect("it was there");
        assert!(ran.code != 0 && ran.err.contains("not allowed by policy"), "{text}: {ran}");
    }
    clean(host, &["built"]);
}

pub(crate) fn warnings_are_told(host: &mut Host) {
    let dir = context(host, "buildx warnings", &[]);
    let text = "FROM BASE\nRUN true && \\\n\n true\n";
    let Some(ran) = build(host, Isolation::Process, &dir, text, &[]) else { return };
    // The client prints each warning where it comes, and at the end.
    assert_eq!((ran.code, ran.err.matches("NoEmptyContinuation").count()), (0, 2), "{ran}");
    let text = "from BASE\nRUN true\nRUN true\nMAINTAINER me\n";
    let Some(ran) = build(host, Isolation::Process, &dir, text, &[]) else { return };
    let told = ["2 warnings found", "ConsistentInstructionCasing", "MaintainerDeprecated"];
    assert!(ran.code == 0 && told.iter().all(|told| ran.err.contains(told)), "{ran}");
    let check = |text: &str| {
        build(host, Isolation::Process, &dir, text, &["--check"]).expect("it was there")
    };
    let checked = check(text);
    let words = [
        "2 warnings have been found",
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "MAINTAINER me",
    ];
    assert!(checked.code == 1 && words.iter().all(|word| checked.out.contains(word)), "{checked}");
    let fine = check("FROM BASE\n");
    assert!(fine.code == 0 && fine.out.contains("no warnings found"), "{fine}");
    let text = "# check=error=true\nfrom BASE\nRUN true\nRUN true\n";
    let judged = build(host, Isolation::Process, &dir, text, &[]).expect("it was there");
    assert!(judged.code != 0 && judged.err.contains("lint violation found"), "{judged}");
    clean(host, &["built"]);
}

pub(crate) fn several_are_built_of_one_file(host: &mut Host) {
    let dir = context(host, "buildx bake", &[("a.txt", "a")]);
    let at = dir.display().to_string();
    let text = format!("FROM {IMAGE}\nARG X=1\nCOPY a.txt /\nRUN echo $X > /x\n");
    fs::write(dir.join("Dockerfile"), text).expect("a file");
    let bake = format!(
        "group \"default\" {{\n targets = [\"one\", \"two\"]\n}}\n\
         target \"one\" {{\n context = \"{at}\"\n tags = [\"baked:one\"]\n}}\n\
         target \"two\" {{\n context = \"{at}\"\n tags = [\"baked:two\"]\n args = {{\n  X = \"2\"\n }}\n}}\n"
    );
    fs::write(dir.join("bake.hcl"), bake).expect("a file");
    let file = dir.join("bake.hcl").display().to_string();
    let Some(ran) = buildx(host, &["bake", "--allow", "fs.read=*", "-f", &file]) else { return };
    ran.ok();
    for (name, want) in [("baked:one", "1"), ("baked:two", "2")] {
        assert_eq!(host.docker(&["run", "--rm", name, "cat", "/x"]).ok().trim(), want);
    }
    let used = buildx(host, &["du"]).expect("it was there").ok();
    assert!(used.contains("Reclaimable:"), "{used}");
    let pruned = buildx(host, &["prune", "-f", "-a"]).expect("it was there").ok();
    assert!(pruned.contains("Total:"), "{pruned}");
    let listed = buildx(host, &["ls"]).expect("it was there").ok();
    assert!(listed.contains("linux/amd64"), "{listed}");
    clean(host, &["baked:one", "baked:two"]);
}

pub(crate) fn a_build_that_nobody_waits_for_ends(host: &mut Host, isolation: Isolation) {
    let dir = context(host, &format!("buildx left {isolation}"), &[]);
    let wall = format!("--build-arg=HULL_ISOLATION={isolation}");
    let words = prepare(&dir, "FROM BASE\nRUN sleep 1000\n", &[]);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let Some(client) = client(host, &["buildx", "build", &wall, &words[0]]) else { return };
        let running = Running::start(client);
        eventually("the command runs", || !host.docker(&["ps", "-q"]).ok().is_empty());
        let pid = i32::try_from(running.pid()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        // Its plugin is a process of its own, which a terminal's group would hear too.
        for plugin in children(running.pid()) {
            let plugin = i32::try_from(plugin).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(plugin.expect("not 0"), signal).expect("the plugin");
        }
        let _ = rustix::process::kill_process(pid, signal);
        running.wait();
        eventually("its container goes", || host.docker(&["ps", "-aq"]).ok().is_empty());
    }
    clean(host, &[]);
}

/// The processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let stat = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match tasks {
        Ok(children) => children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => fs::read_dir("/proc")
            .expect("proc is mounted")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|child| {
                let parent = stat(child)
                    .rsplit(')')
                    .next()
                    .and_then(|rest| rest.split(' ').nth(2)?.parse().ok());
                parent == Some(pid)
            })
            .collect(),
    }
}

pub(crate) fn whoever_misuses_the_api_is_told_so(host: &mut Host) {
    let upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n";
    let ask = |path: &str, headers: &str| {
        let mut socket = host.engine.ask("POST", path, headers, "");
        let mut head = [0; 512];
        let length = socket.read(&mut head).expect("an answer");
        (socket, String::from_utf8_lossy(&head[..length]).into_owned())
    };
    let close = "Connection: close\r\n";
    assert!(ask("/grpc", close).1.contains("Upgrade: h2c"));
    assert!(ask("/session", close).1.contains("X-Docker-Expose-Session-Uuid"));
    let named = "X-Docker-Expose-Session-Uuid: mine\r\n";
    let (first, head) = ask("/session", &format!("{named}{upgrade}"));
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let (_, second) = ask("/session", &format!("{named}{upgrade}"));
    assert!(second.starts_with("HTTP/1.1 409"), "{second}");
    drop(first);
    eventually("the name is free again", || {
        ask("/session", &format!("{named}{upgrade}")).1.starts_with("HTTP/1.1 101")
    });
    // What is no HTTP/2 ends the connection, and nothing else.
    let (mut socket, head) = ask("/grpc", upgrade);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    socket.write_all(&[0xff; 4096]).expect("written");
    let _ = socket.read_to_end(&mut Vec::new());
    host.docker(&["version"]).ok();
}
