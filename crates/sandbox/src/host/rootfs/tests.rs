use std::fs;

use super::*;

/// Directories for an overlay, with names that an option string could not hold.
struct Bench {
    root: PathBuf,
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    target: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return None;
        }
        let root = std::env::temp_dir().join(format!("hull-{name}-{}", std::process::id()));
        let path = |part: &str| root.join(part);
        let lower = vec![path("top:a,b\\c"), path(&"bottom".repeat(30)), path("third=x")];
        let bench = Self {
            lower,
            upper: path("upper,lowerdir=/etc"),
            work: path("wo:rk"),
            target: path("rootfs"),
            root,
        };
        bench.lower.iter().chain([&bench.upper, &bench.work]).for_each(|path| {
            fs::create_dir_all(path).expect("a scratch directory");
        });
        fs::write(bench.lower[0].join("name"), "top").expect("a file");
        fs::write(bench.lower[1].join("name"), "bottom").expect("a file");
        fs::write(bench.lower[2].join("other"), "third").expect("a file");
        Some(bench)
    }

    fn holds_the_layers(&self) {
        let read = |name: &str| fs::read_to_string(self.target.join(name)).expect(name);
        assert_eq!((read("name"), read("other")), ("top".into(), "third".into()));
        fs::write(self.target.join("new"), "").expect("the overlay is writable");
        assert!(self.upper.join("new").exists());
        fs::remove_file(self.target.join("new")).expect("the overlay is writable");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = unmount(&self.target);
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn names_of_layers_are_not_options() {
    let Some(bench) = Bench::new("rootfs") else { return };
    mount_overlay(&bench.target, &bench.lower, &bench.upper, &bench.work).expect("mounted");
    bench.holds_the_layers();
    unmount(&bench.target).expect("unmounted");
    assert!(!bench.target.join("name").exists());
    unmount(&bench.target).expect("nothing to unmount is no failure");
}

#[test]
fn a_missing_layer_is_named() {
    let Some(bench) = Bench::new("rootfs-missing") else { return };
    let lower = [bench.root.join("nowhere")];
    let error = mount_overlay(&bench.target, &lower, &bench.upper, &bench.work).expect_err("gone");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().ends_with("nowhere"), "{error}");
}
