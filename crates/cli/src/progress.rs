//! How an image's transfer goes: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::{output, terminal};

/// A layer while bytes are counted.
const BAR: &str =
    "{prefix}: {msg:18} [{bar:24}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {eta:>4}";
/// A layer otherwise.
const LINE: &str = "{prefix}: {msg}";

/// Tells messages of `images/create`, `push` and `load`.
pub(crate) enum Progress {
    /// A line a layer, redrawn.
    Bars { all: MultiProgress, layers: HashMap<String, ProgressBar> },
    /// A line a step, to standard error if true.
    Lines { errors: bool },
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Bars where standard output is a terminal.
    pub(crate) fn output() -> Self {
        if terminal::output() && terminal::draws() {
            Self::bars()
        } else {
            Self::Lines { errors: false }
        }
    }

    /// The same on standard error, for `run`: its output is the program's.
    pub(crate) fn errors() -> Self {
        if terminal::draws() { Self::bars() } else { Self::Lines { errors: true } }
    }

    fn bars() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self::Bars { all, layers: HashMap::new() }
    }

    /// Tells one message.
    pub(crate) fn tell(&mut self, message: &Value) {
        let status = message["status"].as_str().or_else(|| message["stream"].as_str());
        let Some(status) = status.map(str::trim_end).filter(|text| !text.is_empty()) else {
            return;
        };
        let id = message["id"].as_str();
        let detail = &message["progressDetail"];
        match self {
            Self::Quiet => {}
            Self::Lines { .. } if !detail["current"].is_null() => {}
            Self::Lines { errors } => {
                let line = id.map_or_else(|| status.to_owned(), |id| format!("{id}: {status}"));
                if *errors { eprintln!("{line}") } else { output::line(line) }
            }
            Self::Bars { all, layers } => match id {
                Some(id) => {
                    let bar = layers.entry(id.to_owned()).or_insert_with(|| bar(all, id));
                    show(bar, status, detail);
                }
                // Above the bars; a failure is told when they end.
                None => drop(all.println(status)),
            },
        }
    }
}

fn bar(all: &MultiProgress, id: &str) -> ProgressBar {
    let bar = all.add(ProgressBar::new(0).with_prefix(id.to_owned()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, status: &str, detail: &Value) {
    let style = |template| {
        ProgressStyle::with_template(template).expect("a constant").progress_chars("=> ")
    };
    let (current, total) = (detail["current"].as_u64(), detail["total"].as_u64());
    match (current, total) {
        (Some(current), Some(total)) if total > 0 => {
            if bar.length() != Some(total) || bar.message() != status {
                bar.set_style(style(BAR));
                bar.set_length(total);
                bar.reset_eta();
            }
            bar.set_position(current);
        }
        _ => bar.set_style(style(LINE)),
    }
    bar.set_message(status.to_owned());
    if status.ends_with("complete") || status.starts_with("Already") || status == "Pushed" {
        bar.disable_steady_tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bars { layers, .. } = self {
            layers.values().for_each(ProgressBar::abandon);
        }
    }
}
