use serde_json::json;

use super::*;

/// What `docker create` 28.2.2 sent: one JSON object a line with `command`, `path` and `body`.
const RECORDED: &str = include_str!("../../../tests/recorded/create.jsonl");

/// The commands that ask for something Hull does not do yet, by a word of theirs, and the field that
/// must be named.
const REFUSED: &[(&str, &str)] =
    &[("--runtime=runc", "HostConfig.Runtime"), ("--gpus", "HostConfig.DeviceRequests")];

fn recorded() -> impl Iterator<Item = (String, Value)> {
    RECORDED.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("recorded JSON");
        (line["command"].as_str().expect("a command").to_owned(), line["body"].clone())
    })
}

fn body(command: &str) -> Value {
    recorded().find(|(recorded, _)| recorded == command).expect("recorded").1
}

#[test]
fn what_the_docker_client_sends_is_read_or_refused_by_the_fields_name() {
    for (command, body) in recorded() {
        let refused = REFUSED.iter().find(|(word, _)| command.contains(word));
        match (parse(body, None), refused) {
            (Ok(_), None) => {}
            (Err(error), Some((_, field))) => {
                assert!(error.message().starts_with(field), "{command}: {error}");
            }
            (Ok(_), Some((_, field))) => panic!("{command}: {field} was passed over"),
            (Err(error), None) => panic!("{command}: {error}"),
        }
    }
}

#[test]
fn what_the_docker_client_sends_by_default_asks_for_nothing() {
    let create = parse(body("docker create alpine:3.10"), None).expect("legal");
    let config = Config {
        image: "alpine:3.10".into(),
        attach_stdout: true,
        attach_stderr: true,
        ..Config::default()
    };
    let attachments = [("bridge".to_owned(), engine::Attachment::default())].into();
    let host = HostConfig { attachments, ..HostConfig::default() };
    assert_eq!(create, Create { name: None, config, host });
}

#[test]
fn options_arrive() {
    let create = parse(
        body(
            "docker create -e A=b --env C=d -w /tmp -u 1000:1000 --hostname h --domainname d -l k=v \
             --entrypoint sh alpine -c true",
        ),
        Some("web".into()),
    )
    .expect("legal");
    assert_eq!(create.name.as_deref(), Some("web"));
    assert_eq!(create.config.env, ["A=b", "C=d"]);
    assert_eq!(create.config.working_dir, "/tmp");
    assert_eq!(create.config.user, "1000:1000");
    assert_eq!(create.config.entrypoint, Some(vec!["sh".into()]));
    assert_eq!(create.config.cmd, Some(vec!["-c".into(), "true".into()]));
    assert_eq!(create.config.labels["k"], "v");
}

#[test]
fn isolation_is_one_of_its_legal_values() {
    let parsed = |text: &str| {
        let body = json!({ "Image": "a", "HostConfig": { "Isolation": text } });
        parse(body, None).map(|create| create.host.isolation)
    };
    for (text, want) in [
        ("", None),
        ("default", None),
        ("Default", None),
        ("process", Some(Isolation::Process)),
        ("hyperv", Some(Isolation::Vm)),
        ("HyperV", Some(Isolation::Vm)),
        ("VM", Some(Isolation::Vm)),
    ] {
        assert_eq!(parsed(text), Ok(want), "{text}");
    }
    let error = parsed("kata").unwrap_err();
    assert_eq!(error.status(), 400);
    assert_eq!(
        error.message(),
        "invalid isolation \"kata\": want default, process or hyperv (also spelled vm)"
    );
}

#[test]
fn a_body_of_the_wrong_shape_is_refused() {
    let cases = [
        (json!([]), "the body is not a JSON object"),
        (json!({}), "no image is given"),
        (json!({"Image": ""}), "no image is given"),
        (json!({"Image": "a", "HostConfig": 7}), "HostConfig is not a JSON object"),
        (
            json!({"Image": "a", "HostConfig": {"CpuShares": -1}}),
            "invalid CPU shares (-1): value must be a positive integer",
        ),
    ];
    for (body, want) in cases {
        assert_eq!(parse(body, None).unwrap_err().message(), want);
    }
    let error = parse(json!({"Image": "a", "Env": "A=b"}), None).unwrap_err();
    assert!(error.message().starts_with("invalid request body: "), "{error}");
}

#[test]
fn a_command_may_be_one_word() {
    let create = parse(json!({"Image": "a", "Cmd": "sh"}), None).expect("legal");
    assert_eq!(create.config.cmd, Some(vec!["sh".into()]));
}

#[test]
fn null_is_not_set_wherever_a_python_client_writes_it() {
    let check = json!({"Test": ["CMD", "true"], "Interval": 5, "Timeout": null, "Retries": null,
                       "StartPeriod": null});
    let host = json!({"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": null}]});
    let body = json!({"Image": "a", "Healthcheck": check, "HostConfig": host});
    let create = parse(body, None).expect("legal");
    let check = create.config.healthcheck.expect("given");
    assert_eq!((check.interval, check.timeout, check.retries), (5, 0, 0));
    let limit = &create.host.ulimits[0];
    assert_eq!((limit.soft, limit.hard), (9, 0));
}
