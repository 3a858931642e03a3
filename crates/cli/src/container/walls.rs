//! `hull inspect --walls`: what crosses the walls of containers.

use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::error::Error;
use crate::{output, table};

/// Prints everything that crosses the walls of the containers with these names, or that nothing does.
pub(crate) async fn show(client: &Client, names: &[String], json: bool) -> Result<u8, Error> {
    let mut found = Vec::new();
    for name in names {
        let seen = client.get(&Page::new(&["containers", name, "json"])).await?;
        found.push(json!({
            "Id": seen["Id"],
            "Name": seen["Name"].as_str().unwrap_or_default().trim_start_matches('/'),
            "Isolation": seen["HostConfig"]["Isolation"],
            "Piercings": seen["Hull"]["Piercings"],
        }));
    }
    if json {
        output::line(format_args!("{:#}", Value::Array(found)));
        return Ok(0);
    }
    for container in found {
        people(&container);
    }
    Ok(0)
}

fn people(container: &Value) {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (name, isolation) = (text(container, "Name"), text(container, "Isolation"));
    let pierced = container["Piercings"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pierced.is_empty() {
        return output::line(format_args!("{name} ({isolation}): nothing crosses its wall"));
    }
    output::line(format_args!("{name} ({isolation}):"));
    let keys = ["Kind", "Inside", "Outside", "Access", "Reach", "Risk"];
    let rows = pierced.iter().map(|one| keys.map(|key| text(one, key)).to_vec());
    let heads = keys.map(str::to_uppercase).to_vec();
    table::print(heads, rows, false);
}
