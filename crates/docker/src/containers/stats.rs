//! `GET /containers/ID/stats`.

use std::time::{Duration, SystemTime};

use engine::{Counters, Engine, Sample};
use futures_util::stream;
use serde_json::{Map, Value, json};
use spec::usage::{Block, Counter, Usage};

use crate::call::Call;
use crate::clock;
use crate::reply::{self, both};
use crate::route::Answer;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// `GET /containers/ID/stats`: one document a second, each with what the one before counted, or just
/// one. That one has two samples behind it, unless it is to be `one-shot`.
pub(crate) async fn stats(call: &mut Call, id: &str) -> Answer {
    let streams = call.query.text("stream").is_none() || call.query.flag("stream");
    let first = call.engine.stats(id).await?;
    // The container keeps its id whatever it is called later.
    let (id, engine) = (first.id.clone(), call.engine.clone());
    if streams {
        return Ok(reply::lines(stream::unfold(Next::First(engine, first), Next::document)));
    }
    if call.query.flag("one-shot") || first.usage.is_none() {
        return Ok(reply::ok(&document(&first, None)));
    }
    tokio::time::sleep(PERIOD).await;
    let second = engine.stats(&id).await?;
    Ok(reply::ok(&document(&second, Some(&first))))
}

/// Where a stream of samples is.
enum Next {
    First(Engine, Sample),
    After(Engine, Sample),
}

impl Next {
    /// The next document; none once the container is removed.
    async fn document(self) -> Option<(Value, Self)> {
        match self {
            Self::First(engine, sample) => {
                Some((document(&sample, None), Self::After(engine, sample)))
            }
            Self::After(engine, before) => {
                tokio::time::sleep(PERIOD).await;
                let sample = engine.stats(&before.id).await.ok()?;
                Some((document(&sample, Some(&before)), Self::After(engine, sample)))
            }
        }
    }
}

fn document(sample: &Sample, before: Option<&Sample>) -> Value {
    let counted = |sample: &Sample| sample.usage.is_some().then_some(sample.time);
    let read = |time: Option<SystemTime>| clock::rfc3339_or_zero(time);
    let before = before.filter(|before| before.usage.is_some() && sample.usage.is_some());
    let usage = sample.usage.as_ref();
    let mut document = json!({
        "name": format!("/{}", sample.name),
        "id": sample.id,
        "read": read(counted(sample)),
        "preread": read(before.and_then(counted)),
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": usage.map_or_else(|| json!({}), pids),
        "blkio_stats": usage.map_or_else(|| block(&Block::default()), |usage| block(&usage.block)),
        "cpu_stats": cpu(usage),
        "precpu_stats": cpu(before.and_then(|before| before.usage.as_ref())),
        "memory_stats": usage.map_or_else(|| json!({}), memory),
    });
    if !sample.interfaces.is_empty() {
        let one = |(name, counters): (&String, &Counters)| (name.clone(), interface(counters));
        document["networks"] = Value::Object(sample.interfaces.iter().map(one).collect());
    }
    document
}

fn pids(usage: &Usage) -> Value {
    let limit = match usage.pids.limit {
        // Docker's number for "none".
        0 => u64::MAX,
        limit => limit,
    };
    json!({ "current": usage.pids.current, "limit": limit })
}

fn cpu(usage: Option<&Usage>) -> Value {
    let none = spec::usage::Cpu::default();
    let cpu = usage.map_or(&none, |usage| &usage.cpu);
    let mut used = json!({
        "total_usage": cpu.total,
        "usage_in_kernelmode": cpu.kernel,
        "usage_in_usermode": cpu.user,
    });
    if !cpu.each.is_empty() {
        used["percpu_usage"] = json!(cpu.each);
    }
    let mut document = json!({
        "cpu_usage": used,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_time,
        },
    });
    if usage.is_some() {
        document["system_cpu_usage"] = json!(cpu.system);
        document["online_cpus"] = json!(cpu.online);
    }
    document
}

/// On cgroup v1 there is more of it; clients tell the two apart by the names in `stats`.
fn memory(usage: &Usage) -> Value {
    let memory = &usage.memory;
    let document = json!({ "usage": memory.usage, "limit": memory.limit, "stats": memory.stat });
    if !memory.stat.contains_key("total_inactive_file") {
        return document;
    }
    both(document, json!({ "max_usage": memory.max, "failcnt": memory.failures }))
}

fn block(block: &Block) -> Value {
    let lists = [
        ("io_service_bytes_recursive", &block.service_bytes),
        ("io_serviced_recursive", &block.serviced),
        ("io_queue_recursive", &block.queued),
        ("io_service_time_recursive", &block.service_time),
        ("io_wait_time_recursive", &block.wait_time),
        ("io_merged_recursive", &block.merged),
        ("io_time_recursive", &block.time),
        ("sectors_recursive", &block.sectors),
    ];
    let entries = |list: &[Counter]| match list {
        [] => Value::Null,
        list => list.iter().map(counter).collect(),
    };
    Value::Object(lists.map(|(name, list)| (name.to_owned(), entries(list))).into_iter().collect())
}

fn counter(counter: &Counter) -> Value {
    let Counter { major, minor, op, value } = counter;
    json!({ "major": major, "minor": minor, "op": op, "value": value })
}

fn interface(counters: &Counters) -> Value {
    let all = [
        ("rx_bytes", counters.rx_bytes),
        ("rx_packets", counters.rx_packets),
        ("rx_errors", counters.rx_errors),
        ("rx_dropped", counters.rx_dropped),
        ("tx_bytes", counters.tx_bytes),
        ("tx_packets", counters.tx_packets),
        ("tx_errors", counters.tx_errors),
        ("tx_dropped", counters.tx_dropped),
    ];
    let all = all.map(|(name, count)| (name.to_owned(), count.into()));
    Value::Object(all.into_iter().collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(usage: Option<Usage>) -> Sample {
        Sample {
            id: "a".into(),
            name: "web".into(),
            time: SystemTime::UNIX_EPOCH + PERIOD,
            usage,
            interfaces: [("eth0".to_owned(), Counters { rx_bytes: 7, ..Counters::default() })]
                .into(),
        }
    }

    #[test]
    fn the_shape_tells_the_version_of_cgroups() {
        let mut usage = Usage::default();
        for (key, has_max) in [("inactive_file", false), ("total_inactive_file", true)] {
            usage.memory.stat = [(key.to_owned(), 1)].into();
            let document = document(&sample(Some(usage.clone())), None);
            assert_eq!(document["memory_stats"].get("max_usage").is_some(), has_max, "{key}");
        }
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        let document = document(&sample(None), Some(&sample(Some(Usage::default()))));
        assert_eq!(document["read"], "0001-01-01T00:00:00Z");
        assert_eq!(document["memory_stats"], json!({}));
        assert_eq!(document["cpu_stats"].get("system_cpu_usage"), None);
        assert_eq!(document["networks"]["eth0"]["rx_bytes"], 7);
    }
}
