//! The packet filter of one bridge: a table of our own, `hull-<bridge>`, and nothing else.
//!
//! Applied when the bridge is made, in one transaction (`nft -j -f -`) that replaces the table whole,
//! so that it is never half there. No rule of anybody else is read or changed.
//!
//! ```text
//!   table inet hull-hull0
//!     chain guard        to the host's loopback from a container           -> drop
//!     chain postrouting  from a subnet, out by another device            -> masquerade
//!                        among a subnet's, by a published port           -> masquerade
//!     chain forward      to the bridge from elsewhere, unless it answers a container
//!                        or was sent there by a published port             -> drop
//!     chain forward, internal    to or from elsewhere                      -> drop
//! ```
//!
//! Containers so reach the world, and the world reaches published ports. The rule drops; it never
//! overrides: a packet passes the `forward` hook only if *every* base chain lets it through, so the
//! host's own firewall keeps the last word. A host whose firewall drops forwarded packets (the
//! policy that dockerd sets, for one) must let `iifname "hull0"` and the answers to it pass; Hull
//! does not do so behind its administrator's back.
//!
//! Spec: libnftables-json(5), nft(8) "Add/remove tables, chains, rules".

use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spec::Kind;

use crate::bridge::Plan;
use crate::name::InterfaceName;

/// Priority of source address translation on the postrouting hook.
const SRCNAT: i32 = 100;
/// Priority of what comes before everything else on the prerouting hook.
const RAW: i32 = -300;

/// Why the packet filter is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error("run nft (Debian: apt-get install nftables)")]
    Run(#[source] io::Error),
    /// nft said no; its words are all there is to know.
    #[error("set packet filter {table}: nft: {says}")]
    Refused {
        /// Our table.
        table: String,
        /// The first line of its standard error.
        says: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::Unsupported,
            Self::Refused { .. } => Kind::Internal,
        }
    }
}

/// Puts the table of `bridge` in place; one from an earlier run is replaced.
pub(crate) fn apply(bridge: &InterfaceName, plan: &Plan) -> Result<(), Error> {
    nft(&table_name(bridge), &["-j"], &ruleset(bridge, plan).to_string())
}

/// Removes the table of `bridge`. One that is not there is no error.
pub(crate) fn remove(bridge: &InterfaceName) -> Result<(), Error> {
    let table = table(bridge);
    // To delete what may not be there, add it first: both happen in one transaction.
    let batch = json!({ "nftables": [{ "add": table }, { "delete": table }] });
    nft(&table_name(bridge), &["-j"], &batch.to_string())
}

fn table_name(bridge: &InterfaceName) -> String {
    format!("hull-{bridge}")
}

fn table(bridge: &InterfaceName) -> Value {
    json!({ "table": { "family": "inet", "name": table_name(bridge) } })
}

fn ruleset(bridge: &InterfaceName, plan: &Plan) -> Value {
    let table = table(bridge);
    let chain = |name: &str, kind: &str, hook: &str, priority: i32| {
        json!({ "add": { "chain": {
            "family": "inet", "table": table_name(bridge), "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        }}})
    };
    let rule = |chain: &str, expr: &Value| {
        json!({ "add": { "rule": {
            "family": "inet", "table": table_name(bridge), "chain": chain, "expr": expr,
        }}})
    };
    let device = |op, key: &str| compare(op, &json!({ "meta": { "key": key } }), &json!(bridge));
    let not_an_answer = compare(
        "!=",
        &json!({ "ct": { "key": "state" } }),
        &json!({ "set": ["established", "related"] }),
    );
    let published = compare("in", &json!({ "ct": { "key": "status" } }), &json!("dnat"));
    let (drop, accept) = (json!({ "drop": null }), json!({ "accept": null }));
    let masquerade = json!({ "masquerade": null });
    let mut batch = vec![
        json!({ "add": table }),
        json!({ "delete": table }),
        json!({ "add": table }),
        chain("guard", "filter", "prerouting", RAW),
        rule(
            "guard",
            &json!([device("==", "iifname"), within("ip", "daddr", "127.0.0.0", 8), drop]),
        ),
        chain("postrouting", "nat", "postrouting", SRCNAT),
        chain("forward", "filter", "forward", 0),
    ];
    if plan.internal {
        batch.extend([("oifname", "iifname"), ("iifname", "oifname")].map(|(this, other)| {
            rule("forward", &json!([device("==", this), device("!=", other), drop]))
        }));
        return json!({ "nftables": batch });
    }
    for (family, network, prefix) in subnets(plan) {
        let of_subnet = |field: &str| within(family, field, &network, prefix);
        if plan.masquerade {
            let out = json!([of_subnet("saddr"), device("!=", "oifname"), masquerade]);
            batch.push(rule("postrouting", &out));
        }
        let hairpin = json!([of_subnet("saddr"), of_subnet("daddr"), published, masquerade]);
        batch.push(rule("postrouting", &hairpin));
    }
    batch.extend([
        rule("forward", &json!([device("==", "oifname"), published, accept])),
        rule(
            "forward",
            &json!([device("==", "oifname"), device("!=", "iifname"), not_an_answer, drop]),
        ),
    ]);
    json!({ "nftables": batch })
}

/// The bridge's subnets: how the filter calls the family, the network, and the prefix's length.
fn subnets(plan: &Plan) -> impl Iterator<Item = (&'static str, String, u8)> {
    let four = plan.layout.subnet;
    let six = plan.layout6.as_ref().map(|layout| layout.subnet);
    let six = six.map(|six| ("ip6", six.network().to_string(), six.prefix()));
    std::iter::once(("ip", four.network().to_string(), four.prefix())).chain(six)
}

fn within(family: &str, field: &str, network: &str, length: u8) -> Value {
    compare(
        "==",
        &json!({ "payload": { "protocol": family, "field": field } }),
        &json!({ "prefix": { "addr": network, "len": length } }),
    )
}

fn compare(op: &str, left: &Value, right: &Value) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right } })
}

/// Gives one transaction to nft, which is about `table`.
pub(crate) fn nft(table: &str, flags: &[&str], batch: &str) -> Result<(), Error> {
    let mut child = Command::new("nft")
        .args(flags)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Run)?;
    let mut stdin = child.stdin.take().expect("asked for a pipe");
    // An nft that dies early says why on its standard error; the broken pipe adds nothing.
    let _ = stdin.write_all(batch.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(Error::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let says = stderr.lines().next().unwrap_or("no reason given").to_owned();
    Err(Error::Refused { table: table.to_owned(), says })
}

/// Families and names of all tables.
pub(crate) fn tables(all: &Value) -> impl Iterator<Item = (&str, &str)> {
    let objects = all["nftables"].as_array().into_iter().flatten();
    objects.filter_map(|object| {
        let table = object.get("table")?;
        Some((table["family"].as_str()?, table["name"].as_str()?))
    })
}

/// The devices that have tables of their own which are called so and by the device.
pub(crate) fn devices_with(prefix: &str) -> Result<Vec<String>, Error> {
    let all = ask(&["list", "tables"])?;
    let devices = tables(&all).filter_map(|(_, name)| name.strip_prefix(prefix));
    // What does not begin so is of a bridge with a longer name.
    let mut devices: Vec<_> =
        devices.filter(|name| name.starts_with("veth-")).map(str::to_owned).collect();
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}

/// What nft says of the host's rules.
pub(crate) fn ask(words: &[&str]) -> Result<Value, Error> {
    let mut command = Command::new("nft");
    command.arg("-j").args(words).stdin(Stdio::null());
    let output = command.output().map_err(Error::Run)?;
    let refused = |says: &str| Error::Refused {
        table: words.last().copied().unwrap_or_default().to_owned(),
        says: says.lines().next().unwrap_or("no reason given").to_owned(),
    };
    if !output.status.success() {
        return Err(refused(&String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refused(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Layout, Subnet};

    #[test]
    fn every_command_of_a_batch_names_our_own_table() {
        let bridge: InterfaceName = "br-x".parse().expect("legal");
        let subnet: Subnet = "10.1.0.0/24".parse().expect("legal");
        let batch = ruleset(&bridge, &Layout::from(subnet).into());
        for command in batch["nftables"].as_array().expect("a list") {
            let object = command.get("add").or(command.get("delete")).expect("adds or deletes");
            let table = object.get("table").map(|table| &table["name"]).or_else(|| {
                let member = object.get("chain").or(object.get("rule"))?;
                member.get("table")
            });
            assert_eq!(table, Some(&json!("hull-br-x")), "{command}");
        }
    }
}
