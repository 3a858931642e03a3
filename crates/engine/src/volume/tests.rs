use spec::Kind;

use super::*;

fn named(name: &str) -> NewVolume {
    NewVolume { name: Some(name.to_owned()), ..NewVolume::default() }
}

#[test]
fn a_volume_outlives_the_engine_and_stays_while_it_is_used() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let root = temp.path().join("volumes");
    let volumes = Volumes::open(root.clone()).expect("new");
    let (volume, made) = volumes.create(&named("web")).expect("made");
    assert!(made && volume.mountpoint.is_dir());
    assert!(!volumes.create(&named("web")).expect("there").1);
    volumes.hold("web", "aa").expect("there");
    let refused = volumes.remove("web").unwrap_err();
    assert_eq!(refused.to_string(), "remove web: volume is in use - [aa]");
    assert_eq!(refused.kind(), Kind::Conflict);
    // A crash left one half made and one half removed.
    fs::create_dir_all(root.join("half.tmp/_data")).expect("directory");
    drop(volumes);
    let volumes = Volumes::open(root.clone()).expect("again");
    assert_eq!(volumes.list().len(), 1);
    volumes.create(&named("half")).expect("made");
    volumes.remove("web").expect("nobody uses it");
    assert_eq!(volumes.get("web").unwrap_err().to_string(), "get web: no such volume");
    assert!(!root.join("web").exists() && !root.join("web.tmp").exists());
}

#[test]
fn what_nobody_named_is_marked() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let volumes = Volumes::open(temp.path().join("v")).expect("new");
    let (volume, _) = volumes.create(&NewVolume::default()).expect("made");
    assert_eq!(volume.name.len(), 64);
    assert!(volume.labels.contains_key(ANONYMOUS));
}

#[test]
fn a_name_is_no_path() {
    for name in ["a", "", ".a", "a/b", "-a", "a b", "a.tmp", ".."] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for name in ["ab", "a.b_c-d", "0a"] {
        assert!(check_name(name).is_ok(), "{name}");
    }
}
