//! Dockerfiles, and what becomes of them. `BASE` stands for the suite's image.

/// One build.
pub(super) struct Case {
    /// What it shows.
    pub(super) name: &'static str,
    /// Paths and texts; a text `-> x` is a symlink.
    pub(super) context: &'static [(&'static str, &'static str)],
    /// Arguments of the client.
    pub(super) arguments: &'static [&'static str],
    /// The Dockerfile. Most commands in it test something themselves.
    pub(super) dockerfile: &'static str,
    /// What the image's configuration holds, by JSON pointer.
    pub(super) config: &'static [(&'static str, &'static str)],
    /// Whether the wall makes a difference, so that each `make test` sees it behind both.
    pub(super) by_wall: bool,
}

const fn case(name: &'static str, dockerfile: &'static str) -> Case {
    Case { name, context: &[], arguments: &[], dockerfile, config: &[], by_wall: false }
}

impl Case {
    const fn with(mut self, context: &'static [(&'static str, &'static str)]) -> Self {
        self.context = context;
        self
    }

    const fn given(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    const fn by_wall(mut self) -> Self {
        self.by_wall = true;
        self
    }

    const fn gives(mut self, config: &'static [(&'static str, &'static str)]) -> Self {
        self.config = config;
        self
    }
}

const TREE: &[(&str, &str)] = &[
    ("a.txt", "a"),
    ("b.txt", "b"),
    ("c.md", "c"),
    ("d/x.txt", "x"),
    ("d/e/y.txt", "y"),
    ("d/link", "-> ../a.txt"),
];

/// Every instruction and flag.
pub(super) const CASES: &[Case] = &[
    case("a command's files are in the image", "FROM BASE\nRUN echo hi > /x && rm /etc/group\nRUN test \"$(cat /x)\" = hi && test ! -e /etc/group\n").by_wall(),
    case(
        "variables have values, defaults and parts",
        "FROM BASE\nARG A=one\nENV B=$A C=\"two words\" D='$A' E=${Z:-def} F=${A:+alt} G=x\\ y\n\
         ENV P=/usr/local/lib.tar.gz\nENV Q=${P##*/} R=${P%%.*} S=${P/local/remote} B=new T=$B\n\
         RUN test \"$B-$C-$D-$E-$F-$G\" = 'new-two words-$A-def-alt-x y' \\\n  && test \"$Q $R $S $T\" = 'lib.tar.gz /usr/local/lib /usr/remote/lib.tar.gz one'\n",
    ),
    case("an old ENV takes the rest of its line", "FROM BASE\nENV A some words\nRUN test \"$A\" = 'some words'\n"),
    case("an argument has its default", "FROM BASE\nARG A=one B\nRUN test \"$A$B\" = one\n"),
    case("an argument is given", "FROM BASE\nARG A=one\nRUN test $A = two\n").given(&["--build-arg", "A=two"]).by_wall(),
    case("the image's variable hides an argument", "FROM BASE\nENV A=env\nARG A=arg\nRUN test $A = env\n"),
    case("arguments of the file are there for FROM, and where they are asked for", "ARG IMG=BASE\nARG A=1\nFROM ${IMG}\nARG A\nRUN test $A = 1 && test -z \"$IMG\"\n"),
    case("a proxy need not be declared", "FROM BASE\nRUN test \"$HTTP_PROXY\" = http://127.0.0.1:1\n").given(&["--build-arg", "HTTP_PROXY=http://127.0.0.1:1"]),
    case("the platform is known", "FROM BASE\nARG TARGETPLATFORM TARGETOS\nRUN test $TARGETPLATFORM = linux/amd64 && test $TARGETOS = linux\n"),
    case("labels", "FROM BASE\nLABEL a=1 \"b c\"=\"d e\"\nLABEL a=2\n").given(&["--label", "z=9"]).gives(&[("/Labels/a", "2"), ("/Labels/b c", "d e"), ("/Labels/z", "9")]),
    case("ports", "FROM BASE\nENV P=80\nEXPOSE $P 53/udp 8000-8001\n").gives(&[("/ExposedPorts/80~1tcp", "{}"), ("/ExposedPorts/53~1udp", "{}"), ("/ExposedPorts/8001~1tcp", "{}")]),
    case("volumes", "FROM BASE\nVOLUME /a /b\nVOLUME [\"/c d\"]\n").gives(&[("/Volumes/~1a", "{}"), ("/Volumes/~1c d", "{}")]),
    case("a user", "FROM BASE\nUSER 1000:1001\nRUN test \"$(id -u):$(id -g)\" = 1000:1001\n").gives(&[("/User", "1000:1001")]).by_wall(),
    case("working directories go on from each other", "FROM BASE\nENV X=c\nWORKDIR /a\nWORKDIR b\nWORKDIR $X\nRUN test \"$(pwd)\" = /a/b/c && test -d /a/b/c\n").gives(&[("/WorkingDir", "/a/b/c")]).by_wall(),
    case("a command in words", "FROM BASE\nCMD [\"echo\", \"a b\"]\n").gives(&[("/Cmd/1", "a b")]),
    case("a command as a line", "FROM BASE\nCMD echo $HOME\n").gives(&[("/Cmd/0", "/bin/sh"), ("/Cmd/2", "echo $HOME")]),
    case("an entrypoint takes the base's command away", "FROM BASE AS one\nCMD [\"x\"]\nFROM one\nENTRYPOINT [\"sh\", \"-c\"]\n").gives(&[("/Entrypoint/1", "-c"), ("/Cmd", "null")]),
    case("a shell", "FROM BASE\nSHELL [\"/bin/sh\", \"-xc\"]\nRUN echo told > /x\nCMD a\n").gives(&[("/Cmd/1", "-xc"), ("/Shell/1", "-xc")]),
    case("a signal", "FROM BASE\nSTOPSIGNAL SIGINT\n").gives(&[("/StopSignal", "SIGINT")]),
    case("a check", "FROM BASE\nHEALTHCHECK --interval=5s --timeout=1m --retries=2 CMD test -e /x\n").gives(&[("/Healthcheck/Test/1", "test -e /x"), ("/Healthcheck/Interval", "5000000000"), ("/Healthcheck/Retries", "2")]),
    case("no check", "FROM BASE\nHEALTHCHECK CMD [\"true\"]\nHEALTHCHECK NONE\n").gives(&[("/Healthcheck/Test/0", "NONE")]),
    case("triggers", "FROM BASE\nONBUILD COPY . /app\nONBUILD RUN test -e /app/a.txt\n").gives(&[("/OnBuild/1", "RUN test -e /app/a.txt")]),
    case("a maintainer", "FROM BASE\nMAINTAINER me <me@example.org>\n"),
    case("a file goes by its name or another", "FROM BASE\nCOPY a.txt /one\nCOPY b.txt /dir/\nCOPY b.txt /dir\nWORKDIR /w\nCOPY a.txt .\nCOPY [\"c.md\", \"with blank\"]\nRUN test \"$(cat /one /dir/b.txt /w/a.txt '/w/with blank')\" = abac\n").with(TREE),
    case("a directory's contents are copied", "FROM BASE\nCOPY d /to\nCOPY d/ /to/deeper/\nRUN test \"$(cat /to/x.txt /to/e/y.txt /to/deeper/x.txt)\" = xyx && test \"$(readlink /to/link)\" = ../a.txt && test \"$(stat -c %u:%a /to/x.txt)\" = 0:644\n").with(TREE),
    case("wildcards", "FROM BASE\nCOPY *.txt d/?.txt /to/\nRUN test \"$(ls /to | tr '\\n' ' ')\" = 'a.txt b.txt x.txt '\n").with(TREE),
    case("a link as a source is followed", "FROM BASE\nCOPY d/link /x\nRUN test -f /x && test ! -L /x && test $(cat /x) = a\n").with(TREE),
    case("everything but what is ignored", "FROM BASE\nCOPY . /c\nRUN cd /c && test \"$(find . -type f | sort | tr '\\n' ' ')\" = './.dockerignore ./c.md ./d/e/y.txt '\n")
        .with(&[("a.txt", "a"), ("c.md", "c"), ("d/x.txt", "x"), ("d/e/y.txt", "y"), (".dockerignore", "# not\n*.txt\nDockerfile\nd\n!d/e\n")]),
    case("owners", "FROM BASE\nCOPY --chown=1000:1001 a.txt /one/\nCOPY --chown=root d /two\nRUN test \"$(stat -c %u:%g /one /one/a.txt /two/x.txt | tr '\\n' ' ')\" = '1000:1001 1000:1001 0:0 '\n").with(TREE).by_wall(),
    case("modes", "FROM BASE\nCOPY --chmod=600 a.txt /one\nCOPY --chmod=4755 b.txt /two\nRUN test \"$(stat -c %a /one /two | tr '\\n' ' ')\" = '600 4755 '\n").with(TREE),
    case("modes are changed, as each file has them", "FROM BASE\nCOPY --chmod=u=rwX,go=rX d /d\nADD --chmod=go-r,+x a.txt /one\nRUN test \"$(stat -c %a /d/e /d/x.txt /one | tr '\\n' ' ')\" = '755 644 711 '\n").with(TREE),
    case("files of a stage, by name and number", "FROM BASE AS first\nRUN mkdir -p /out/deep && echo made > /out/deep/file && ln -s deep/file /out/link && chown 7:8 /out/deep/file\nFROM BASE\nCOPY --from=first /out /in\nCOPY --from=0 /out/link /followed\nRUN test \"$(cat /in/deep/file /followed | tr '\\n' ' ')\" = 'made made ' && test -L /in/link && test \"$(stat -c %u:%g /in/deep/file)\" = 7:8\n").by_wall(),
    case("files of an image", "FROM scratch AS none\nFROM BASE\nCOPY --from=BASE /etc/passwd /from\nRUN cmp /from /etc/passwd\n"),
    case("parents come along", "FROM BASE\nCOPY --parents d/e/y.txt a.txt /to/\nCOPY --parents ./d/./e/y.txt /pivot/\nRUN test \"$(cat /to/d/e/y.txt /to/a.txt /pivot/e/y.txt)\" = yay\n").with(TREE),
    case("some files stay behind", "FROM BASE\nCOPY --exclude=*.md --exclude=d/e . /to\nRUN test -e /to/a.txt && test -e /to/d/x.txt && test ! -e /to/c.md && test ! -e /to/d/e\n").with(TREE),
    case("a linked copy does not follow what is there", "FROM BASE\nRUN mkdir /real && ln -s real /short\nCOPY a.txt /short/\nCOPY --link b.txt /short/\nRUN test -e /real/a.txt && test ! -L /short && test \"$(ls /short)\" = b.txt\n").with(TREE),
    case("a copy takes a file's place but keeps directories", "FROM BASE\nRUN mkdir -m 700 /to && mkdir /to/e && echo old > /to/x.txt && echo stays > /to/other\nCOPY d /to\nRUN test \"$(cat /to/x.txt /to/other)\" = xstays && test \"$(stat -c %a /to)\" = 700\n").with(TREE),
    case("an archive is unpacked by ADD and not by COPY", "FROM BASE\nADD t.tar.gz /un/\nCOPY t.tar.gz /un/whole\nADD --unpack=false t.tar.gz /un/too\nADD a.txt /un/\nRUN test \"$(cat /un/in/file /un/a.txt)\" = packeda && cmp /un/whole /un/too\n").with(&[("a.txt", "a"), ("t.tar.gz", "ARCHIVE")]),
    case("archives by bzip2 and xz, which what only begins like one is not", "FROM BASE\nADD t.tar.bz2 /bz/\nADD t.tar.xz /xz/\nADD BZh9 /as/it/is/\nRUN test \"$(cat /bz/in/file /xz/in/file /as/it/is/BZh9)\" = packedpackedBZh9\n").with(&[("t.tar.bz2", "ARCHIVE"), ("t.tar.xz", "ARCHIVE"), ("BZh9", "BZh9")]),
    case("a document in the file", "FROM BASE\nARG W=world\nCOPY <<one <<\"two\" /to/\nhello $W\none\nkept $W\ntwo\nRUN test \"$(cat /to/one /to/two | tr '\\n' ' ')\" = 'hello world kept $W '\n"),
    case("a script in the file", "FROM BASE\nRUN <<EOF\nset -e\nfalse || echo here > /x\nEOF\nRUN <<EOF cat >/y\nfed\nEOF\nRUN <<-EOF\n\t#!/bin/cat\n\ttext\n\tEOF\nRUN test \"$(cat /x /y | tr '\\n' ' ')\" = 'here fed '\n").by_wall(),
    case("lines go on, comments do not count", "# first\nFROM BASE\n  # between\nRUN echo one \\\n  # within\n\n  two \\\n > /x && test \"$(cat /x)\" = 'one two'\n"),
    case("another escape", "# escape=`\nFROM BASE\nENV A=x `\n  B=y\nRUN test \"$A$B\" = `\n xy\n"),
    case("a stage in the middle is enough", "FROM BASE AS one\nRUN echo 1 > /x\nFROM one AS two\nENV A=2\nFROM two\nRUN false\n").given(&["--target", "TWO"]).gives(&[("/Env/2", "A=2")]),
    case("what the target does not need is not built", "FROM BASE AS unused\nRUN false\nFROM BASE\nENV A=1\n"),
    case("a cache outlives commands, and is no part of the image", "FROM BASE\nRUN --mount=type=cache,id=kept,target=/cache echo kept > /cache/file\nRUN test ! -e /cache/file\nRUN --mount=type=cache,id=kept,target=/cache test \"$(cat /cache/file)\" = kept\n").by_wall(),
    case(
        "a cache begins with a stage's files",
        "FROM BASE AS seed\nRUN mkdir -p /seed/d && date +%N > /seed/when && echo one > /seed/f && ln -s f /seed/l && chmod 1777 /seed && chown 5:6 /seed /seed/f\n\
         FROM BASE\n\
         RUN --mount=type=cache,id=seeded,from=seed,source=/seed,target=/c test \"$(cat /c/f /c/l; stat -c %u:%g:%a /c /c/f)\" = \"$(printf 'one\\none\\n5:6:1777\\n5:6:644')\" && echo two > /c/f && touch /c/d/new\n\
         RUN --mount=type=cache,id=seeded,from=seed,source=/seed/d,target=/c test -z \"$(ls -A /c)\"\n\
         RUN --mount=type=cache,id=seeded,from=seed,source=/seed,target=/c,ro test \"$(cat /c/l)\" = two && test -e /c/d/new && ! touch /c/x 2>/dev/null\n\
         RUN --mount=type=cache,id=seeded,target=/c test ! -e /c/f\n\
         RUN --mount=type=cache,id=owned,from=BASE,source=/etc,target=/e,uid=7,gid=8,mode=0700 test \"$(stat -c %u:%g:%a /e)\" = 7:8:700 && test -s /e/passwd\n\
         RUN --mount=type=cache,id=new,target=/n,uid=7,gid=8,mode=0750 test \"$(stat -c %u:%g:%a /n)\" = 7:8:750\n\
         RUN test ! -e /c/f && test ! -e /seed\n",
    )
    .by_wall(),
    case("files are lent to a command", "FROM BASE AS other\nRUN echo lent > /file\nFROM BASE\nRUN --mount=target=/ctx --mount=type=bind,from=other,source=/file,target=/lent,rw cat /ctx/d/x.txt && test \"$(cat /lent)\" = lent && echo x >> /lent && ! touch /ctx/new 2>/dev/null\nRUN test ! -e /ctx/d && test ! -s /lent\n").with(TREE).by_wall(),
    case("memory is lent to a command", "FROM BASE\nRUN --mount=type=tmpfs,target=/mem,size=1m grep -q ' /mem tmpfs' /proc/mounts && ! dd if=/dev/zero of=/mem/x bs=1M count=2 2>/dev/null\n").by_wall(),
    case("a command without a network", "FROM BASE\nRUN --network=none test ! -e /sys/class/net/eth0\n").by_wall(),
    case("hosts are added", "FROM BASE\nRUN grep -q '10.1.2.3.*other' /etc/hosts\n").given(&["--add-host", "other:10.1.2.3"]).by_wall(),
    case("limits hold for commands", "FROM BASE\nRUN test \"$(ulimit -Sn) $(ulimit -Hn)\" = '123 456' && test \"$(df -k /dev/shm | awk 'END { print $2 }')\" = 16384\nRUN cd /sys/fs/cgroup && test \"$(cat memory/memory.limit_in_bytes memory.max 2>/dev/null)\" = 67108864 && test \"$(cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null | cut -d ' ' -f 1)\" = 50000\n")
        .given(&["--memory=64m", "--cpu-period=100000", "--cpu-quota=50000", "--shm-size=16m", "--ulimit=nofile=123:456"]).by_wall(),
    case("nothing but a file", "FROM scratch\nCOPY a.txt /\nCMD [\"/a.txt\"]\n").with(TREE).gives(&[("/Cmd/0", "/a.txt")]).by_wall(),
    case("a Dockerfile elsewhere", "FROM BASE\nCOPY a.txt /\n").with(TREE).given(&["-f", "sub/Dockerfile.other"]),
];

/// What is refused, and the words for it.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[
    (
        "an unknown instruction",
        "FROM BASE\nFRO x\n",
        "dockerfile parse error on line 2: unknown instruction: FRO",
    ),
    ("an empty file", "# nothing\n", "file with no instructions"),
    (
        "a file that is not there",
        "FROM BASE\nCOPY nothing /x\n",
        "COPY failed: file not found in build context or excluded by .dockerignore: stat nothing: file does not exist",
    ),
    ("a file above the context", "FROM BASE\nCOPY ../../etc/passwd /x\n", "file does not exist"),
    ("a link out of the context", "FROM BASE\nCOPY out /x\n", "file does not exist"),
    (
        "two files by one name",
        "FROM BASE\nCOPY a.txt b.txt /x\n",
        "When using COPY with more than one source file, the destination must be a directory and end with a /",
    ),
    (
        "a stage that is not there",
        "FROM BASE AS one\n",
        "\ntarget stage \"absent\" could not be found: the stages are one\n",
    ),
    (
        "a circle",
        "FROM BASE AS one\nCOPY --from=two /a /\nFROM BASE AS two\n",
        "circular dependency",
    ),
    ("an unknown flag", "FROM BASE\nCOPY --fram=x a /\n", "unknown flag: --fram"),
    (
        "a mode that is none",
        "FROM BASE\nCOPY --chmod=rwx a.txt /\n",
        "--chmod=rwx: want octal digits or clauses",
    ),
    ("a command that fails", "FROM BASE\nRUN exit 7\n", "returned a non-zero code: 7"),
    ("a program that is not there", "FROM BASE\nRUN [\"/nowhere\"]\n", "/nowhere"),
    (
        "a user that is not there",
        "FROM BASE\nCOPY --chown=stranger a.txt /\n",
        "unable to find user stranger",
    ),
    ("a command on nothing", "FROM scratch\nRUN true\n", "nothing can be run in an empty image"),
    ("an image that nobody has", "FROM 127.0.0.1:5000/nobody:1\n", "nobody"),
    ("no base", "ARG X\nFROM ${X}\n", "base name"),
    (
        "the host's network",
        "FROM BASE\nRUN --network=host true\n",
        "RUN --network=host is not supported: unless the build itself is given --network=host",
    ),
    (
        "all rights",
        "FROM BASE\nRUN --security=insecure true\n",
        "line 2: RUN --security=insecure is not allowed",
    ),
    (
        "a variable for a stage",
        "FROM BASE AS one\nFROM BASE\nARG S=one\nCOPY --from=$S /etc/passwd /x\n",
        "line 4: from=$S: a stage cannot be named by a variable",
    ),
    (
        "a cache of what is not there",
        "FROM BASE\nRUN --mount=type=cache,from=BASE,source=/absent,target=/c true\n",
        "RUN --mount failed: stat /absent: file does not exist",
    ),
    (
        "a cache of a file",
        "FROM BASE\nRUN --mount=type=cache,from=BASE,source=/etc/passwd,target=/c true\n",
        "RUN --mount \"/etc/passwd\": not a directory",
    ),
    (
        "a cache of a part of nothing",
        "FROM BASE\nRUN --mount=type=cache,source=/etc,target=/c true\n",
        "source is a path in from, which is missing",
    ),
    (
        "a secret that must be there",
        "FROM BASE\nRUN --mount=type=secret,id=s,required=true true\n",
        "secret s: not found",
    ),
];
