use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use futures_util::TryStreamExt;

use super::*;

fn build(words: &[&str]) -> Build {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        build: Build,
    }
    let line = ["build"].iter().chain(words);
    <Line as clap::Parser>::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).build
}

/// The files of the archive that a context comes to, with their content; of a link, where it leads.
async fn archived(
    directory: &Path,
    file: Option<&str>,
) -> Result<(String, BTreeMap<String, String>), Error> {
    let named = directory.to_str().expect("a plain name");
    let context = Context::open(named, Dockerfile::find(file, named)?).await?;
    let dockerfile = context.dockerfile().to_owned();
    let sending = context.stream();
    let bytes: Vec<bytes::Bytes> =
        sending.archive.try_collect().await.map_err(Error::file("pack"))?;
    let bytes = bytes.concat();
    assert_eq!(sending.sent.load(std::sync::atomic::Ordering::Relaxed), bytes.len() as u64);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let header = entry.header();
        assert_eq!(
            (header.uid().expect("a user"), header.gid().expect("a group")),
            (0, 0),
            "{path}"
        );
        let link = entry.link_name().expect("a link").map(|to| format!("-> {}", to.display()));
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        assert_eq!(files.insert(path.clone(), link.unwrap_or(text)), None, "{path} comes once");
    }
    Ok((dockerfile, files))
}

fn names(files: &BTreeMap<String, String>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
}

#[tokio::test]
async fn a_context_is_sent_without_what_is_ignored() {
    let root = tempfile::tempdir().expect("a directory");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    write(
        root.path(),
        &[
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "Dockerfile\n.dockerignore\n*.log\nout\n!out/keep\nempty/*"),
            ("a.log", ""),
            ("src/a", "A"),
            ("out/keep", "K"),
            ("out/rest", ""),
            ("empty/x", ""),
            (&long, "L"),
        ],
    );
    symlink("/etc/passwd", root.path().join("link")).expect("a link");
    let (dockerfile, files) = archived(root.path(), None).await.expect("packed");
    assert_eq!(dockerfile, "Dockerfile");
    let directory = format!("{}/", "d".repeat(120));
    let want = [
        ".dockerignore",
        "Dockerfile",
        &directory,
        &long,
        "empty/",
        "link",
        "out/",
        "out/keep",
        "src/",
        "src/a",
    ];
    let plain = |name: &str| name.trim_end_matches('/').to_owned();
    let got: Vec<String> = names(&files).into_iter().map(plain).collect();
    assert_eq!(got, want.map(plain));
    assert_eq!(files.get("link").map(String::as_str), Some("-> /etc/passwd"));
    assert_eq!(files.get("src/a").map(String::as_str), Some("A"));
}

#[tokio::test]
async fn a_dockerfile_may_be_anywhere() {
    let root = tempfile::tempdir().expect("a directory");
    let other = tempfile::tempdir().expect("a directory");
    write(
        root.path(),
        &[("sub/My.Dockerfile", "FROM a"), ("a", "A"), (".hull.dockerfile", "mine")],
    );
    write(other.path(), &[("Dockerfile", "FROM b")]);
    let at = |path: &Path, name: &str| path.join(name).to_str().expect("a plain name").to_owned();

    let within = at(root.path(), "sub/My.Dockerfile");
    let (dockerfile, files) = archived(root.path(), Some(&within)).await.expect("packed");
    assert_eq!(dockerfile, "sub/My.Dockerfile");
    assert!(!files.contains_key(".dockerignore"));

    let apart = at(other.path(), "Dockerfile");
    let (dockerfile, files) = archived(root.path(), Some(&apart)).await.expect("packed");
    assert_eq!(dockerfile, ".hull.dockerfile.1");
    assert_eq!(files.get(&dockerfile).map(String::as_str), Some("FROM b"));
    // Neither it nor the rules are files of the context.
    let rules = files.get(".hull.dockerfile.1.dockerignore").map(String::as_str);
    assert_eq!(rules, Some("\n.hull.dockerfile.1\n.hull.dockerfile.1.dockerignore\n"));
    assert!(!files.contains_key(".dockerignore"));
    assert_eq!(files.get(".hull.dockerfile").map(String::as_str), Some("mine"));

    // A Dockerfile's own rules go before the context's.
    write(
        root.path(),
        &[(".dockerignore", "b"), ("b", ""), ("sub/My.Dockerfile.dockerignore", "a\nsub")],
    );
    let (_, files) = archived(root.path(), Some(&within)).await.expect("packed");
    assert!(files.contains_key("b") && !files.contains_key("a"), "{files:?}");
    assert!(files.contains_key("sub/My.Dockerfile.dockerignore"), "{files:?}");
    write(other.path(), &[("Dockerfile.dockerignore", "a")]);
    let (dockerfile, files) = archived(root.path(), Some(&apart)).await.expect("packed");
    assert!(files.contains_key("b") && !files.contains_key("a"), "{files:?}");
    let rules = files.get(&format!("{dockerfile}.dockerignore")).map(String::as_str);
    assert_eq!(rules, Some("a\n.hull.dockerfile.1\n.hull.dockerfile.1.dockerignore\n"));

    let missing = archived(root.path(), None).await.expect_err("no Dockerfile");
    let text = spec::chain(&missing);
    assert!(
        text.starts_with(
            "unable to prepare context: unable to evaluate symlinks in Dockerfile path: "
        ),
        "{text}"
    );
    let nowhere = archived(Path::new("/nowhere"), Some(&apart)).await.expect_err("no context");
    assert!(spec::chain(&nowhere).starts_with("unable to prepare context: "));
}

#[tokio::test]
async fn a_dockerfile_is_judged_before_anything_is_sent() {
    let root = tempfile::tempdir().expect("a directory");
    let named = root.path().to_str().expect("a plain name");
    let judged = async |text: &str| {
        write(root.path(), &[("Dockerfile", text)]);
        let context = Context::open(named, Dockerfile::find(None, named)?).await?;
        let checked = dockerfile::check(&context)?;
        checked.judge().map(|()| checked.report())
    };
    assert_eq!(judged("FROM scratch\n").await.ok(), Some(0));
    assert_eq!(judged("FROM scratch as a\n").await.ok(), Some(1));
    let error = judged("# check=error=true\nFROM scratch as a\n").await.expect_err("a warning");
    assert_eq!(error.to_string(), "lint violation found for rules: FromAsCasing");
    let error = judged("FROM scratch\nRUM x\n").await.expect_err("no Dockerfile");
    assert_eq!(
        error.to_string(),
        "Dockerfile:2:1\n   2 | >>> RUM x\n\
         dockerfile parse error on line 2: unknown instruction: RUM (did you mean RUN?)"
    );
}

#[test]
fn what_is_asked_for_is_sent_as_the_page_has_it() {
    let given = build(&[
        "-t",
        "a",
        "-t",
        "b:1",
        "--build-arg",
        "A=1=2",
        "--build-arg",
        "HULL_TEST_UNSET",
        "--label",
        "l=v",
        "--no-cache",
        "--pull",
        "--target",
        "t",
        "--network",
        "none",
        "--add-host",
        "h:1.2.3.4",
        "--memory",
        "1m",
        "--cpus",
        "1.5",
        "--shm-size",
        "2k",
        "--ulimit",
        "nofile=5:6",
        "--cache-from",
        "c,d",
        "--isolation",
        "hyperv",
        "--platform",
        "linux/amd64",
        "--rm=false",
        "-q",
        ".",
    ]);
    let query = given.query("D").expect("legal");
    let want = [
        ("version", "1"),
        ("dockerfile", "D"),
        ("t", "a"),
        ("t", "b:1"),
        ("extrahosts", "h:1.2.3.4"),
        ("q", "1"),
        ("nocache", "1"),
        ("pull", "1"),
        ("rm", "0"),
        ("target", "t"),
        ("platform", "linux/amd64"),
        ("isolation", "hyperv"),
        ("networkmode", "none"),
        ("memory", "1048576"),
        ("shmsize", "2048"),
        ("cpuperiod", "100000"),
        ("cpuquota", "150000"),
        ("buildargs", r#"{"A":"1=2","HULL_TEST_UNSET":null}"#),
        ("labels", r#"{"l":"v"}"#),
        ("cachefrom", r#"["c","d"]"#),
        ("ulimits", r#"[{"Hard":6,"Name":"nofile","Soft":5}]"#),
    ];
    assert_eq!(as_str(&query), want);
    let plain = build(&["."]).query("Dockerfile").expect("legal");
    assert_eq!(as_str(&plain), [("version", "1"), ("dockerfile", "Dockerfile"), ("rm", "1")]);
    assert!(build(&["--cpus", "1", "--cpu-quota", "5", "."]).query("D").is_err());
}

#[test]
fn the_metadata_are_those_of_buildx() {
    let image = json!({ "Descriptor": { "digest": "sha256:1", "size": 5 } });
    let told = metadata(&["a".to_owned(), "r:5000/b:1".to_owned()], "sha256:0", &image);
    assert_eq!(
        told,
        json!({
            "containerimage.config.digest": "sha256:0",
            "containerimage.descriptor": { "digest": "sha256:1", "size": 5 },
            "containerimage.digest": "sha256:1",
            "image.name": "docker.io/library/a:latest,r:5000/b:1",
        })
    );
}

#[test]
fn steps_are_taken_from_images_by_name_or_as_buildx_says_it() {
    let given = ["a", "b,c:1", "type=registry,ref=host:5000/d"].map(str::to_owned);
    assert_eq!(cache_from(&given).expect("images"), ["a", "b", "c:1", "host:5000/d"]);
    for text in ["type=local,src=dir", "type=registry", "type=gha"] {
        assert!(cache_from(&[text.to_owned()]).is_err(), "{text}");
    }
}
