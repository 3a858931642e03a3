//! What init is asked for, drawn from the configuration.

use std::borrow::Cow;

use spec::oci::runtime as oci;

use super::{Checked, CreateOptions, launcher_lists};
use crate::hook;
use crate::namespace;
use crate::record::Record;
use crate::request::{Layout, Plan, Request};
use crate::source::Sources;

/// Everything that init needs to know.
pub(super) fn request<'a>(
    options: &CreateOptions<'a>,
    checked: &'a Checked<'a>,
    record: &'a Record,
    state: &hook::State,
    sources: &Sources,
) -> Request<'a> {
    let (spec, linux) = (options.spec, checked.linux);
    let namespaces = &checked.namespaces;
    let makes = |kind| (namespaces.made | namespaces.made_by_init) & namespace::flag(kind) != 0;
    let hooks = spec.hooks().as_ref();
    let has_launcher_hooks = !launcher_lists(spec).iter().all(|(_, list)| list.is_empty());
    let create_container = hooks.and_then(|h| h.create_container().as_deref()).unwrap_or_default();
    let start_container = hooks.and_then(|h| h.start_container().as_deref()).unwrap_or_default();
    let any_hooks = !create_container.is_empty() || !start_container.is_empty();
    let plan = Plan {
        rootfs: Cow::Borrowed(&record.rootfs),
        layers: record.layers.as_ref().map(Cow::Borrowed),
        readonly: spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)),
        no_pivot: options.no_pivot,
        mount_namespace: namespaces.has_mount(),
        keyring: (!options.no_new_keyring).then(|| Cow::Borrowed(record.id.as_str())),
        loopback: makes(oci::LinuxNamespaceType::Network),
        cgroup_namespace: makes(oci::LinuxNamespaceType::Cgroup),
        clocks: makes(oci::LinuxNamespaceType::Time).then(|| clocks(linux)),
        user_namespace: namespaces.has_user(),
        cgroups: record.cgroup.clone(),
        propagation: linux.rootfs_propagation().as_deref().map(Cow::Borrowed),
        mount_label: linux.mount_label().as_deref().filter(|l| !l.is_empty()).map(Cow::Borrowed),
        mounts: Cow::Borrowed(spec.mounts().as_deref().unwrap_or_default()),
        devices: Cow::Borrowed(linux.devices().as_deref().unwrap_or_default()),
        masked: Cow::Borrowed(linux.masked_paths().as_deref().unwrap_or_default()),
        readonly_paths: Cow::Borrowed(linux.readonly_paths().as_deref().unwrap_or_default()),
        sysctl: linux.sysctl().as_ref().filter(|map| !map.is_empty()).map(Cow::Borrowed),
        hostname: spec.hostname().as_deref().filter(|n| !n.is_empty()).map(Cow::Borrowed),
        domainname: spec.domainname().as_deref().filter(|n| !n.is_empty()).map(Cow::Borrowed),
        launcher_hooks: has_launcher_hooks,
        create_container: Cow::Borrowed(create_container),
        start_container: Cow::Borrowed(start_container),
        state: any_hooks.then(|| state.clone()),
    };
    let user = namespaces.has_user();
    Request {
        process: Cow::Borrowed(checked.process),
        tasks: if user { Vec::new() } else { record.cgroup.tasks() },
        filter: checked.filter.as_ref().map(Cow::Borrowed),
        personality: linux.personality().as_ref().map(Cow::Borrowed),
        memory_policy: linux.memory_policy().as_ref().map(Cow::Borrowed),
        layout: Layout {
            namespaces: namespaces.entered_by_init().map(|(kind, _)| *kind).collect(),
            gate: true,
            rootfs: sources.rootfs.is_some(),
            mounts: sources.mounts.iter().map(|(index, _)| *index).collect(),
            devices: sources.devices.iter().map(|(index, _)| *index).collect(),
        },
        plan: Some(plan),
    }
}

/// `linux.timeOffsets` as the kernel reads them.
fn clocks(linux: &oci::Linux) -> String {
    let offsets = linux.time_offsets().iter().flatten();
    let line = |(clock, offset): (&String, &oci::LinuxTimeOffset)| {
        let (seconds, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        format!("{clock} {seconds} {nanos}\n")
    };
    offsets.map(line).collect()
}
