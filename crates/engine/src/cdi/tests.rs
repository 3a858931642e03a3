use serde_json::{Value, json};

use super::*;

fn put(dir: &Path, name: &str, text: &Value) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text.to_string()).expect("written");
    path
}

fn described(env: &str) -> Value {
    json!({
        "cdiVersion": "0.6.0", "kind": "vendor.com/net",
        "devices": [{ "name": "card0", "containerEdits": {
            "env": [format!("CARD={env}")],
            "deviceNodes": [{ "path": "/dev/card", "hostPath": "/dev/null", "permissions": "rw" }],
        }}],
        "containerEdits": {
            "env": ["ALL=1"],
            "mounts": [{ "hostPath": "/srv", "containerPath": "/lib/x", "options": ["ro", "bind"] }],
            "hooks": [{ "hookName": "createContainer", "path": "/bin/true", "args": ["true"] }],
        },
    })
}

#[test]
fn a_name_is_told_from_a_path() {
    for (text, want) in [
        ("vendor.com/class=name", true),
        ("nvidia.com/gpu=0", true),
        ("nvidia.com/gpu=GPU-1:2.a_b", true),
        ("/dev/null", false),
        ("/dev/null:/dev/a=b", false),
        ("vendor.com/class", false),
        ("vendor.com/cla.ss=a", false),
        ("1vendor/class=a", false),
        ("vendor/class=", false),
        ("vendor/class=-a", false),
    ] {
        assert_eq!(is_name(text), want, "{text}");
    }
}

#[test]
fn a_later_directory_goes_before_an_earlier_and_two_files_of_one_are_a_conflict() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let paths: Vec<_> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
    let names = ["vendor.com/net=card0".to_owned()];
    put(&paths[0], "a.json", &described("early"));
    put(&paths[1], "a.json", &described("late"));
    let edits = resolve(&paths, &names).expect("described");
    assert_eq!((edits[0].env[0].as_str(), edits[1].env[0].as_str()), ("ALL=1", "CARD=late"));
    // What is for all of a file is said once.
    let twice = [names[0].clone(), names[0].clone()];
    assert_eq!(resolve(&paths, &twice).expect("described").len(), 3);
    put(&paths[1], "b.json", &described("other"));
    let said = resolve(&paths, &names).expect_err("a conflict").to_string();
    assert!(said.contains("conflicting device vendor.com/net=card0"), "{said}");
}

#[test]
fn what_nobody_describes_is_told_with_the_files_that_are_no_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let dirs = [dir.path().to_owned()];
    put(dir.path(), "bad.json", &json!({ "cdiVersion": "9.9", "kind": "a/b", "devices": [] }));
    put(
        dir.path(),
        "strange.json",
        &json!({
            "cdiVersion": "0.6.0", "kind": "a/b", "devices": [], "containerEdits": { "fly": 1 },
        }),
    );
    fs::write(dir.path().join("nvidia.yaml"), "kind: nvidia.com/gpu").expect("written");
    fs::write(dir.path().join("strange.yaml"), "kind: *nobody").expect("written");
    let said = resolve(&dirs, &["a.com/b=c".to_owned()]).expect_err("nothing").to_string();
    for part in
        ["unresolvable CDI devices a.com/b=c", "cdiVersion", "unknown field `fly`", "nobody"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_file_may_be_yaml() {
    let dir = tempfile::tempdir().expect("a directory");
    // As nvidia-ctk and sigs.k8s.io/yaml write it.
    let text = r#"---
cdiVersion: 0.5.0   # a version is no number
kind: nvidia.com/gpu
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - ../libnvidia-allocator.so.1::/usr/lib/gbm/nvidia-drm_gbm.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
    - hostPath: "/run/a\tb"
      containerPath: '/run/it''s'
      options: [ro, nosuid, "bind"]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      major: 195
      fileMode: 0o666
    -
      path: /dev/null
- name: all
  annotations: {a: b, "c": 'd'}
  containerEdits: {}
"#;
    fs::write(dir.path().join("nvidia.yaml"), text).expect("written");
    let edits = resolve(&[dir.path().to_owned()], &["nvidia.com/gpu=0".to_owned()]);
    let edits = edits.expect("described");
    assert_eq!(edits[0].env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    let mut spec = json!({ "process": { "env": [] }, "mounts": [], "linux": { "resources": {} } });
    apply(&mut spec, &edits[..1]).expect("applied");
    assert_eq!(spec["mounts"][0]["destination"], "/run/it's");
    assert_eq!(spec["mounts"][0]["source"], "/run/a\tb");
    assert_eq!(spec["hooks"]["createContainer"][0]["args"][2], "--link");
}

#[test]
fn edits_change_the_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), "a.json", &described("one"));
    let dirs = [dir.path().to_owned()];
    let edits = resolve(&dirs, &["vendor.com/net=card0".to_owned()]).expect("described");
    let mut spec = json!({
        "process": { "env": ["CARD=image", "A=b"] }, "mounts": [], "linux": { "resources": {} },
    });
    apply(&mut spec, &edits).expect("applied");
    assert_eq!(spec["process"]["env"], json!(["CARD=one", "A=b", "ALL=1"]));
    let node = &spec["linux"]["devices"][0];
    assert_eq!(
        (&node["path"], &node["major"], &node["minor"]),
        (&json!("/dev/card"), &json!(1), &json!(3))
    );
    let rule = &spec["linux"]["resources"]["devices"][0];
    assert_eq!((&rule["access"], &rule["type"]), (&json!("rw"), &json!("c")));
    assert_eq!(spec["mounts"][0]["destination"], "/lib/x");
    assert_eq!(spec["hooks"]["createContainer"][0]["args"], json!(["true"]));
    assert_eq!(paths(&dirs, "vendor.com/net=card0"), ["/srv", "/dev/null"]);
}
