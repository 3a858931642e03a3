use proptest::prelude::*;

use super::*;

mod cases;

fn parse(text: &str) -> Result<Dockerfile, Error> {
    Dockerfile::parse(text.as_bytes())
}

/// The one instruction behind a `FROM`.
fn kind(line: &str) -> Kind {
    let text = format!("FROM scratch\n{line}");
    let mut file = parse(&text).unwrap_or_else(|error| panic!("{line}: {error}"));
    file.instructions.remove(1).kind
}

/// The error of one instruction behind a `FROM`.
fn refusal(line: &str) -> String {
    let text = format!("FROM scratch\n{line}");
    match parse(&text) {
        Ok(file) => panic!("{line} is {:?}", file.instructions[1].kind),
        Err(error) => error.reason.to_string(),
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_instruction_has_its_lines_and_its_text() {
    let file =
        parse("\u{feff}# escape=`\r\nfrom  busybox\r\n\r\n  run echo a `\r\n # no\r\n b\r\n")
            .expect("a file");
    assert_eq!(file.directives.escape, '`');
    let lines: Vec<_> =
        file.instructions.iter().map(|i| (i.line, i.last, i.text.as_str())).collect();
    assert_eq!(lines, [(2, 2, "from  busybox"), (4, 6, "run echo a  b")]);
}

#[test]
fn an_error_has_its_place_and_what_users_know() {
    let error = parse("FROM a\n\n  FRO busybox\n").expect_err("FRO is nothing");
    assert_eq!(
        error.to_string(),
        "dockerfile parse error on line 3: unknown instruction: FRO (did you mean FROM?)"
    );
    assert_eq!((error.line, error.column), (3, 3));
    assert_eq!(
        error.shown("Dockerfile"),
        "Dockerfile:3:3\n   3 | >>>   FRO busybox\n\
         dockerfile parse error on line 3: unknown instruction: FRO (did you mean FROM?)"
    );
    let error =
        parse("FROM a\nCOPY a \\\n  --fro=b c\nCOPY \\\n --fro=b c d").expect_err("no such flag");
    assert_eq!((error.line, error.column), (5, 4));
    assert_eq!(error.reason.to_string(), "unknown flag: --fro (did you mean from?)");
    let cases = [
        ("", "the Dockerfile cannot be empty"),
        ("# only\n\n#comments", "file with no instructions"),
        ("\n \n", "file with no instructions"),
        ("ARG a=b\n", "dockerfile contains no stages to build"),
        ("RUN true\nFROM a", "dockerfile parse error on line 1: no build stage in current context"),
        (
            "# escape=x\nFROM a",
            "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\",
        ),
        (
            "#syntax=a\n#syntax=b\nFROM a",
            "dockerfile parse error on line 2: only one syntax parser directive can be used",
        ),
        (
            "FROM a\nRUN <<EOF\nx",
            "dockerfile parse error on line 2: unterminated heredoc: no line is just \"EOF\"",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(parse(text).expect_err(text).to_string(), want, "{text:?}");
    }
    let error = Dockerfile::parse(b"FROM a\nRUN \xff").expect_err("no text");
    assert_eq!((error.line, error.column, &error.reason), (2, 5, &Reason::NotText));
}

#[test]
fn what_is_wrong_with_an_instruction_is_told() {
    let cases = [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        (
            "FROM a AS 1a",
            "invalid name for build stage: \"1a\", name can't start with a number or contain symbols",
        ),
        ("COPY", "COPY requires at least two arguments"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --from=a --from=b a b", "duplicate flag specified: --from"),
        ("ADD --from=a b c", "unknown flag: --from"),
        ("COPY a <<EOF\nEOF", "COPY cannot take a heredoc as a destination"),
        ("COPY --from=x <<EOF /\nEOF", "COPY cannot take a heredoc as a source with --from"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("ENV =b", "ENV names can not be blank"),
        ("LABEL =b", "LABEL names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =b", "ARG names can not be blank"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL /bin/sh", "SHELL requires the arguments to be in JSON form"),
        ("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("CMD --x a", "unknown flag: --x"),
        ("RUN", "RUN requires at least one argument"),
        (
            "RUN --network=moon x",
            "invalid value \"moon\" for --network: it can be default, none, host",
        ),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        (
            "ONBUILD COPY x",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK TCP 80", "Unknown type \"TCP\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=5ns CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        (
            "RUN --mount=type=disk,target=/a x",
            "unsupported mount type \"disk\": it can be bind, cache, tmpfs, secret or ssh",
        ),
        ("RUN --mount=type=bind x", "invalid mount 'type=bind': target is required"),
        ("RUN --mount=type=secret x", "invalid secret mount. one of source, target required"),
        (
            "RUN --mount=targte=/a x",
            "unexpected key 'targte' in 'targte=/a' (did you mean target?)",
        ),
        ("RUN --mount=type=cache,target=/a,sharing=x x", "unsupported sharing value \"x\""),
        ("RUN --mount=type=cache,target=/a,mode=9 x", "invalid value for mode: 9"),
    ];
    for (line, want) in cases {
        assert_eq!(refusal(line), want, "{line:?}");
    }
}

#[test]
fn instructions_say_what_they_say() {
    let text = |text: &str| text.to_owned();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let cases = [
        (
            "FROM --platform=$BUILDPLATFORM a:1 AS Base",
            Kind::From {
                image: text("a:1"),
                platform: Some(text("$BUILDPLATFORM")),
                name: Some(text("base")),
            },
        ),
        ("ARG a b=\"c d\"", Kind::Arg(vec![(text("a"), None), (text("b"), Some(text("\"c d\"")))])),
        ("ENV a  b  c ", Kind::Env(vec![pair("a", "b  c")])),
        ("ENV a=b\\ c d='e f'", Kind::Env(vec![pair("a", "b\\ c"), pair("d", "'e f'")])),
        ("LABEL \"a b\"=c", Kind::Label(vec![pair("\"a b\"", "c")])),
        ("CMD [\"a\", \"b\"]", Kind::Cmd(Command::Exec(strings(&["a", "b"])))),
        ("CMD [a, b]", Kind::Cmd(Command::Shell(text("[a, b]")))),
        ("CMD", Kind::Cmd(Command::Shell(String::new()))),
        ("ENTRYPOINT []", Kind::Entrypoint(Command::Exec(Vec::new()))),
        ("SHELL [\"a\"]", Kind::Shell(strings(&["a"]))),
        ("EXPOSE 80 53/udp", Kind::Expose(strings(&["80", "53/udp"]))),
        ("VOLUME /a /b", Kind::Volume(strings(&["/a", "/b"]))),
        ("VOLUME [\"/a b\"]", Kind::Volume(strings(&["/a b"]))),
        ("USER a:b", Kind::User(text("a:b"))),
        ("WORKDIR /a b", Kind::Workdir(text("/a b"))),
        ("STOPSIGNAL SIGINT", Kind::StopSignal(text("SIGINT"))),
        ("MAINTAINER a <b>", Kind::Maintainer(text("a <b>"))),
        ("HEALTHCHECK NONE", Kind::Healthcheck(Healthcheck::None)),
        (
            "HEALTHCHECK --interval=1m30s --timeout=0s --retries=3 cmd a b",
            Kind::Healthcheck(Healthcheck::Check {
                command: Command::Shell(text("a b")),
                interval: Some(Duration::from_secs(90)),
                timeout: None,
                start_period: None,
                start_interval: None,
                retries: Some(3),
            }),
        ),
        ("ONBUILD RUN <<A cat\nb\nA", Kind::Onbuild(text("RUN <<A cat\nb\nA"))),
    ];
    for (line, want) in cases {
        assert_eq!(kind(line), want, "{line:?}");
    }
}

#[test]
fn a_trigger_is_an_instruction_with_its_heredoc() {
    let Kind::Onbuild(trigger) = kind("ONBUILD RUN <<A cat\nb\nA") else { panic!("no trigger") };
    let instruction = Instruction::parse_one(&trigger, '\\').expect("a trigger");
    assert_eq!(instruction.heredocs[0].content, "b\n");
    assert_eq!(instruction.text, "RUN <<A cat");
    for wrong in ["", "RUN a\nRUN b", "FROM a", "ONBUILD RUN a"] {
        assert!(Instruction::parse_one(wrong, '\\').is_err(), "{wrong:?}");
    }
}

#[test]
fn transfers_keep_words_and_take_heredocs() {
    let Kind::Copy(copy) = kind(
        "COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=*.a --exclude=b a* \"c\" /d/",
    ) else {
        panic!("no copy")
    };
    assert_eq!(
        copy,
        Transfer {
            sources: vec![Source::Path("a*".to_owned()), Source::Path("\"c\"".to_owned())],
            destination: "/d/".to_owned(),
            from: Some("b".to_owned()),
            chown: Some("1:2".to_owned()),
            chmod: Some("u+x".to_owned()),
            link: true,
            parents: true,
            exclude: strings(&["*.a", "b"]),
            checksum: None,
            keep_git_dir: false,
            unpack: None,
        }
    );
    let Kind::Add(add) =
        kind("ADD --unpack=false --checksum=sha256:0 <<-A <<'B' x /d/\n\t\ta\n\tA\n $b\nB")
    else {
        panic!("no add")
    };
    assert_eq!((add.unpack, add.checksum.as_deref()), (Some(false), Some("sha256:0")));
    let [Source::Heredoc(a), Source::Heredoc(b), Source::Path(x)] = &add.sources[..] else {
        panic!("{:?}", add.sources)
    };
    assert_eq!((a.name.as_str(), a.content.as_str(), a.expand), ("A", "a\n", true));
    assert_eq!((b.name.as_str(), b.content.as_str(), b.expand), ("B", " $b\n", false));
    assert_eq!(x, "x");
}

#[test]
fn a_run_has_mounts_and_scripts() {
    let run = "RUN --mount=type=cache,dst=/c,id=x,sharing=locked,mode=0700,uid=1,gid=$g \
               --mount=target=/b,rw --mount=type=tmpfs,target=/t,size=64m --mount=type=ssh \
               --mount=type=secret,id=s,env=S,required --network=none --security=insecure echo";
    let Kind::Run(run) = kind(run) else { panic!("no run") };
    assert_eq!((run.network.as_deref(), run.security.as_deref()), (Some("none"), Some("insecure")));
    let [cache, bind, tmpfs, ssh, secret] = &run.mounts[..] else { panic!("{:?}", run.mounts) };
    assert_eq!(
        (cache.kind, cache.target.as_deref(), cache.id.as_deref()),
        (MountKind::Cache, Some("/c"), Some("x"))
    );
    assert_eq!(
        (cache.sharing, cache.mode, cache.uid, cache.gid),
        (Sharing::Locked, Some(0o700), Some(1), None)
    );
    assert_eq!(
        (bind.kind, bind.readonly, tmpfs.size, ssh.kind),
        (MountKind::Bind, false, Some(64 << 20), MountKind::Ssh)
    );
    assert_eq!(
        (secret.id.as_deref(), secret.env.as_deref(), secret.required),
        (Some("s"), Some("S"), true)
    );

    let lookup = |name: &str| (name == "g").then(|| "7".to_owned());
    assert_eq!(cache.expand('\\', &lookup).expect("a mount").gid, Some(7));
    let error = cache.expand('\\', &|_| Some("$g".to_owned())).expect_err("no number");
    assert_eq!(error.to_string(), "invalid value for gid: $g");

    let script = |text: &str| {
        let file = parse(&format!("FROM a\n{text}")).expect(text);
        file.instructions[1].script()
    };
    assert_eq!(script("RUN echo 1"), None);
    assert_eq!(script("RUN <<A\nx\nA"), Some(Script::Shell("x\n".to_owned())));
    let file = Script::File { name: "A".to_owned(), content: "#!/bin/x\n".to_owned() };
    assert_eq!(script("RUN <<A\n#!/bin/x\nA"), Some(file));
    let both = "<<A cat >a && <<B cat >b\n1\nA\n2\nB";
    assert_eq!(script(&format!("RUN {both}")), Some(Script::Shell(both.to_owned())));
    assert_eq!(script("RUN echo '<<A'"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Dockerfile::parse(&bytes);
    }

    #[test]
    fn any_lines_are_read_or_refused(lines in prop::collection::vec(
        "(FROM|RUN|COPY|ADD|ENV|ARG|ONBUILD|HEALTHCHECK|SHELL|VOLUME|#|# escape=`|A) ?[a=<'\"\\[\\],{}$:\\\\` \\r-]{0,20}(<<-?\"?A)?\"?", 0..8,
    )) {
        let text = lines.join("\n");
        if let Ok(file) = parse(&text) {
            for instruction in &file.instructions {
                prop_assert!(instruction.line >= 1 && instruction.line <= instruction.last);
                prop_assert!(instruction.last <= lines.len());
                instruction.script();
                if let Kind::Onbuild(trigger) = &instruction.kind {
                    let again = Instruction::parse_one(trigger, file.directives.escape);
                    prop_assert!(again.is_ok(), "{:?}: {:?}", trigger, again);
                }
            }
        }
    }
}
