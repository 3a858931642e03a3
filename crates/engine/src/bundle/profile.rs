//! A client's own system call filter: a profile as Docker's, made an OCI filter.
//!
//! Beyond OCI a profile has rules that hold only with a capability, on an architecture or from a
//! version of the kernel on, and the older spelling of one name a rule.
//!
//! Spec: Docker's "Seccomp security profiles"; OCI runtime-spec, config-linux.md "Seccomp".

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// The machine's architecture as profiles spell it.
#[cfg(target_arch = "x86_64")]
const HERE: (&str, &str) = ("amd64", "SCMP_ARCH_X86_64");
/// The machine's architecture as profiles spell it.
#[cfg(target_arch = "aarch64")]
const HERE: (&str, &str) = ("arm64", "SCMP_ARCH_AARCH64");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    listener_path: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The filter that the profile `text` describes for a container with these capabilities.
pub(super) fn filter(text: &str, capabilities: &[String]) -> Result<Value, Error> {
    let invalid = |problem: String| Error::Invalid { field: "HostConfig.SecurityOpt", problem };
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| invalid(format!("Decoding seccomp profile failed: {error}")))?;
    if profile.listener_path.is_some_and(|path| !path.is_empty()) {
        let problem = "seccomp listenerPath: nobody listens for notifications".to_owned();
        return Err(Error::Unsupported { field: "HostConfig.SecurityOpt", problem });
    }
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
             'architectures' or 'archMap'"
                .to_owned(),
        ));
    }
    let mut architectures = profile.architectures;
    if let Some(here) = profile.arch_map.into_iter().find(|one| one.architecture == HERE.1) {
        architectures.push(here.architecture);
        architectures.extend(here.sub_architectures.unwrap_or_default());
    }
    let mut rules = Vec::new();
    for rule in profile.syscalls.into_iter().flatten() {
        if rule.holds(capabilities) {
            rules.push(rule.oci().map_err(invalid)?);
        }
    }
    let mut filter = json!({
        "defaultAction": profile.default_action, "architectures": architectures, "syscalls": rules,
    });
    if let Some(errno) = profile.default_errno_ret {
        filter["defaultErrnoRet"] = errno.into();
    }
    if !profile.flags.is_empty() {
        filter["flags"] = profile.flags.into();
    }
    Ok(filter)
}

impl Rule {
    fn holds(&self, capabilities: &[String]) -> bool {
        let has = |name: &String| capabilities.contains(name);
        let here = |arch: &String| arch == HERE.0;
        let include = self.includes.as_ref().is_none_or(|wanted| {
            wanted.caps.iter().flatten().all(has)
                && wanted.arches.as_ref().is_none_or(|all| all.is_empty() || all.iter().any(here))
                && wanted.min_kernel.as_deref().is_none_or(kernel_is_at_least)
        });
        let exclude = self.excludes.as_ref().is_some_and(|unwanted| {
            unwanted.caps.iter().flatten().any(has)
                || unwanted.arches.iter().flatten().any(here)
                || unwanted.min_kernel.as_deref().is_some_and(kernel_is_at_least)
        });
        include && !exclude
    }

    fn oci(self) -> Result<Value, String> {
        let mut names = self.names.unwrap_or_default();
        if !self.name.is_empty() {
            if !names.is_empty() {
                return Err("both 'name' and 'names' are specified in a seccomp rule".to_owned());
            }
            names.push(self.name);
        }
        let mut rule = Map::new();
        rule.insert("names".into(), names.into());
        rule.insert("action".into(), self.action.into());
        if let Some(errno) = self.errno_ret {
            rule.insert("errnoRet".into(), errno.into());
        }
        match self.args {
            Some(args) if !args.is_empty() => drop(rule.insert("args".into(), args.into())),
            _ => {}
        }
        Ok(rule.into())
    }
}

/// Whether this kernel is of `version`, as `4.8`, or later.
fn kernel_is_at_least(version: &str) -> bool {
    let numbers = |text: &str| {
        let mut numbers = text.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    let here = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    numbers(&here) >= numbers(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(capabilities: &[&str]) -> Vec<String> {
        let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[],"includes":{},"excludes":{}},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,
             "excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"name":"ptrace","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"name":"future","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"400.0"}},
            {"name":"s390","action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}}]}"#;
        let capabilities: Vec<_> = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let filter = filter(profile, &capabilities).expect("a profile");
        serde_json::from_value::<spec::oci::runtime::LinuxSeccomp>(filter.clone()).expect("OCI's");
        let rules = filter["syscalls"].as_array().expect("rules").clone();
        rules.iter().map(|rule| rule["names"][0].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_rule_holds_under_its_conditions() {
        assert_eq!(names(&[]), ["read", "clone3", "ptrace"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"]), ["read", "mount", "ptrace"]);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for text in ["", "{}", "[]", "/etc/passwd"] {
            assert!(filter(text, &[]).is_err(), "{text}");
        }
    }
}
