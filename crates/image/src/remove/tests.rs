use std::sync::Arc;

use super::*;
use crate::content::digest_of;
use crate::manifest::Descriptor;

fn image(names: &[&str]) -> Image {
    let config =
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = digest_of(b"manifest");
    let mut image = Image {
        id: digest_of(b"config"),
        manifest: manifest.clone(),
        config: Arc::new(serde_json::from_str(config).expect("a configuration")),
        extension: crate::Extension::default(),
        tags: Vec::new(),
        digests: Vec::new(),
        size: 0,
        chain: Vec::new(),
        parent: None,
        settled: true,
        descriptor: Descriptor {
            media_type: String::new(),
            digest: manifest,
            size: 0,
            platform: None,
        },
        blobs: Vec::new(),
    };
    for name in names {
        image.add_name(name.parse().expect("a name"));
    }
    image
}

/// What becomes of an image with `names`: how many names go, and whether it goes itself.
fn outcome(names: &[&str], what: &str, user: Option<bool>, force: bool) -> Option<(usize, bool)> {
    let image = image(names);
    let by: Vec<Use> = user
        .map(|running| Use {
            container: "c0ffee".parse().expect("an id"),
            image: image.id.clone(),
            running,
        })
        .into_iter()
        .collect();
    let what = if what == "ID" { image.id.to_string() } else { what.to_owned() };
    plan(&image, &what, &by, force).map(|plan| (plan.untag.len(), plan.delete)).ok()
}

#[test]
fn removal_follows_dockers_table() {
    let at = format!("a@{}", digest_of(b"index"));
    let (one, tags, two): (&[&str], &[&str], &[&str]) =
        (&["a:1", &at], &["a:1", "a:2", &at], &["a:1", "b:1", &at]);
    let (stopped, running) = (Some(false), Some(true));
    let cases = [
        ("the last tag takes its digest along", one, "a:1", None, false, Some((2, true))),
        ("a stopped container keeps the last name", one, "a:1", stopped, false, None),
        ("but not from force", one, "a:1", stopped, true, Some((2, true))),
        (
            "a running one keeps the image without names",
            one,
            "a:1",
            running,
            true,
            Some((2, false)),
        ),
        ("another tag is left", tags, "a:1", stopped, false, Some((1, false))),
        ("another repository is left", two, "a:1", running, false, Some((2, false))),
        ("the digest alone", two, &at, None, false, Some((1, false))),
        ("an id takes all names", one, "ID", None, false, Some((2, true))),
        ("an id with two tags", tags, "ID", None, false, None),
        ("an id with two repositories", two, "ID", None, false, None),
        ("by force", two, "ID", None, true, Some((3, true))),
        ("an id in use", one, "ID", stopped, false, None),
        ("an id in use, by force", one, "ID", stopped, true, Some((2, true))),
        ("an id that runs, by force", one, "ID", running, true, None),
        ("no names at all", &[], "ID", None, false, Some((0, true))),
    ];
    for (name, names, what, user, force, want) in cases {
        assert_eq!(outcome(names, what, user, force), want, "{name}");
    }
}
