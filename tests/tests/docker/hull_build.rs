//! `hull build`: from a directory to an image, to files, and to an error with its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use spec::Isolation;
use tests::Host;
use tests::command::{Ran, eventually};
use tests::host::IMAGE;

use crate::hull::{on_terminal, typed};
use crate::openings::everything;

/// A context of its own with this Dockerfile, `IMAGE` in it replaced.
fn context(host: &Host, name: &str, dockerfile: &str) -> PathBuf {
    let dir = host.dir().join(name);
    fs::create_dir_all(dir.join("files")).expect("a directory");
    fs::write(dir.join("Dockerfile"), dockerfile.replace("IMAGE", IMAGE)).expect("a file");
    fs::write(dir.join("files/kept"), "kept\n").expect("a file");
    fs::write(dir.join("files/left.log"), "left\n").expect("a file");
    fs::write(dir.join(".dockerignore"), "**/*.log\n").expect("a file");
    dir
}

fn build(host: &Host, more: &[&str], context: &Path) -> Ran {
    let context = context.to_string_lossy();
    typed(host, &[&["build"], more, &[&*context]].concat(), b"")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn a_directory_becomes_an_image(host: &mut Host, isolation: Isolation) {
    let wall = format!("--isolation={isolation}");
    let name = format!("by-verb-{isolation}");
    let dir = context(
        host,
        &name,
        "FROM IMAGE\nARG WHO=nobody\nCOPY files /files\nRUN echo \"made for $WHO\" > /made\n\
         CMD [\"cat\", \"/made\", \"/files/kept\"]\n",
    );
    let id_file = host.dir().join(format!("{name}.id"));
    let metadata = host.dir().join(format!("{name}.json"));
    let id_path = format!("--iidfile={}", id_file.display());
    let metadata_path = format!("--metadata-file={}", metadata.display());
    let words =
        ["-t", &name, &wall, "--build-arg", "WHO=us", "--label", "l=v", &id_path, &metadata_path];
    let told = build(host, &words, &dir).ok();
    // A label of the command line is a step, as docker has it.
    assert!(told.contains("Step 4/6 : RUN echo"), "{told}");
    assert!(told.contains(&format!("Successfully tagged {name}:latest")), "{told}");
    let ran = typed(host, &["run", "--rm", &wall, &name], b"").ok();
    assert_eq!(ran, "made for us\nkept");
    assert_eq!(typed(host, &["run", "--rm", &wall, &name, "ls", "/files"], b"").ok(), "kept");

    let id = read(&id_file);
    assert!(id.starts_with("sha256:") && !id.ends_with('\n'), "{id}");
    let inspected = host.engine.inspect(&name);
    assert_eq!(
        (inspected["Id"].as_str(), &inspected["Config"]["Labels"]["l"]),
        (Some(&*id), &Value::from("v"))
    );
    let metadata: Value = serde_json::from_str(&read(&metadata)).expect("JSON");
    assert_eq!(metadata["image.name"], format!("docker.io/library/{name}:latest"));

    // The same again takes no step, and says no more than the id.
    assert_eq!(
        build(host, &["-q", &wall, "--build-arg", "WHO=us", "--label", "l=v"], &dir).ok(),
        id
    );
    let told =
        build(host, &[&wall, "--build-arg", "WHO=us", "--label", "l=v", "--progress=plain"], &dir)
            .ok();
    assert!(told.contains("---> Using cache"), "{told}");
    host.docker(&["rmi", &name]).ok();
}

pub(crate) fn a_failing_command_gives_its_status_and_its_output(
    host: &mut Host,
    isolation: Isolation,
) {
    let wall = format!("--isolation={isolation}");
    let dir = context(host, &format!("failing-{isolation}"), "FROM IMAGE\nRUN echo why; exit 7\n");
    let plain = build(host, &[&wall], &dir);
    assert_eq!(plain.code, 7, "{plain}");
    assert!(
        plain.out.contains("why") && plain.err.contains("returned a non-zero code: 7"),
        "{plain}"
    );
    let quiet = build(host, &[&wall, "-q"], &dir);
    assert_eq!((quiet.code, quiet.out.as_str()), (7, ""), "{quiet}");
    assert!(quiet.err.contains("why"), "{quiet}");
    let live = on_terminal(host, &["build", &wall, &dir.to_string_lossy()]);
    live.screen.expect("ERROR");
    live.screen.expect(" > [2/2] RUN echo why; exit 7:\r\nwhy");
    live.screen.expect("returned a non-zero code: 7");
    assert_eq!(live.wait(), 7);
}

pub(crate) fn a_live_view_shows_steps_and_what_was_cached(host: &mut Host) {
    let dir = context(host, "live", "FROM IMAGE\nRUN echo first; sleep 1; printf '\\033[31mred'\n");
    let words = ["build", "-t", "live", &*dir.to_string_lossy()];
    let first = on_terminal(host, &words);
    first.screen.expect("[1/2] FROM");
    first.screen.expect(" => # first");
    let seen = first.screen.expect("named live:latest");
    assert!(!seen.contains("\u{1b}[31mred"), "{seen:?}");
    assert_eq!(first.wait(), 0);
    let again = on_terminal(host, &words);
    again.screen.expect("CACHED");
    again.screen.expect("named live:latest");
    assert_eq!(again.wait(), 0);
    host.docker(&["rmi", "live"]).ok();
}

pub(crate) fn a_result_may_be_an_archive_or_a_directory(host: &mut Host) {
    let dir = context(host, "outputs", "FROM scratch\nCOPY files /files\nCMD [\"/none\"]\n");
    let at = |name: &str| host.dir().join(name);
    let output = |kind: &str, name: &str| format!("type={kind},dest={}", at(name).display());
    let local = output("local", "out-local");
    build(
        host,
        &["-o", &local, "-o", &output("tar", "out.tar"), "-o", &output("oci", "out-oci.tar")],
        &dir,
    )
    .ok();
    assert_eq!(read(&at("out-local/files/kept")), "kept\n");
    assert!(!at("out-local/files/left.log").exists());
    let listed = |name: &str| {
        let mut archive = tar::Archive::new(fs::File::open(at(name)).expect("an archive"));
        let entries = archive.entries().expect("entries").map(|entry| {
            entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned()
        });
        entries.collect::<Vec<_>>()
    };
    assert!(listed("out.tar").iter().any(|path| path.ends_with("files/kept")));
    assert!(listed("out-oci.tar").iter().any(|path| path == "oci-layout"));
    build(host, &["-o", &format!("type=oci,tar=false,dest={}", at("out-layout").display())], &dir)
        .ok();
    assert!(read(&at("out-layout/index.json")).contains("manifest"));
    let printed = build(host, &["-o", "-"], &dir);
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(
        printed.out.contains("files/kept") && printed.err.contains("Step 1/3 : FROM scratch"),
        "{}",
        printed.err
    );
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "", "no container stays");
}

pub(crate) fn a_context_may_come_from_standard_input(host: &mut Host) {
    let text = format!("FROM {IMAGE}\nCOPY . /all\nRUN (echo {{}}; ls -A /all) > /from\n");
    let dockerfile = |what: &str| text.replace("{}", what);
    let from = |words: &[&str], input: &[u8]| {
        let built = [&["build", "-q", "-t", "input"], words].concat();
        typed(host, &built, input).ok();
        typed(host, &["run", "--rm", "input", "cat", "/from"], b"").ok()
    };
    assert_eq!(from(&["-"], dockerfile("alone").as_bytes()), "alone\nDockerfile");
    let dir = context(host, "apart", "FROM absent\n");
    let dir = dir.to_string_lossy();
    // The Dockerfile is not of the context.
    let apart = from(&["-f", "-", &dir], dockerfile("apart").as_bytes());
    assert_eq!(apart, "apart\n.dockerignore\nDockerfile\nfiles");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let inside = dockerfile("archive");
    header.set_size(inside.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "sub/file", inside.as_bytes()).expect("written");
    let archive = archive.into_inner().expect("complete");
    assert_eq!(from(&["-f", "sub/file", "-"], &archive), "archive\nsub");
    host.docker(&["rmi", "input"]).ok();
}

pub(crate) fn what_cannot_be_built_is_told_with_its_place(host: &mut Host) {
    let dir = context(host, "wrong", "FROM IMAGE\n\nFRO busybox\n");
    let ran = build(host, &[], &dir);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran}");
    let want = "Dockerfile:3:1\n   3 | >>> FRO busybox\n\
                dockerfile parse error on line 3: unknown instruction: FRO (did you mean FROM?)";
    assert!(ran.err.contains(want), "{ran}");

    let cases: [(&str, &[&str], &str); 9] = [
        (
            "FROM IMAGE\nCOPY ../../etc/passwd /\n",
            &[],
            "Dockerfile:2:1\n   2 | >>> COPY ../../etc/",
        ),
        (
            "FROM IMAGE\n  COPY absent \\\n /\n",
            &[],
            "Dockerfile:2:3\n   2 | >>> COPY absent  /\nCOPY failed",
        ),
        ("FROM IMAGE\nENV A=${x?no}\n", &[], "Dockerfile:2:1\n   2 | >>> ENV A=${x?no}\n"),
        ("FROM IMAGE\nRUN --network=host true\n", &[], "RUN --network=host is not supported"),
        ("FROM IMAGE\n", &["--target", "none"], "none"),
        ("", &[], "the Dockerfile cannot be empty"),
        ("FROM IMAGE\n", &["--secret", "id="], "invalid --secret"),
        ("FROM IMAGE\n", &["-o", "type=registry"], "invalid --output"),
        (
            "# check=error=true\nFROM IMAGE as a\n",
            &[],
            "lint violation found for rules: FromAsCasing",
        ),
    ];
    for (dockerfile, words, want) in cases {
        let ran = build(host, words, &context(host, "wrong", dockerfile));
        assert_eq!(ran.code, 1, "{dockerfile:?}: {ran}");
        assert!(ran.err.contains(want), "{dockerfile:?}: {ran}");
    }
    let absent = build(host, &[], Path::new("/absent"));
    assert!(absent.err.contains("unable to prepare context: "), "{absent}");

    let dir = context(host, "wrong", "FROM IMAGE as a\nCMD true\n");
    let warned = build(host, &["-q"], &dir);
    assert!(warned.code == 0 && warned.err.contains("2 warnings found"), "{warned}");
    let checked = build(host, &["--check"], &dir);
    assert!(checked.code == 1 && checked.out.contains("WARNING: JSONArgsRecommended"), "{checked}");
}

pub(crate) fn a_command_may_do_everything_only_if_that_is_allowed(
    host: &mut Host,
    isolation: Isolation,
) {
    let wall = format!("--isolation={isolation}");
    let held = "grep CapEff /proc/self/status | cut -f2";
    let text = format!(
        "FROM IMAGE\nRUN --security=sandbox mkdir /m && ! mount -t tmpfs x /m && {held} > /held\n\
         RUN --security=insecure mount -t tmpfs x /m && touch /m/in && umount /m && \
         grep -q '^Seccomp:.0' /proc/self/status && {held} >> /held\nRUN {held} >> /held\n"
    );
    let dir = context(host, &format!("insecure-{isolation}"), &text);
    let refusal = "RUN --security=insecure is not allowed";
    let refused = |dir: &Path, line: &str| {
        let ran = build(host, &[&wall], dir);
        assert!(ran.code == 1 && ran.err.contains(&format!("{line}: {refusal}")), "{ran}");
        ran
    };
    let ran = refused(&dir, "line 3");
    assert!(!ran.out.contains("Step 1"), "nothing is begun: {ran}");
    let allow = ["--allow", "security.insecure", &wall];
    build(host, &[&allow[..], &["-t", "insecure"]].concat(), &dir).ok();
    let held = typed(host, &["run", "--rm", &wall, "insecure", "cat", "/held"], b"").ok();
    let held: Vec<&str> = held.lines().collect();
    assert!(everything(held[1]), "{held:?}");
    assert_eq!((held[0], held[2]), ("00000000a80425fb", "00000000a80425fb"));
    assert_eq!(typed(host, &["run", "--rm", &wall, "insecure", "ls", "/m"], b"").ok(), "");
    refused(&dir, "line 3");

    let trigger = context(host, "insecure", "FROM IMAGE\nONBUILD RUN --security=insecure true\n");
    build(host, &["-t", "insecure"], &trigger).ok();
    refused(&context(host, "insecure", "FROM insecure\n"), "line 1");
    let (status, said) = host.engine.post("/build?allow=network.host", &Value::Null);
    assert!(status == 400 && said.contains("want security.insecure"), "{status} {said}");
    host.docker(&["rmi", "-f", "insecure"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

/// A repository with a branch `side`, whose `sub` has a context, and links that lead out of it.
const REPOSITORY: &str = "\
set -e; git init -q -b main . && git config user.name n && git config user.email e@example.org
printf 'FROM scratch\\nCOPY file /\\n' > Dockerfile && echo main > file
ln -s /etc out && ln -s /etc/passwd Dockerfile.out && git add . && git commit -q -m one
git checkout -q -b side && mkdir sub && cp Dockerfile sub/ && echo side > sub/file
git add . && git commit -q -m two && git checkout -q main";

pub(crate) fn a_repository_may_be_the_context(host: &mut Host) {
    let dir = host.dir().join("repository");
    fs::create_dir_all(&dir).expect("a directory");
    let made = host.engine.on_host("sh", &["-c", &format!("cd {}; {REPOSITORY}", dir.display())]);
    assert_eq!(made.code, 0, "{made}");
    let core = host.engine.on_host("git", &["--exec-path"]).ok();
    let mut daemon = Command::new(Path::new(&core).join("git-daemon"));
    daemon.args(["--listen=127.0.0.1", "--port=9418", "--export-all", "--reuseaddr"]);
    let base = format!("--base-path={}", host.dir().display());
    let mut daemon = host.engine.spawn_beside(daemon.arg(base).stderr(Stdio::null()));
    let address = "git://127.0.0.1/repository/.git";
    eventually("the repository is served", || {
        host.engine.on_host("git", &["ls-remote", address]).code == 0
    });
    // The client is on the host's side of the engine's network, where the server is.
    let hull = tests::programs::program("hull");
    let build = |context: &str, more: &str| {
        let socket = host.engine.exec_root().join("hull.sock");
        let line = format!(
            "DOCKER_HOST=unix://{} {} build {more} '{context}'",
            socket.display(),
            hull.display()
        );
        host.engine.on_host("sh", &["-c", &line])
    };
    for (fragment, want) in [("", "main\n"), ("#side:sub", "side\n")] {
        let files = host.dir().join("fetched");
        let _ = fs::remove_dir_all(&files);
        let out = format!("-o type=local,dest={}", files.display());
        let ran = build(&format!("{address}{fragment}"), &out);
        assert_eq!(ran.code, 0, "{ran}");
        assert_eq!(read(&files.join("file")), want);
    }
    for (fragment, more, want) in [
        ("#absent", "", "absent"),
        ("#--upload-pack=x", "", "invalid git reference"),
        ("#main:out", "", "leads out of the repository"),
        ("#main:..", "", "leads out of the repository"),
        ("", "-f Dockerfile.out", "leads out of the repository"),
    ] {
        let ran = build(&format!("{address}{fragment}"), more);
        assert!(ran.code != 0 && ran.err.contains(want), "{want}: {ran}");
    }
    daemon.kill().expect("killed");
    daemon.wait().expect("ended");
}
