//! Checks that a compiler does not make: `cargo xtask check`.
//!
//! ```text
//!   text -> layers -> blocking -> fmt -> clippy
//! ```
//!
//! Cheapest first; all of them run even when one fails, so that one run shows everything. STYLE.md
//! says why each rule is there.

mod layers;
mod text;

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What one check found: notes to read, and whether the rule is broken.
type Verdict = Result<Vec<String>, Vec<String>>;

/// A name and what it stands for.
type Check = (&'static str, fn() -> Verdict);

const CHECKS: [Check; 5] = [
    ("text", text::check),
    ("layers", layers::order),
    ("blocking", layers::blocking),
    ("fmt", || cargo(&["fmt", "--all", "--", "--check", "-l"])),
    ("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
    }),
];

const USAGE: &str = "usage: cargo xtask check [text|layers|blocking|fmt|clippy]...";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(("check", only)) = arguments.split_first().map(|(first, rest)| (&first[..], rest))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(unknown) = only.iter().find(|name| CHECKS.iter().all(|(known, _)| known != name)) {
        eprintln!("no check is called {unknown}\n{USAGE}");
        return ExitCode::from(2);
    }
    if let Err(error) = env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")) {
        eprintln!("enter the workspace: {error}");
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let mut broken = 0;
    for (name, check) in CHECKS.into_iter().filter(|(name, _)| wanted(name)) {
        broken += u8::from(!run(name, check));
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one check and prints what it found; gives whether the rule holds.
fn run(name: &str, check: fn() -> Verdict) -> bool {
    let start = Instant::now();
    let verdict = check();
    let word = if verdict.is_ok() { "ok" } else { "BROKEN" };
    println!("{word:>6} {name:<8} {:>5.1} s", start.elapsed().as_secs_f32());
    let holds = verdict.is_ok();
    for line in verdict.unwrap_or_else(|broken| broken) {
        println!("       {line}");
    }
    holds
}

fn cargo(arguments: &[&str]) -> Verdict {
    let output = match cargo_command().args(arguments).output() {
        Ok(output) => output,
        Err(error) => return Err(vec![format!("run cargo: {error}")]),
    };
    if output.status.success() {
        return Ok(Vec::new());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&printed).lines().map(str::to_owned).collect())
}

/// The cargo that runs us.
fn cargo_command() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
