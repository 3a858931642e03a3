//! What builds fetch themselves: repositories and files for `ADD`, and contexts by `remote`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::Host;
use tests::command::{Ran, eventually};
use tests::host::IMAGE;

/// A server in the engine's network. It ends when this is dropped.
pub(super) struct Server {
    child: Child,
    root: PathBuf,
}

pub(super) const AT: &str = "http://127.0.0.1:8097";

/// A repository: `main`; `side`, which has a directory `sub`; and `evil`, whose submodule is a program.
pub(super) const REPOSITORY: &str = "\
set -e; umask 077; git init -q -b main work; cd work
git config user.name n; git config user.email e@example.org
echo main > file; echo '#!/bin/sh' > run; chmod 755 run; ln -s /etc out; ln -s file near
git add .; git commit -q -m one
git checkout -q -b side; mkdir sub; echo side > sub/file; git add .; git commit -q -m two
git checkout -q -b evil main
printf '[submodule \"m\"]\\n path = m\\n url = ext::sh -c touch%% planted\\n' > .gitmodules
git add .; git update-index --add --cacheinfo 160000,$(git rev-parse main),m; git commit -q -m evil
git checkout -q main; cd ..; git clone -q --bare work app.git; cd app.git; git config core.bare true; git update-server-info
chmod -R a+rX .";

impl Server {
    pub(super) fn start(host: &Host) -> Self {
        let root = host.dir().join("served");
        fs::create_dir_all(&root).expect("a directory");
        let mut httpd = Command::new("busybox");
        httpd.args(["httpd", "-f", "-p", "127.0.0.1:8097", "-h"]).arg(&root);
        let child = host.engine.spawn_beside(httpd.stderr(Stdio::null()));
        let server = Self { child, root };
        server.put("ready.txt", "yes");
        eventually("the server answers", || {
            let ready = format!("{AT}/ready.txt");
            host.engine.on_host("busybox", &["wget", "-q", "-O", "-", &ready]).code == 0
        });
        server
    }

    pub(super) fn put(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).expect("a file");
    }

    pub(super) fn sh(&self, host: &Host, script: &str) -> Ran {
        let script = format!("cd {}; {script}", self.root.display());
        host.engine.on_host("sh", &["-c", &script])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("ended");
        fs::remove_dir_all(&self.root).expect("removed");
    }
}

fn build(host: &Host, dockerfile: &str) -> Ran {
    let text = dockerfile.replace("BASE", IMAGE).replace("AT/", &format!("{AT}/"));
    host.engine.docker_with(&["build", "--force-rm", "-t", "fetched", "-"], text.as_bytes())
}

pub(crate) fn a_repository_is_added(host: &mut Host) {
    let server = Server::start(host);
    server.sh(host, REPOSITORY).ok();
    let commit = server.sh(host, "git -C work rev-parse side").ok();
    let text = format!(
        "FROM BASE\nADD AT/app.git /main/\nADD --checksum={} --chmod=600 AT/app.git#side:sub /sub\n\
         ADD --keep-git-dir=true --exclude=run AT/app.git#{commit} /kept\n\
         RUN cd /main && test \"$(cat file near)\" = \"$(printf 'main\\nmain')\" && test ! -e .git && \
         test \"$(stat -c %a:%u . file run | tr '\\n' ' ')\" = '755:0 644:0 755:0 ' && \
         test \"$(readlink out)\" = /etc && test \"$(cat /sub/file; stat -c %a /sub/file)\" = \
         \"$(printf 'side\\n600')\" && test -e /kept/.git/HEAD && test ! -e /kept/run && test -e /kept/sub/file\n",
        &commit[..7]
    );
    build(host, &text).ok();
    let again = build(host, &text).ok();
    assert_eq!(again.matches("Using cache").count(), 4, "{again}");
    // The branch has moved on.
    server.sh(host, "cd work && git checkout -q main && echo new > file && git commit -q -a -m new && git push -q ../app.git main && cd ../app.git && git update-server-info && chmod -R a+rX .").ok();
    build(host, "FROM BASE\nADD AT/app.git /main/\nRUN test \"$(cat /main/file)\" = new\n").ok();
    host.docker(&["rmi", "fetched"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();

    let images = host.docker(&["images", "-aq"]).ok();
    for (words, want) in [
        ("--checksum=0000000 AT/app.git /x", "expected checksum to match 0000000, got "),
        ("AT/app.git#absent /x", "absent"),
        ("AT/app.git#--upload-pack=x /x", "invalid git reference"),
        ("AT/app.git#main:out /x", "leads out of the repository"),
        ("AT/app.git#main:.. /x", "leads out of the repository"),
        ("AT/app.git#evil /x", "transport 'ext' not allowed"),
        ("AT/none.git /x", "git fetch: "),
        ("git@127.0.0.1:app.git /x", "the engine has no keys for ssh"),
        ("--keep-git-dir AT/app.git#side:sub /x", "leave :DIR away"),
        ("--keep-git-dir AT/ready.txt /x", "--keep-git-dir requires Git sources"),
        ("--checksum=00 ready.txt /x", "checksum requires HTTP(S) or Git sources"),
        ("file:///etc/app.git /x", "file does not exist"),
    ] {
        let ran = build(host, &format!("FROM scratch\nADD {words}\n"));
        assert!(ran.code != 0 && ran.err.contains(want), "{words}: {want}: {ran}");
    }
    assert_eq!(host.docker(&["images", "-aq"]).ok(), images);
    assert_eq!(super::contexts::left(&host.engine), [""; 0]);
}

pub(crate) fn a_file_from_a_server_is_unpacked_only_if_that_is_asked_for(host: &mut Host) {
    let server = Server::start(host);
    server.sh(host, "echo in > in && tar -caf t.tar.xz in").ok();
    let sum = server.sh(host, "sha256sum t.tar.xz").ok();
    let sum = sum.split_whitespace().next().expect("a sum").to_owned();
    let text = format!(
        "FROM BASE\nADD --checksum=sha256:{sum} AT/t.tar.xz /whole/\nADD --unpack=true AT/t.tar.xz /un/\n\
         RUN test \"$(cat /un/in)\" = in && test ! -e /whole/in && echo '{sum}  /whole/t.tar.xz' | \
         sha256sum -c && test $(stat -c %a /whole/t.tar.xz) = 600\n"
    );
    build(host, &text).ok();
    let wrong =
        build(host, &format!("FROM scratch\nADD --checksum=sha256:{sum} AT/ready.txt /x\n"));
    assert!(wrong.code != 0 && wrong.err.contains("digest mismatch sha256:"), "{wrong}");
    host.docker(&["rmi", "fetched"]).ok();
}

pub(crate) fn a_context_is_fetched_by_the_engine(host: &mut Host) {
    let server = Server::start(host);
    server.sh(host, REPOSITORY).ok();
    server.sh(host, "mkdir c && printf 'FROM scratch\\nCOPY it /\\n' > c/Dockerfile && cp c/Dockerfile Alone.txt && echo it > c/it && tar -cJf c.tar.xz -C c . && cd work && git checkout -q side && cp ../c/* . && cp ../c/* sub/ && git add . && git commit -q -m three && git push -q ../app.git side && cd ../app.git && git update-server-info && chmod -R a+rX .").ok();
    server.put("Whole.txt", "FROM scratch\nLABEL whole=1\n");
    server.put("page.html", "<html>FROM scratch\n");
    let ask = |remote: &str, more: &str| {
        let remote = remote.replace("AT/", &format!("{AT}/")).replace('#', "%23");
        host.engine.post(&format!("/build?t=remote&remote={remote}{more}"), &Value::Null)
    };
    for (remote, more) in [
        ("AT/app.git#side", ""),
        ("AT/app.git#side:sub", ""),
        ("AT/app.git#side", "&dockerfile=sub/Dockerfile"),
        ("AT/c.tar.xz", ""),
        ("AT/Whole.txt", "&dockerfile=what"),
    ] {
        let (status, said) = ask(remote, more);
        assert!(
            status == 200 && said.contains("Successfully tagged remote:latest"),
            "{remote}: {status} {said}"
        );
        host.docker(&["rmi", "remote"]).ok();
    }
    for (remote, want) in [
        ("AT/Alone.txt", "COPY failed: "),
        ("AT/page.html", "neither an archive nor a Dockerfile"),
        ("AT/absent", "404"),
        ("AT/app.git#absent", "absent"),
        ("AT/app.git#evil", "transport 'ext' not allowed"),
        ("ftp://127.0.0.1/x", "want a git repository"),
        ("client-session", "want a git repository"),
        ("file:///etc/passwd", "want a git repository"),
    ] {
        let (_, said) = ask(remote, "");
        assert!(!said.contains("Successfully") && said.contains(want), "{remote}: {said}");
    }
    // The stock client fetches itself, and sends what it has.
    let socket = format!("unix://{}", host.engine.exec_root().join("hull.sock").display());
    for remote in
        [format!("{AT}/c.tar.xz"), format!("{AT}/Whole.txt"), format!("{AT}/app.git#side:sub")]
    {
        host.engine.on_host("docker", &["-H", &socket, "build", "-t", "remote", &remote]).ok();
        host.docker(&["rmi", "remote"]).ok();
    }
    host.docker(&["image", "prune", "-f"]).ok();
    assert_eq!(super::contexts::left(&host.engine), [""; 0]);
}
