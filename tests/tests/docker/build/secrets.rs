//! Secrets and ssh agents of `hull build`: in the command, and nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use spec::Isolation;
use tests::Host;
use tests::command::{eventually, run};
use tests::host::IMAGE;
use tests::programs::program;

use crate::hull::typed;

/// What must be nowhere. The Dockerfiles know digests of it alone.
const TOKEN: &str = "token-4f1c9a-never-kept";
const VARIABLE: &str = "variable-83be02-never-kept";

/// The files beneath `dir` that hold any of the secrets; with `-z` holes of disks are no endless lines.
fn holds(dir: &Path) -> Vec<String> {
    let pattern = format!("{TOKEN}|{VARIABLE}");
    let dir = dir.to_string_lossy();
    let words = ["-rlazE", "--devices=skip", &pattern, &dir];
    let ran = Command::new("grep").args(words).output().expect("grep");
    String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect()
}

fn digest(host: &Host, text: &str) -> String {
    let script = format!("printf %s {text} | sha256sum | cut -d' ' -f1");
    host.engine.on_host("sh", &["-c", &script]).ok()
}

pub(crate) fn a_secret_is_seen_by_its_command_and_is_nowhere_else(
    host: &mut Host,
    isolation: Isolation,
) {
    let dir = host.dir().join("with-secrets");
    fs::create_dir_all(dir.join("context")).expect("a directory");
    fs::write(dir.join("token"), TOKEN).expect("a file");
    let (token, variable) = (digest(host, TOKEN), digest(host, VARIABLE));
    let dockerfile = format!(
        "FROM {IMAGE}\n\
         RUN --mount=type=secret,id=token,uid=5,mode=0440 --mount=type=secret,id=variable,env=HELD \
         --mount=type=secret,id=none,target=/none \
         test \"$(sha256sum < /run/secrets/token | cut -d' ' -f1)\" = {token} \
         && test \"$(stat -c %u:%a /run/secrets/token)\" = 5:440 \
         && test \"$(printf %s \"$HELD\" | sha256sum | cut -d' ' -f1)\" = {variable} \
         && test ! -e /none && ! (echo x > /run/secrets/token) 2>/dev/null && sleep 1\n\
         RUN test ! -e /run/secrets && test -z \"$HELD\"\n"
    );
    fs::write(dir.join("context/Dockerfile"), dockerfile).expect("a file");
    fs::write(dir.join("variable"), VARIABLE).expect("a file");
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let wall = format!("--isolation={isolation}");
    let (one, two) =
        (format!("id=token,src={}", at("token")), format!("id=variable,src={}", at("variable")));
    let words =
        ["build", "-t", "secretive", &wall, "--secret", &one, "--secret", &two, &at("context")];
    typed(host, &words, b"").ok();
    assert_eq!(holds(&dir).len(), 2, "the client's own are found");
    assert_eq!(holds(host.engine.data_root()), [""; 0], "on disk");
    assert_eq!(holds(host.engine.exec_root()), [""; 0], "in the state");
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.lines().any(|line| line.starts_with("build ")), "{mounts}");
    host.docker(&["rmi", "secretive"]).ok();

    // Who cannot be asked has none.
    fs::write(
        dir.join("context/Dockerfile"),
        format!("FROM {IMAGE}\nRUN --mount=type=secret,id=s,required=true true\n"),
    )
    .expect("a file");
    let ran = host.docker(&["build", &wall, &at("context")]);
    assert!(ran.code != 0 && ran.err.contains("secret s: not found"), "{ran}");
    host.docker(&["image", "prune", "-f"]).ok();
}

pub(crate) fn an_agent_is_refused_where_there_is_none(host: &mut Host) {
    let dir = host.dir().join("with-agent");
    fs::create_dir_all(&dir).expect("a directory");
    let text = format!("FROM {IMAGE}\nRUN --mount=type=ssh,required=true test -S $SSH_AUTH_SOCK\n");
    fs::write(dir.join("Dockerfile"), text).expect("a file");
    let ran = typed(host, &["build", &dir.to_string_lossy()], b"");
    assert!(ran.err.contains("no SSH key \"default\" forwarded from the client"), "{ran}");
    host.docker(&["image", "prune", "-f"]).ok();
}

/// An `ssh-agent` with one key. It ends when this is dropped.
pub(super) struct Agent {
    child: Child,
    pub(super) socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// With a new key, of which `dir/key.pub` is the public half.
    pub(super) fn start(dir: &Path) -> Self {
        let (socket, key) = (dir.join("agent"), dir.join("key"));
        let mut command = Command::new("ssh-agent");
        let child = command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let child = child.expect("ssh-agent: apt-get install openssh-client");
        let agent = Self { child, socket };
        let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
        let made = Command::new("ssh-keygen").args(words).arg(&key).status();
        assert!(made.expect("ssh-keygen").success());
        eventually("the agent listens", || agent.socket.exists());
        assert_eq!(agent.add(&["-q", &key.to_string_lossy()]).0, 0);
        agent
    }

    /// `ssh-add`: its status, and what it prints.
    pub(super) fn add(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new("ssh-add");
        let ran = command.args(words).env("SSH_AUTH_SOCK", &self.socket).output();
        let ran = ran.expect("ssh-add");
        let told = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        (ran.status.code().unwrap_or(-1), told)
    }
}

/// Copies the host's `ssh-add` and its libraries, at their places beneath `dir`.
pub(super) fn copy_client(dir: &Path) {
    let program = "/usr/bin/ssh-add";
    let needs = Command::new("ldd").arg(program).output().expect("ldd");
    let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
    let paths = needs.split_whitespace().filter(|word| word.starts_with('/'));
    for path in paths.chain([program]) {
        let copy = dir.join(path.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().expect("a directory above")).expect("a directory");
        fs::copy(path, copy).expect("a copy");
    }
}

pub(crate) fn a_command_signs_by_the_clients_agent(host: &mut Host, isolation: Isolation) {
    let dir = host.dir().join(format!("by-agent-{isolation}"));
    let context = dir.join("context");
    copy_client(&context.join("root"));
    let agent = Agent::start(&dir);
    fs::copy(dir.join("key.pub"), context.join("root/key.pub")).expect("a copy");
    let (_, keys) = agent.add(&["-l"]);
    let print = keys.split(' ').nth(1).expect("a fingerprint").to_owned();
    let text = format!(
        "FROM {IMAGE}\nCOPY root /\n\
         RUN --mount=type=ssh,required=true ssh-add -l | grep -qF {print} \
         && ssh-add -T /key.pub && ! ssh-add -D\n\
         RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit && ! ssh-add -l\n"
    );
    fs::write(context.join("Dockerfile"), text).expect("a file");
    let (wall, context) = (format!("--isolation={isolation}"), context.to_string_lossy());
    let socket = format!("default={}", agent.socket.display());
    let name = format!("by-agent-{isolation}");
    typed(host, &["build", "-t", &name, &wall, "--ssh", &socket, &context], b"").ok();
    assert_eq!(agent.add(&["-l"]), (0, keys), "no command takes the key away");
    host.docker(&["rmi", &name]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

/// Stands in for ssh, and for the server behind it: that is `git@known`, and wants the key of the agent.
const SSH: &str = r#"#!/bin/sh
case "$*" in
*"-F /dev/null"*" IdentityFile=none"*" StrictHostKeyChecking=yes"*" git@known "*) ;;
*) echo "Host key verification failed." >&2; exit 255 ;;
esac
ssh-add -l | grep -qF "PRINT" || { echo "Permission denied (publickey)." >&2; exit 255; }
for last; do :; done
exec sh -c "$last"
"#;
/// Programs that the engine, git and the stand-in call.
const TOOLS: [&str; 13] = [
    "qemu-system-x86_64",
    "nft",
    "mkfs.erofs",
    "mkfs.ext4",
    "git",
    "git-upload-pack",
    "sh",
    "ssh-add",
    "grep",
    "sed",
    "basename",
    "uname",
    "cat",
];

pub(crate) fn a_repository_is_added_by_the_clients_agent(host: &mut Host) {
    let dir = host.dir().join("added-by-agent");
    fs::create_dir_all(dir.join("context")).expect("a directory");
    let agent = Agent::start(&dir);
    let (_, keys) = agent.add(&["-l"]);
    let print = keys.split(' ').nth(1).expect("a fingerprint").to_owned();
    let script = format!(
        "set -e; cd {}; git init -q -b main app.git; cd app.git; echo by ssh > file; git add .; \
         git -c user.name=n -c user.email=e@example.org commit -q -m one",
        dir.display()
    );
    host.engine.on_host("sh", &["-c", &script]).ok();
    let engine = host.another_engine_with_only(&TOOLS);
    let ssh = engine.data_root().join("path/ssh");
    fs::write(&ssh, SSH.replace("PRINT", &print)).expect("a file");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("set");

    let (out, context) = (dir.join("out"), dir.join("context"));
    let (lend, local) = (
        format!("--ssh=default={}", agent.socket.display()),
        format!("--output=type=local,dest={}", out.display()),
    );
    let build = |server: &str, more: &[&str]| {
        let text = format!("FROM scratch\nADD git@{server}:{}/app.git /added/\n", dir.display());
        fs::write(context.join("Dockerfile"), text).expect("a file");
        let context = context.to_string_lossy();
        let words = [&["build"], more, &[&*context]].concat();
        run(engine.other_client(&program("hull").to_string_lossy(), &words), b"")
    };
    build("known", &[&lend, &local]).ok();
    assert_eq!(fs::read_to_string(out.join("added/file")).expect("a file"), "by ssh\n");
    assert!(!out.join("added/.git").exists());
    for (server, more, want) in [
        ("known", &[][..], "the engine has no keys for ssh: lend it an agent"),
        ("unknown", &[&*lend], "add its key to /etc/ssh/ssh_known_hosts of the engine's host"),
    ] {
        let ran = build(server, more);
        assert!(ran.code == 1 && ran.err.contains(want), "{want}: {ran}");
    }
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.lines().any(|line| line.starts_with("build ")), "{mounts}");
    assert_eq!(agent.add(&["-D"]).0, 0);
    let ran = build("known", &["--no-cache", &lend]);
    assert!(ran.code == 1 && ran.err.contains("Permission denied (publickey)"), "{ran}");
}
