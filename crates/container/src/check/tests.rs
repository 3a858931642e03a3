use std::collections::HashMap;
use std::path::Path;

use super::*;

#[test]
fn a_kernel_parameter_is_a_file_by_either_separator() {
    for (key, want) in [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel.sem", "kernel/sem"),
    ] {
        assert_eq!(spec::sysctl::path(key), Path::new(want), "{key}");
    }
}

#[test]
fn only_parameters_of_an_own_namespace_may_be_set() {
    let with = |key: &str, has: bool| {
        sysctl::sysctl(&HashMap::from([(key.to_owned(), "1".to_owned())]), |_| has).is_ok()
    };
    for (key, has, want) in [
        ("net.ipv4.ip_forward", true, true),
        ("net.ipv4.ip_forward", false, false),
        ("kernel.shmmax", true, true),
        ("kernel.panic", true, false),
        ("vm.swappiness", true, false),
        ("net/../kernel/panic", true, false),
        ("net.//.kernel.panic", true, false),
        ("kernel.hostname", true, false),
        ("kernel.domainname", true, true),
        ("kernel.domainname", false, false),
        ("kernel/shm_rmid_forced", true, true),
        ("fs.mqueue.msg_max", true, true),
        ("fs.file-max", true, false),
        ("user.max_user_namespaces", true, true),
        ("user.max_user_namespaces", false, false),
        ("/net/ipv4/ip_forward", true, false),
        ("", true, false),
    ] {
        assert_eq!(with(key, has), want, "{key} {has}");
    }
}

#[test]
fn a_version_is_one_of_major_1() {
    for (text, valid) in [
        ("1.0.2", true),
        ("1.0.2-dev", true),
        ("1.3.0", true),
        ("1.0.0-rc1", true),
        ("1.0.0-rc.1+build.5", true),
        ("1.99.0", true),
        ("1.0", false),
        ("1.0.0.0", false),
        ("1.x.0", false),
        ("1..0", false),
        ("2.0.0", false),
        ("1", false),
        ("", false),
        ("x.1.2", false),
    ] {
        assert_eq!(version(text).is_ok(), valid, "{text:?}");
    }
}
