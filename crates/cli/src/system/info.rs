//! `hull info` and `hull version`.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::doctor::pods;
use crate::error::Error;
use crate::format::{documents, for_people};
use crate::output;
use crate::units::memory;
use crate::verb::Verb;

/// This program's architecture, by the word of images.
pub(crate) const ARCHITECTURE: &str =
    if cfg!(target_arch = "x86_64") { "amd64" } else { std::env::consts::ARCH };

/// `hull info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Show which pods this host can have, found out by trying
    #[arg(long)]
    pods: bool,
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// `hull version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Info {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if self.pods {
            return pods::show(client, self.format.as_deref()).await;
        }
        let info = client.get(&Page::new(&["info"])).await?;
        if !for_people(self.format.as_deref()) {
            return documents(vec![info], self.format.as_deref()).map(|()| 0);
        }
        for (name, value) in facts(&info) {
            output::line(format_args!("{name}: {value}"));
        }
        for warning in info["Warnings"].as_array().into_iter().flatten() {
            eprintln!("{}", warning.as_str().unwrap_or_default());
        }
        Ok(0)
    }
}

fn facts(info: &Value) -> Vec<(String, String)> {
    let text = |key: &str| match &info[key] {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    };
    let list = |value: &Value| {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(", ")
    };
    let running = format!(
        "{} ({} running, {} paused, {} stopped)",
        text("Containers"),
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped")
    );
    let mut facts = vec![
        ("Engine", format!("hull {}", text("ServerVersion"))),
        ("Root", text("DockerRootDir")),
        ("Default isolation", text("Isolation")),
        ("Allowed isolation", list(&info["Hull"]["AllowedIsolation"])),
        ("Containers", running),
        ("Images", text("Images")),
        ("Log driver", text("LoggingDriver")),
        ("Security", list(&info["SecurityOptions"])),
        ("Mirrors", list(&info["RegistryConfig"]["Mirrors"])),
        ("Insecure registries", list(&info["RegistryConfig"]["InsecureRegistryCIDRs"])),
        ("Labels", list(&info["Labels"])),
        ("Host", text("Name")),
        ("System", text("OperatingSystem")),
        ("Kernel", text("KernelVersion")),
        ("Architecture", text("Architecture")),
        (
            "Control groups",
            format!("version {} by {}", text("CgroupVersion"), text("CgroupDriver")),
        ),
        ("Processors", text("NCPU")),
        ("Memory", memory(info["MemTotal"].as_u64().unwrap_or(0))),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    let mut facts: Vec<_> =
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (id, wall) in info["Hull"]["Walls"].as_object().into_iter().flatten() {
        let fields = wall.as_object().into_iter().flatten();
        let fields = fields
            .map(|(key, value)| format!("{key} {}", value.as_str().unwrap_or(&value.to_string())));
        facts.push((
            format!("VM of {}", crate::format::short(id)),
            fields.collect::<Vec<_>>().join(", "),
        ));
    }
    facts
}

impl Verb for Version {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let server = client.get(&Page::new(&["version"])).await;
        let own = json!({
            "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": "1.51", "Os": "linux",
            "Arch": ARCHITECTURE,
        });
        if !for_people(self.format.as_deref()) {
            let both = json!({ "Client": own, "Server": server? });
            return documents(vec![both], self.format.as_deref()).map(|()| 0);
        }
        output::line(format_args!("hull {}", env!("CARGO_PKG_VERSION")));
        // The client's version is known without an engine.
        let server = server?;
        let text = |key: &str| server[key].as_str().unwrap_or_default();
        let (oldest, newest) = (text("MinAPIVersion"), text("ApiVersion"));
        let version = text("Version");
        output::line(format_args!("hulld {version} (Docker API {oldest} to {newest})"));
        Ok(0)
    }
}
