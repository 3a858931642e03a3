//! Secrets and ssh agents of `hull build`: in the command, and nowhere else.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use crate::hull::typed;

/// What must be nowhere. The Dockerfiles know digests of it alone.
const TOKEN: &str = "token-4f1c9a-never-kept";
const VARIABLE: &str = "variable-83be02-never-kept";

/// Whether a file beneath `dir` holds any of the secrets.
fn holds(dir: &Path) -> Vec<String> {
    let pattern = format!("{TOKEN}|{VARIABLE}");
    let dir = dir.to_string_lossy();
    let words = ["-rlaE", "--devices=skip", &pattern, &dir];
    let ran = std::process::Command::new("grep").args(words).output().expect("grep");
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
    let context = dir.to_string_lossy();
    let ran = typed(host, &["build", &context], b"");
    assert!(ran.err.contains("no SSH key \"default\" forwarded from the client"), "{ran}");
    let socket = dir.join("agent");
    let _agent = UnixListener::bind(&socket).expect("a socket");
    let agent = format!("default={}", socket.display());
    typed(host, &["build", "--no-cache", "-t", "agent", "--ssh", &agent, &context], b"").ok();
    host.docker(&["rmi", "agent"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}
