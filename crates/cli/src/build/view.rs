//! How a build goes, told from the engine's messages.
//!
//! ```text
//!   plain   the classic builder's text as it comes
//!   live    a line a step, with its time; beneath the running one the end of its output
//!   quiet   the image's id; all that was said, if it fails
//! ```
//!
//! A command's output is hostile: in the live view it is text, whatever a terminal would make of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::Built;
use crate::error::Error;
use crate::output::{self, Paint};
use crate::progress::Progress;
use crate::{terminal, units};

/// Lines of a running command that are shown.
const TAIL: usize = 6;
/// Bytes of a step's output that are kept for the case that it fails.
const KEPT: usize = 4 << 20;
/// A step that is not yet over.
const RUNNING: &str = " => {wide_msg} {elapsed:>7}";
/// A line of its output.
const OUTPUT: &str = " => # {wide_msg}";

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Live on a terminal, else plain.
    Auto,
    Plain,
    Live,
    Quiet,
}

/// Tells a build's messages.
pub(super) struct View {
    told: Told,
    id: Option<String>,
}

enum Told {
    /// To standard error if true.
    Plain {
        errors: bool,
        progress: Progress,
    },
    Live(Live),
    Quiet {
        all: String,
    },
}

impl View {
    /// `printed` is true if standard output is taken by the result.
    pub(super) fn new(how: How, printed: bool) -> Self {
        let told = match how {
            How::Quiet => Told::Quiet { all: String::new() },
            How::Live => Told::Live(Live::new()),
            How::Auto if terminal::draws() => Told::Live(Live::new()),
            How::Auto | How::Plain => {
                Told::Plain { errors: printed, progress: Progress::Lines { errors: printed } }
            }
        };
        Self { told, id: None }
    }

    /// The context is on its way; `sent` is how many bytes of it are.
    pub(super) fn sending(&mut self, sent: Arc<AtomicU64>) {
        if let Told::Live(live) = &mut self.told {
            live.send(sent);
        }
    }

    /// Tells messages to the end.
    pub(super) async fn follow(
        mut self,
        answer: impl AsyncBufRead + Unpin,
    ) -> Result<Built, Error> {
        let mut lines = answer.lines();
        while let Some(line) = lines.next_line().await.map_err(Error::file("read the answer"))? {
            let Ok(message) = serde_json::from_str::<Value>(line.trim()) else { continue };
            if let Some(error) = failure(&message) {
                self.told.fail();
                return Err(error);
            }
            if let Some(id) = message["aux"]["ID"].as_str() {
                self.id = Some(id.to_owned());
            }
            self.told.hear(&message);
        }
        let cut = || Error::Build {
            code: 1,
            message: "the engine ended its answer without an image".to_owned(),
        };
        let id = self.id.ok_or_else(cut)?;
        self.told.end(&id);
        Ok(Built { id })
    }
}

/// The failure that a message tells; a command's exit status is its code, as with docker.
fn failure(message: &Value) -> Option<Error> {
    let text = message["errorDetail"]["message"].as_str().or_else(|| message["error"].as_str())?;
    let code = message["errorDetail"]["code"].as_u64().and_then(|code| u8::try_from(code).ok());
    Some(Error::Build {
        code: code.filter(|code| *code != 0).unwrap_or(1),
        message: text.to_owned(),
    })
}

impl Told {
    fn hear(&mut self, message: &Value) {
        match self {
            Self::Quiet { all } => all.push_str(message["stream"].as_str().unwrap_or_default()),
            Self::Plain { errors, progress } => match message["stream"].as_str() {
                Some(text) if *errors => eprint!("{text}"),
                Some(text) => output::text(text),
                None => progress.tell(message),
            },
            Self::Live(live) => live.hear(message),
        }
    }

    fn fail(&mut self) {
        match self {
            Self::Quiet { all } => eprint!("{all}"),
            Self::Plain { .. } => {}
            Self::Live(live) => live.fail(),
        }
    }

    fn end(&mut self, id: &str) {
        match self {
            Self::Quiet { .. } => output::line(id),
            Self::Plain { .. } => {}
            Self::Live(live) => live.end(id),
        }
    }
}

/// The live view.
struct Live {
    all: MultiProgress,
    step: Option<Step>,
    names: Vec<String>,
    begun: Instant,
}

/// The step that runs.
struct Step {
    title: String,
    begun: Instant,
    cached: bool,
    bar: ProgressBar,
    tail: VecDeque<ProgressBar>,
    output: Output,
}

impl Live {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, step: None, names: Vec::new(), begun: Instant::now() }
    }

    fn begin(&mut self, title: String, style: ProgressStyle) {
        self.finish(false);
        let bar = self.all.add(ProgressBar::new_spinner().with_style(style));
        bar.set_message(title.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.step = Some(Step {
            title,
            begun: Instant::now(),
            cached: false,
            bar,
            tail: VecDeque::new(),
            output: Output::default(),
        });
    }

    fn send(&mut self, sent: Arc<AtomicU64>) {
        let count = move |_: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = to.write_str(&units::bytes(sent.load(Ordering::Relaxed)));
        };
        let style = style(" => {msg} {sent} {elapsed:>7}").with_key("sent", count);
        self.begin("sending the context".to_owned(), style);
    }

    fn hear(&mut self, message: &Value) {
        if let Some(text) = message["stream"].as_str() {
            self.stream(text);
        } else if let Some(text) = message["status"].as_str() {
            let id = message["id"].as_str().map(|id| format!("{id}: ")).unwrap_or_default();
            let detail = message["progress"].as_str().unwrap_or_default();
            self.show(&format!("{id}{text} {detail}"));
        }
    }

    /// Text of the classic builder: its own lines, or a command's output.
    fn stream(&mut self, text: &str) {
        let line = text.trim_end();
        if let Some((place, title)) =
            line.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "))
        {
            return self.begin(format!("[{place}] {}", readable(title)), style(RUNNING));
        }
        let own =
            ["Successfully built ", " ---> Running in ", " ---> Removed intermediate container "];
        if line == " ---> Using cache" {
            if let Some(step) = &mut self.step {
                step.cached = true;
            }
        } else if let Some(name) = line.strip_prefix("Successfully tagged ") {
            self.names.push(name.to_owned());
        } else if !is_id(line) && !own.iter().any(|begin| line.starts_with(begin)) {
            if let Some(step) = &mut self.step {
                step.output.push(text);
            }
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                self.show(line);
            }
        }
    }

    /// Shows a line beneath the running step.
    fn show(&mut self, line: &str) {
        let Some(step) = &mut self.step else { return };
        if step.tail.len() < TAIL {
            let after = step.tail.back().unwrap_or(&step.bar);
            let bar =
                self.all.insert_after(after, ProgressBar::new_spinner().with_style(style(OUTPUT)));
            step.tail.push_back(bar);
        } else if let Some((first, rest)) = step.tail.make_contiguous().split_first() {
            let mut before = first;
            for bar in rest {
                before.set_message(bar.message());
                before = bar;
            }
        }
        if let Some(last) = step.tail.back() {
            last.set_message(readable(line));
            last.tick();
        }
    }

    /// The running step is over: its line stays, its output goes.
    fn finish(&mut self, failed: bool) {
        let Some(step) = self.step.take() else { return };
        step.tail.iter().for_each(ProgressBar::finish_and_clear);
        step.bar.finish_and_clear();
        let paint = Paint::errors();
        let mark = match (failed, step.cached) {
            (true, _) => paint.red("ERROR "),
            (false, true) => paint.green("CACHED "),
            (false, false) => String::new(),
        };
        let marked = if failed { 6 } else { usize::from(step.cached) * 7 };
        let time = format!("{:.1}s", step.begun.elapsed().as_secs_f64());
        let width = usize::from(terminal::error_columns().unwrap_or(80));
        let room = width.saturating_sub(4 + marked + time.len() + 2);
        let title: String = step.title.chars().take(room).collect();
        self.say(&format!(" => {mark}{title:room$} {time}"));
        if failed {
            self.say(&format!("------\n > {}:", step.title));
            step.output.lines().iter().for_each(|line| self.say(line));
            self.say("------");
        }
    }

    /// Prints what stays.
    fn say(&self, text: &str) {
        self.all.suspend(|| eprintln!("{text}"));
    }

    fn fail(&mut self) {
        self.finish(true);
    }

    fn end(&mut self, id: &str) {
        self.finish(false);
        let tags = std::mem::take(&mut self.names).join(", ");
        let named = if tags.is_empty() { tags } else { format!(", named {tags}") };
        let time = self.begun.elapsed().as_secs_f64();
        self.say(&format!(" => built {id}{named} in {time:.1}s"));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(step) = self.step.take() {
            step.tail.iter().for_each(ProgressBar::finish_and_clear);
            step.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant")
}

/// ` ---> 0123456789ab`, a step's image.
fn is_id(line: &str) -> bool {
    let id = line.strip_prefix(" --->").map(str::trim);
    id.is_some_and(|id| id.chars().all(|c| c.is_ascii_hexdigit()))
}

/// The end of a step's output.
#[derive(Debug, Default)]
struct Output {
    pieces: VecDeque<String>,
    kept: usize,
    dropped: bool,
}

impl Output {
    fn push(&mut self, text: &str) {
        self.kept += text.len();
        self.pieces.push_back(text.to_owned());
        while self.kept > KEPT {
            let Some(first) = self.pieces.pop_front() else { break };
            self.kept -= first.len();
            self.dropped = true;
        }
    }

    fn lines(&self) -> Vec<String> {
        let all: String = self.pieces.iter().map(String::as_str).collect();
        let lines = all.lines().map(readable);
        let cut = self.dropped.then(|| format!("… only the last {} MiB were kept …", KEPT >> 20));
        cut.into_iter().chain(lines).collect()
    }
}

/// A line of output as text: what was overwritten and what only moves or colours is gone.
fn readable(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // A control sequence ends with a letter or so.
                Some('[') => drop(chars.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c))),
                // A command for the terminal ends with a bell or an escape.
                Some(']') => drop(chars.by_ref().find(|c| matches!(c, '\u{7}' | '\u{1b}'))),
                _ => {}
            },
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn output_cannot_command_the_terminal() {
        let cases = [
            ("plain\ttext", "plain    text"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]0;title\u{1b}\\text", "\\text"),
            (" 10%\r 50%\r100%\r", "100%"),
            ("a\u{1b}", "a"),
            ("a\u{1b}[", "a"),
            ("\u{9b}31m", "31m"),
        ];
        for (line, want) in cases {
            assert_eq!(readable(line), want, "{line:?}");
        }
    }

    #[test]
    fn a_failure_has_the_commands_status() {
        let told = |message: Value| match failure(&message) {
            Some(Error::Build { code, message }) => Some((code, message)),
            _ => None,
        };
        let message = json!({ "errorDetail": { "code": 3, "message": "no" }, "error": "no" });
        assert_eq!(told(message), Some((3, "no".to_owned())));
        assert_eq!(told(json!({ "error": "no" })), Some((1, "no".to_owned())));
        assert_eq!(
            told(json!({ "errorDetail": { "code": 300, "message": "no" } })),
            Some((1, "no".to_owned()))
        );
        assert_eq!(told(json!({ "stream": "error" })), None);
    }

    #[test]
    fn of_much_output_the_end_is_kept() {
        let mut output = Output::default();
        for number in 0..6000 {
            output.push(&format!("{number} {}\n", "x".repeat(1024)));
        }
        let lines = output.lines();
        assert_eq!(lines.first().map(String::as_str), Some("… only the last 4 MiB were kept …"));
        assert!(lines.last().is_some_and(|line| line.starts_with("5999 ")));
        assert!(lines.len() < 4200 && lines.len() > 4000);
    }

    #[tokio::test]
    async fn messages_come_to_an_image_or_to_an_error() {
        let view = || View::new(How::Quiet, false);
        let good = b"{\"stream\":\"Step 1/1 : FROM a\\n\"}\r\n{\"aux\":{\"ID\":\"sha256:0\"}}\r\n";
        assert_eq!(view().follow(&good[..]).await.expect("an image").id, "sha256:0");
        let bad = b"{\"errorDetail\":{\"code\":7,\"message\":\"m\"},\"error\":\"m\"}\r\n";
        let error = view().follow(&bad[..]).await.expect_err("no image");
        assert_eq!((error.code(), error.to_string()), (Some(7), "m".to_owned()));
        assert!(view().follow(&b"{}\n"[..]).await.is_err(), "an answer that was cut off");
    }
}
