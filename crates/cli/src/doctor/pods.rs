//! `hull info --pods`: which pods this host can have, by the probes of `hull doctor`.
//!
//! ```text
//!   wall                 several containers in a pod                        else
//!   process              namespaces, control groups, seccomp and overlay    no
//!   hyperv               KVM boots a guest, which gets disks while it runs  partial: one container a VM
//!   hyperv, in software  QEMU, a kernel and its modules are there           partial: the same
//! ```
//!
//! Before all of that goes the engine's policy: a wall that it does not allow is refused.

mod host;

use std::collections::HashMap;

use serde_json::{Value, json};
use spec::annotation::KERNEL_MINIMUM;
use spec::kernel::Wish;
use spec::options::Accel;

use self::host::Facts;
use super::{Finding, Verdict};
use crate::client::Client;
use crate::error::Error;
use crate::format::{documents, for_people};
use crate::output::Paint;
use crate::{output, table};

/// Newer than any Linux.
const FUTURE: &str = "99.0";

/// Whether a pod can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pods {
    /// With several containers.
    Yes,
    /// With one container.
    Partial,
    /// Something is missing.
    No,
    /// The engine's policy is against it.
    Refused,
    /// It could not be found out.
    Unknown,
    /// This host is not such a one.
    NotHere,
}

/// One kind of host, and what it can do.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    host: String,
    workload: String,
    isolation: &'static str,
    pods: Pods,
    why: String,
    remedy: Option<String>,
}

/// Prints the matrix.
pub(crate) async fn show(client: &Client, format: Option<&str>) -> Result<u8, Error> {
    let facts = host::look(client).await;
    let rows = rows(&facts);
    if !for_people(format) {
        return documents(vec![document(&facts, &rows)], format).map(|()| 0);
    }
    let heads = ["HOST", "WORKLOAD", "ISOLATION", "PODS"].map(str::to_owned).to_vec();
    table::print(heads, rows.iter().map(Row::cells), false);
    output::line("");
    rows.iter().for_each(Row::explain);
    if let Some(said) = refusal(&facts) {
        output::line(format_args!(
            "\nEvery container of a pod must be satisfied by the pod's kernel, {}.\nOne that is not \
             is refused with both versions:\n  {said}",
            kernels(&facts),
        ));
    }
    Ok(0)
}

/// Which kernel a pod has, behind either wall.
fn kernels(facts: &Facts) -> String {
    let guests = facts.guests.join(" or ");
    let guests = if guests.is_empty() { "none".to_owned() } else { guests };
    format!("{} (process) or {guests} (hyperv)", facts.release)
}

/// What a container is told that asks for a newer kernel than its pod has.
fn refusal(facts: &Facts) -> Option<String> {
    let has = facts.guests.first().unwrap_or(&facts.release);
    let asked = HashMap::from([(KERNEL_MINIMUM.to_owned(), FUTURE.to_owned())]);
    let wish = Wish::of(Some(&asked)).ok()?;
    wish.check(has).err().map(|error| error.to_string())
}

fn rows(facts: &Facts) -> [Row; 5] {
    let own = facts.architecture;
    let row = |host: &str, workload: String, isolation, (pods, why, remedy)| Row {
        host: host.to_owned(),
        workload,
        isolation,
        pods,
        why,
        remedy,
    };
    let in_vm = || match facts.guests.len() {
        0 | 1 => format!("{own}, a kernel per pod"),
        several => format!("{own}, a kernel per pod, one of {several}"),
    };
    let linux = format!("Linux {}", facts.release);
    [
        row(&linux, format!("{own}, the host's kernel"), "process", process(facts)),
        row("KVM", in_vm(), "hyperv", with_kvm(facts)),
        row("no KVM", in_vm(), "hyperv (software)", in_software(facts)),
        row("minimal VM", in_vm(), "hyperv", minimal(facts)),
        row("hyperv-only policy", "any".to_owned(), "process", hyperv_only(facts)),
    ]
}

/// What is said of a row: whether, why, and the command that mends it.
type Answer = (Pods, String, Option<String>);

fn process(facts: &Facts) -> Answer {
    let refused = refused_by_policy(facts, "process");
    refused.or_else(|| lacking(&facts.process)).unwrap_or_else(|| {
        let found =
            facts.process.iter().map(|(name, finding)| format!("{name}: {}", finding.found));
        (Pods::Yes, found.collect::<Vec<_>>().join("; "), None)
    })
}

fn with_kvm(facts: &Facts) -> Answer {
    if let Some(answer) = refused_by_policy(facts, "hyperv").or_else(|| lacking(&facts.vm)) {
        return answer;
    }
    if facts.accel == Accel::Tcg {
        let remedy = "hulld --vm-accel auto".to_owned();
        return (
            Pods::No,
            "the engine was told to emulate: --vm-accel tcg".to_owned(),
            Some(remedy),
        );
    }
    match facts.boot.verdict {
        Verdict::Works => by_disks(facts, &facts.boot.found),
        Verdict::Untried => (Pods::Unknown, facts.boot.found.clone(), facts.boot.remedy.clone()),
        _ => (Pods::No, facts.boot.found.clone(), facts.boot.remedy.clone()),
    }
}

fn in_software(facts: &Facts) -> Answer {
    if let Some(answer) = refused_by_policy(facts, "hyperv").or_else(|| lacking(&facts.vm)) {
        return answer;
    }
    if facts.accel == Accel::Kvm {
        let remedy = "hulld --vm-accel auto".to_owned();
        return (Pods::No, "the engine does not emulate: --vm-accel kvm".to_owned(), Some(remedy));
    }
    let kvm = facts.boot.verdict == Verdict::Works && facts.accel == Accel::Auto;
    let when = if kvm { "where hulld --vm-accel tcg asks for it" } else { "QEMU emulates, slowly" };
    by_disks(facts, &format!("no hardware isolation: {when}"))
}

fn minimal(facts: &Facts) -> Answer {
    if let Some(answer) = refused_by_policy(facts, "hyperv") {
        return answer;
    }
    lacking(&facts.vm).unwrap_or_else(|| match facts.modules.verdict {
        Verdict::Works => (Pods::NotHere, facts.modules.found.clone(), None),
        _ => by_disks(facts, ""),
    })
}

/// Several containers where a VM gets disks while it runs, else one.
fn by_disks(facts: &Facts, found: &str) -> Answer {
    let modules = &facts.modules;
    let pods = match modules.verdict {
        Verdict::Works => return (Pods::Yes, found.to_owned(), None),
        Verdict::Degraded => Pods::Partial,
        Verdict::Untried | Verdict::Missing => Pods::No,
    };
    let all = [found, &modules.found].into_iter().filter(|text| !text.is_empty());
    (pods, all.collect::<Vec<_>>().join("; "), modules.remedy.clone())
}

fn hyperv_only(facts: &Facts) -> Answer {
    match &facts.policy {
        None => (
            Pods::Unknown,
            "no engine answers that would tell its policy".to_owned(),
            Some("hull system start".to_owned()),
        ),
        Some(allowed) => refused_by_policy(facts, "process").unwrap_or_else(|| {
            (Pods::NotHere, format!("the engine allows {}", allowed.join(" and ")), None)
        }),
    }
}

fn refused_by_policy(facts: &Facts, wall: &str) -> Option<Answer> {
    let allowed = facts.policy.as_ref()?;
    let refused = !allowed.iter().any(|name| name == wall);
    let remedy = format!("hulld --allowed-isolation {wall}");
    refused.then(|| {
        (Pods::Refused, format!("the engine allows {} only", allowed.join(" and ")), Some(remedy))
    })
}

/// The first of what is needed that is missing, or could not be tried.
fn lacking(needed: &[(&'static str, Finding)]) -> Option<Answer> {
    let first = |verdict| needed.iter().find(|(_, finding)| finding.verdict == verdict);
    let (pods, (name, finding)) = first(Verdict::Missing)
        .map(|found| (Pods::No, found))
        .or_else(|| first(Verdict::Untried).map(|found| (Pods::Unknown, found)))?;
    Some((pods, format!("{name}: {}", finding.found), finding.remedy.clone()))
}

impl Pods {
    /// The word, and what people read behind it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Yes => ("yes", ", multi-container"),
            Self::Partial => ("partial", ": one container per VM"),
            Self::No => ("no", ""),
            Self::Refused => ("refused", ""),
            Self::Unknown => ("unknown", ""),
            Self::NotHere => ("not here", ""),
        }
    }
}

impl Row {
    fn is_soft(&self) -> bool {
        self.isolation.ends_with("(software)")
    }

    fn cells(&self) -> Vec<String> {
        let (word, more) = self.pods.words();
        let soft = self.is_soft() && matches!(self.pods, Pods::Yes | Pods::Partial);
        let soft = if soft { "; no hardware isolation" } else { "" };
        let pods = format!("{word}{more}{soft}");
        vec![self.host.clone(), self.workload.clone(), self.isolation.to_owned(), pods]
    }

    fn explain(&self) {
        output::line(format_args!("{}, {}: {}", self.host, self.isolation, self.why));
        if let Some(remedy) = &self.remedy {
            let remedy = Paint::output().bold(format_args!("-> {remedy}"));
            output::line(format_args!("    {remedy}"));
        }
    }

    fn document(&self) -> Value {
        json!({
            "Host": self.host, "Workload": self.workload, "Isolation": self.isolation,
            "Pods": self.pods.words().0, "Why": self.why, "Remedy": self.remedy,
            "HardwareIsolation": self.isolation == "hyperv",
        })
    }
}

fn document(facts: &Facts, rows: &[Row]) -> Value {
    json!({
        "Rows": rows.iter().map(Row::document).collect::<Vec<_>>(),
        "Kernels": { "process": [facts.release], "hyperv": facts.guests },
        "Mismatch": refusal(facts),
    })
}

#[cfg(test)]
mod tests;
