//! Which modules a guest's kernel needs, in the order they are loaded.
//!
//! Spec: kmod's modules.dep(5): `file: dependency…`, and modules.builtin, one file a line.

use std::collections::{BTreeMap, BTreeSet};

/// What the guest's devices and filesystems need; names as `modprobe` takes them.
pub const NEEDED: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "fuse",
    "overlay",
    "erofs",
    "ext4",
];

/// What a guest needs for disks that it gets while it runs, such as those of another container of its pod.
/// Without them it runs, with the disks that it was started with.
pub const LATER: [&str; 2] = ["virtio_scsi", "sd_mod"];

/// Modules that some kernels have apart and others not at all: taken along where they are.
pub const WANTED: [&str; 6] =
    ["crc32c_generic", "crc32c_intel", "af_packet", "virtio_balloon", "virtio_scsi", "sd_mod"];

/// A module tree's dependencies.
#[derive(Debug)]
pub struct Tree<'a> {
    /// Module name to its file and its dependencies' files.
    found: BTreeMap<String, (&'a str, Vec<&'a str>)>,
    builtin: BTreeSet<String>,
}

impl<'a> Tree<'a> {
    /// Reads the texts of `modules.dep` and `modules.builtin`.
    #[must_use]
    pub fn parse(dep: &'a str, builtin: &str) -> Self {
        let found = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((name(file), (file, needs.split_whitespace().collect())))
        });
        Self { found: found.collect(), builtin: builtin.lines().map(name).collect() }
    }

    /// Files to load, dependencies first, none twice; what is built in is left out.
    ///
    /// # Errors
    ///
    /// The first name of `needed` that the kernel has neither as a module nor built in.
    pub fn order<'n>(&self, needed: &[&'n str], wanted: &[&str]) -> Result<Vec<&'a str>, &'n str> {
        let mut order = Vec::new();
        for module in wanted {
            if self.found.contains_key(*module) {
                self.visit(module, &mut order);
            }
        }
        for module in needed {
            if self.found.contains_key(*module) {
                self.visit(module, &mut order);
            } else if !self.has(module) {
                return Err(module);
            }
        }
        Ok(order)
    }

    /// The first of `names` that the kernel has neither as a module nor built in.
    #[must_use]
    pub fn lacks<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().find(|name| !self.has(name)).copied()
    }

    fn has(&self, module: &str) -> bool {
        self.found.contains_key(module) || self.builtin.contains(module)
    }

    /// modules.dep lists the whole closure, what is needed last first: adding it from its end, with each
    /// one's own dependencies before it, is right even where a tool wrote another order. Cycles cannot
    /// be loaded by anyone; a file met again is left out.
    fn visit(&self, module: &str, order: &mut Vec<&'a str>) {
        let Some((file, needs)) = self.found.get(module) else { return };
        if order.contains(file) {
            return;
        }
        for need in needs.iter().rev() {
            if name(need) != module && !order.contains(need) {
                self.visit(&name(need), order);
            }
        }
        order.push(file);
    }
}

/// `kernel/fs/fuse/virtio-fs.ko.xz` is `virtio_fs`.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio-ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio-ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
";

    #[test]
    fn a_module_comes_after_all_it_needs_and_only_once() {
        let tree = Tree::parse(DEP, "kernel/fs/fuse/fuse.ko\n");
        let order = tree.order(&["virtio_pci", "ext4", "fuse", "virtio_ring"], &[]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio-ring.ko",
                "kernel/drivers/virtio/virtio_pci.ko.xz",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/fs/mbcache.ko",
                "kernel/lib/crc16.ko",
                "kernel/fs/ext4/ext4.ko",
            ]
        );
    }

    #[test]
    fn a_module_the_kernel_lacks_is_named_unless_it_is_optional() {
        let tree = Tree::parse(DEP, "");
        assert_eq!(tree.order(&["ext4", "erofs"], &[]), Err("erofs"));
        assert_eq!(tree.order(&[], &["crc32c_intel"]), Ok(vec![]));
    }

    #[test]
    fn a_module_is_there_as_a_file_or_built_in() {
        let tree = Tree::parse(DEP, "kernel/drivers/scsi/sd_mod.ko\n");
        assert_eq!(tree.lacks(&["ext4", "sd_mod"]), None);
        assert_eq!(tree.lacks(&LATER), Some("virtio_scsi"));
    }

    #[test]
    fn what_later_disks_need_is_loaded_where_it_is() {
        assert!(LATER.iter().all(|name| WANTED.contains(name) && !NEEDED.contains(name)));
    }
}
