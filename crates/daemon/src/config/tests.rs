use super::*;

#[test]
fn a_flag_goes_before_the_files_key() {
    let file: Options = toml::from_str(
        "data-root = '/a'\nbridge = 'br1'\nregistry-mirror = ['http://m']\nvm-memory = 512\n",
    )
    .expect("valid");
    let flags = Options { data_root: Some("/b".into()), ..Default::default() };
    let Configuration { settings, host, .. } = flags.over(file).complete().expect("valid");
    assert_eq!(settings.data_root, Path::new("/b"));
    assert_eq!(settings.bridge, "br1");
    assert_eq!(settings.registries.mirrors, ["http://m"]);
    assert_eq!(settings.vm.memory_mib, 512);
    assert_eq!(host, Path::new("/run/hull/hull.sock"));
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    let isolation = |text: &str| Options { isolation: Some(text.to_owned()), ..Default::default() };
    let host = |text: &str| Options { host: vec![text.to_owned()], ..Default::default() };
    let cases = [
        (isolation("none"), "--isolation none"),
        (Options { vm_accel: Some("xen".into()), ..Default::default() }, "--vm-accel xen"),
        (host("tcp://0"), "--host tcp://0"),
        (host("tcp://127.0.0.1:1"), "--host tcp://127.0.0.1:1: TCP wants all of --tlsverify"),
        (host("http://x"), "--host http://x"),
        (Options { tlsverify: true, ..Default::default() }, "--tlsverify"),
        (
            Options { metrics_addr: Some("0.0.0.0:9".into()), ..Default::default() },
            "--metrics-addr 0.0.0.0:9: want a loopback address",
        ),
        (Options { log_format: Some("xml".into()), ..Default::default() }, "--log-format xml"),
        (
            Options { log_driver: Some("syslog".into()), ..Default::default() },
            "--log-driver syslog",
        ),
        (Options { log_opt: vec!["x".into()], ..Default::default() }, "--log-opt x"),
        (Options { label: vec!["x".into()], ..Default::default() }, "--label x: want KEY=VALUE"),
        (
            Options { label: vec!["a=1".into(), "a=2".into()], ..Default::default() },
            "--label a=2: a has another value too",
        ),
        (Options { data_root: Some("/a:b".into()), ..Default::default() }, "--data-root /a:b"),
    ];
    for (options, want) in cases {
        let error = options.complete().expect_err(want).to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn a_key_that_waits_for_the_next_start_is_named() {
    let configuration = |text: &str| {
        let options: Options = toml::from_str(text).expect("valid");
        let said = options.said();
        Configuration { said, ..options.complete().expect("valid") }
    };
    let before = configuration("bridge = 'a'\nlog-level = 'info'\nsubnet = '10.1.0.0/16'").said;
    let after = configuration(
        "bridge = 'b'\nlog-level = 'debug'\nregistry-mirror = ['http://m']\nlabel = ['a=1']",
    );
    assert_eq!(after.waiting(&before), ["bridge", "subnet"]);
    assert!(after.waiting(&after.said).is_empty());
}

#[test]
fn the_file_may_name_one_host_or_more() {
    for text in ["host = '/a'", "host = ['unix:///a']"] {
        let file: Options = toml::from_str(text).expect("valid");
        assert_eq!(file.complete().expect("valid").host, Path::new("/a"), "{text}");
    }
    assert!(hosts(&["/a".to_owned(), "/b".to_owned()]).is_err(), "two sockets");
}

#[test]
fn a_key_that_is_none_is_told_with_file_and_line() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("hulld.toml");
    std::fs::write(&path, "bridge = 'a'\n\nno-such-key = 1\n").expect("written");
    let error = read(&path).expect_err("unknown").to_string();
    let want = format!("configuration {}:3: unknown field `no-such-key`", path.display());
    assert!(error.starts_with(&want) && !error.contains('\n'), "{error}");
}

#[test]
fn every_key_of_the_file_is_a_flag() {
    use clap::CommandFactory;
    // serde names the keys that there are in its refusal of one that is not.
    let error = toml::from_str::<Options>("no-such-key = 1").expect_err("unknown").to_string();
    let keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    let command = Arguments::command();
    let flags: Vec<&str> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
    assert!(keys.len() > 15, "{error}");
    for key in keys {
        assert!(flags.contains(&key), "{key}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}
