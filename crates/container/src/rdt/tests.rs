//! On a directory that looks like a resctrl filesystem: hardware that has one is rare.

use super::*;

/// A root with both kinds of shares and a group `gold`.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("hull-rdt-{}-{name}", std::process::id()));
        for directory in ["info/L3", "info/MB", "mon_groups", "gold/mon_groups"] {
            fs::create_dir_all(root.join(directory)).expect("made");
        }
        fs::write(root.join("gold/schemata"), "    L3:0=00ff;1=f0f0\n    MB:0= 20;1=100\n")
            .expect("written");
        fs::write(root.join("info/last_cmd_status"), "ok\n").expect("written");
        Self(root)
    }

    fn plan(&self, text: &str) -> Result<Group, String> {
        let rdt: LinuxIntelRdt = serde_json::from_str(text).expect("json");
        Group::beneath(self.0.clone(), &rdt, "web").map_err(|error| error.to_string())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_group_of_its_own_is_made_joined_and_removed() {
    let fake = Fake::new("own");
    let text = r#"{"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50", "schemata": ["L2:0=3"]}"#;
    let group = fake.plan(text).expect("planned");
    group.make(&serde_json::from_str(text).expect("json")).expect("made");
    group.join(7).expect("joined");
    assert_eq!(fake.read("web/schemata"), "L3:0=f\nMB:0=50\nL2:0=3\n");
    assert_eq!(fake.read("web/tasks"), "7");
    // Unlike the kernel's, these files keep a directory from being removed.
    fs::remove_file(fake.0.join("web/tasks")).expect("removed");
    let other = serde_json::from_str(r#"{"l3CacheSchema": "L3:0=3"}"#).expect("json");
    group.change(&other).expect("changed");
    assert_eq!(fake.read("web/schemata"), "L3:0=3\n");
    fs::remove_file(fake.0.join("web/schemata")).expect("removed");
    group.remove().expect("removed");
    assert!(!fake.0.join("web").exists());
    group.remove().expect("gone is as good");
}

#[test]
fn a_group_by_name_stays_and_its_monitoring_group_goes() {
    let fake = Fake::new("named");
    let text = r#"{"closID": "gold", "enableMonitoring": true}"#;
    let group = fake.plan(text).expect("planned");
    group.make(&serde_json::from_str(text).expect("json")).expect("made");
    group.join(7).expect("joined");
    assert_eq!(fake.read("gold/mon_groups/web/tasks"), "7");
    assert!(fake.read("gold/schemata").contains("00ff"), "not written");
    fs::remove_file(fake.0.join("gold/mon_groups/web/tasks")).expect("removed");
    group.remove().expect("removed");
    assert!(fake.0.join("gold").exists() && !fake.0.join("gold/mon_groups/web").exists());
}

#[test]
fn the_default_class_is_the_root_and_a_named_one_may_be_made() {
    let fake = Fake::new("default");
    let group = fake.plan(r#"{"closID": "/"}"#).expect("planned");
    group.join(9).expect("joined");
    assert_eq!(fake.read("tasks"), "9");
    let text = r#"{"closID": "new", "schemata": ["L3:0=1"]}"#;
    let group = fake.plan(text).expect("planned");
    group.make(&serde_json::from_str(text).expect("json")).expect("made");
    group.remove().expect("nothing to do");
    assert_eq!(fake.read("new/schemata"), "L3:0=1\n");
}

#[test]
fn what_is_not_so_or_cannot_be_is_refused_by_its_field() {
    let fake = Fake::new("refused");
    for (text, want) in [
        (r#"{"closID": "none"}"#, "closID: "),
        (r#"{"closID": ".."}"#, "closID"),
        (r#"{"closID": "a/b"}"#, "closID"),
        (r#"{"closID": "gold", "l3CacheSchema": "L3:0=f"}"#, "L3:0=f is not so"),
        (r#"{"schemata": ["L3:0=f\nMB:0=1"]}"#, "more than one line"),
        (r#"{"memBwSchema": "L3:0=1"}"#, "does not begin with MB:"),
    ] {
        let said = fake.plan(text).expect_err(text);
        assert!(said.contains(want), "{text}: {said}");
    }
    let same =
        r#"{"closID": "gold", "l3CacheSchema": "L3:0=FF;01=f0f0", "memBwSchema": "MB:0=20"}"#;
    assert!(fake.plan(same).is_ok());
    fs::remove_dir(fake.0.join("info/MB")).expect("removed");
    assert!(fake.plan(r#"{"memBwSchema": "MB:0=1"}"#).is_err());
}
