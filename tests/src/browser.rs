//! Debian's chromium without a window, told what to do over two pipes.
//!
//! Spec: the Chrome DevTools Protocol; with `--remote-debugging-pipe` its messages are JSON that ends with a zero
//! byte, read from descriptor 3 and written to descriptor 4.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::command::wait;
use crate::host::Engine;

/// How long the browser may be silent, and how long a page may take to become as expected.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a page.
const BEAT: Duration = Duration::from_millis(50);

/// A browser with one page open. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    from: File,
    /// What was read past the last message.
    held: Vec<u8>,
    /// The number of the last command.
    last: u64,
    session: Value,
}

impl Browser {
    /// Opens `url`, as a browser on the engine's host does. What it keeps is kept in `dir`.
    pub fn open(engine: &Engine, dir: &Path, url: &str) -> Self {
        let pipe = |name: &str| {
            let path = dir.join(name);
            let _ = std::fs::remove_file(&path);
            mkfifoat(CWD, &path, Mode::RWXU).expect("a pipe");
            path
        };
        let (orders, answers) = (pipe("orders"), pipe("answers"));
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --remote-debugging-pipe --user-data-dir=\"$1/profile\" about:blank 3<\"$1/orders\" 4>\"$1/answers\"";
        let mut chromium = Command::new("sh");
        chromium.args(["-c", script, "sh"]).arg(dir);
        chromium.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = engine.spawn_beside(&mut chromium);
        // In the shell's order: each end waits for the other.
        let to = File::options().write(true).open(orders).expect("opened by the browser");
        let from = File::open(answers).expect("opened by the browser");
        let (held, session) = (Vec::new(), Value::Null);
        let mut browser = Self { child, to, from, held, last: 0, session };
        let page = browser.order("Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = browser.order("Target.attachToTarget", &attach)["sessionId"].clone();
        browser
    }

    /// Does what a command of the protocol says; gives its result, or what is wrong.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            order["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{order}\0").as_bytes()).expect("the browser reads");
        loop {
            let mut said = self.message();
            if said["id"] == self.last {
                let error = said["error"].take();
                return if error.is_null() { Ok(said["result"].take()) } else { Err(error) };
            }
        }
    }

    #[track_caller]
    fn order(&mut self, method: &str, params: &Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.held.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).expect("JSON");
            }
            let mut polled = [PollFd::new(&self.from, PollFlags::IN)];
            let patience = Timespec::try_from(PATIENCE).expect("short");
            let ready = poll(&mut polled, Some(&patience)).expect("polled");
            assert_eq!(ready, 1, "the browser is silent");
            let mut chunk = vec![0; 64 << 10];
            let read = self.from.read(&mut chunk).expect("a pipe");
            assert_ne!(read, 0, "the browser has ended");
            self.held.extend(&chunk[..read]);
        }
    }

    /// What an expression of JavaScript gives in the page, unless it throws or there is no page yet.
    fn evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut done = self.ask("Runtime.evaluate", &params)?;
        let thrown = done["exceptionDetails"].take();
        if thrown.is_null() { Ok(done["result"]["value"].take()) } else { Err(thrown) }
    }

    /// What an expression of JavaScript gives in the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression of JavaScript gives `want` in the page.
    #[track_caller]
    pub fn becomes(&mut self, expression: &str, want: &Value) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.evaluate(expression);
            if now.as_ref() == Ok(want) {
                return;
            }
            assert!(Instant::now() < until, "{expression} is {now:?}, not {want}");
            std::thread::sleep(BEAT);
        }
    }

    /// Waits until the page's text contains `want`.
    #[track_caller]
    pub fn shows(&mut self, want: &str) {
        let contains = format!("document.body.innerText.includes({})", json!(want));
        self.becomes(&contains, &json!(true));
    }

    /// Clicks on the element of this kind with this text, once there is one.
    #[track_caller]
    pub fn click(&mut self, kind: &str, text: &str) {
        let find = format!(
            "[...document.querySelectorAll({kind:?})].find((one) => one.textContent.trim() === {text:?})"
        );
        self.becomes(&format!("({find}.click(), true)"), &json!(true));
    }

    /// Presses keys, one a character.
    pub fn types(&mut self, text: &str) {
        for character in text.chars() {
            let (key, text) = if character == '\n' {
                ("Enter".to_owned(), "\r".to_owned())
            } else {
                (character.to_string(), character.to_string())
            };
            for kind in ["keyDown", "keyUp"] {
                let mut params = json!({ "type": kind, "key": key });
                if kind == "keyDown" {
                    params["text"] = json!(text);
                }
                self.order("Input.dispatchKeyEvent", &params);
            }
        }
    }

    /// Shows the page in a window so wide, light or dark.
    pub fn looks(&mut self, width: u32, scheme: &str) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.order("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.order("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// A picture of what is in the window, as PNG in base64.
    pub fn picture(&mut self) -> String {
        let taken = self.order("Page.captureScreenshot", &json!({ "format": "png" }));
        taken["data"].as_str().expect("a picture").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = Value::Null;
        let close = json!({ "id": 0, "method": "Browser.close" });
        let _ = self.to.write_all(format!("{close}\0").as_bytes());
        if wait(&mut self.child, Instant::now() + Duration::from_secs(10)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
