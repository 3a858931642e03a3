//! `hull events`.

use clap::Args;
use hyper::Method;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Client, Page, lines};
use crate::error::Error;
use crate::filters::Filters;
use crate::output;
use crate::template::Template;
use crate::units::parse_moment;
use crate::verb::Verb;

/// `hull events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull events --since 1h --filter event=die --format '{{.Actor.Attributes.name}}'")]
pub(crate) struct Events {
    /// Those since this moment, or this long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Those until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    filters: Filters,
}

impl Verb for Events {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let filters = self.filters.json()?;
        let since = self.since.as_deref().map(|text| parse_moment("--since", text)).transpose()?;
        let until = self.until.as_deref().map(|text| parse_moment("--until", text)).transpose()?;
        let json = self.format.as_deref() == Some("json");
        let template = self.format.as_deref().filter(|_| !json).map(Template::parse).transpose()?;
        let mut query = vec![("filters", &*filters)];
        query.extend(since.iter().map(|time| ("since", &**time)));
        query.extend(until.iter().map(|time| ("until", &**time)));
        let events = client.stream(Method::GET, &Page::new(&["events"]).query(&query)).await?;
        let mut failed = None;
        lines(events, |event| match &template {
            Some(template) => match template.apply(&event) {
                Ok(line) => output::line(line),
                Err(error) => failed = Some(error),
            },
            None if json => output::line(event),
            None => output::line(told(&event)),
        })
        .await?;
        failed.map_or(Ok(0), |error| Err(error.into()))
    }
}

/// An event as docker prints it.
fn told(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nanoseconds = i128::from(event["timeNano"].as_i64().unwrap_or(0));
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    let time = time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    let attributes = event["Actor"]["Attributes"].as_object().into_iter().flatten();
    let attributes: Vec<String> =
        attributes.map(|(key, value)| format!("{key}={}", text(value))).collect();
    let of =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let (kind, action) = (text(&event["Type"]), text(&event["Action"]));
    format!("{time} {kind} {action} {}{of}", text(&event["Actor"]["ID"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = json!({
            "Type": "container", "Action": "die", "timeNano": 1_500_000_000_000_000_000_i64,
            "Actor": { "ID": "abc", "Attributes": { "exitCode": "1", "name": "web" } },
        });
        assert_eq!(told(&event), "2017-07-14T02:40:00Z container die abc (exitCode=1, name=web)");
    }
}
