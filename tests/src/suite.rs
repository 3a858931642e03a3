//! Runs a suite's cases one after another on one host.
//!
//! libtest cannot: it has no end of a suite at which to stop a host, and no place after a case to
//! look for what was left. Prints what libtest prints.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use spec::Isolation;

use crate::host::Host;
use crate::wall;

/// One test, or two: a body that knows its isolation mode runs in both.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Once(fn(&mut Host)),
    Both(fn(&mut Host, Isolation)),
}

/// The case of a `fn(&mut Host)`, named by its path.
#[macro_export]
macro_rules! once {
    ($body:path) => {
        $crate::Case::once(stringify!($body), $body)
    };
}

/// The two cases of a `fn(&mut Host, Isolation)`, named by its path and the mode.
#[macro_export]
macro_rules! both {
    ($body:path) => {
        $crate::Case::both(stringify!($body), $body)
    };
}

impl Case {
    /// A case that runs once.
    pub const fn once(name: &'static str, body: fn(&mut Host)) -> Self {
        Self { name, body: Body::Once(body) }
    }

    /// A case that runs in process mode and behind a VM.
    pub const fn both(name: &'static str, body: fn(&mut Host, Isolation)) -> Self {
        Self { name, body: Body::Both(body) }
    }
}

/// The cases of one program.
#[derive(Debug)]
pub struct Suite {
    /// What it holds Hull to.
    pub promise: &'static str,
    /// In order.
    pub cases: &'static [Case],
}

/// One run of a case.
struct Run {
    name: String,
    body: Box<dyn Fn(&mut Host)>,
}

impl Suite {
    /// Runs the cases whose names hold one of the command line's words, or all.
    ///
    /// Like libtest it takes `--list` and `--exact`; other flags of libtest change nothing here.
    pub fn run(&self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let words: Vec<&String> =
            arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
        let matches = |name: &str| {
            let fits = |word: &&String| {
                if has("--exact") { name == **word } else { name.contains(word.as_str()) }
            };
            words.is_empty() || words.iter().any(fits)
        };
        let all = self.cases.iter().flat_map(runs);
        let (chosen, others): (Vec<_>, Vec<_>) = all.partition(|run| matches(&run.name));
        if has("--list") {
            for run in chosen {
                println!("{}: test", run.name);
            }
            return ExitCode::SUCCESS;
        }
        report(self.promise, chosen, others.len())
    }
}

fn runs(case: &Case) -> Vec<Run> {
    match case.body {
        Body::Once(body) => vec![Run { name: case.name.to_owned(), body: Box::new(body) }],
        Body::Both(body) => [Isolation::Process, Isolation::Vm]
            .into_iter()
            // Who asks for a wall gets the same again.
            .filter(|isolation| wall::usual().shares_kernel() || !isolation.shares_kernel())
            .map(|isolation| Run {
                name: format!("{}::{isolation}", case.name),
                body: Box::new(move |host: &mut Host| body(host, isolation)),
            })
            .collect(),
    }
}

fn report(promise: &str, runs: Vec<Run>, left_out: usize) -> ExitCode {
    println!("\n{promise}\nrunning {} tests", runs.len());
    let start = Instant::now();
    let mut failed = Vec::new();
    let total = runs.len();
    if total > 0 {
        let mut host = Host::start();
        for run in runs {
            if !passes(&mut host, &run) {
                failed.push(run.name);
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out; \
         finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        total - failed.len(),
        failed.len(),
        start.elapsed().as_secs_f32(),
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Runs one case, cleans up after it and looks for what was left.
fn passes(host: &mut Host, run: &Run) -> bool {
    let before = host.engine.snapshot();
    let said = host.engine.log().len();
    let start = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (run.body)(host)));
    host.engine.clear();
    let left = host.engine.left_since(&before);
    let passed = outcome.is_ok() && left.is_empty();
    let word = if passed { "ok" } else { "FAILED" };
    println!("test {} ... {word} ({:.1} s)", run.name, start.elapsed().as_secs_f32());
    for line in &left {
        println!("    left behind: {line}");
    }
    if !passed {
        let log = host.engine.log();
        let since = log.get(said..).unwrap_or_default();
        let lines: Vec<_> = since.lines().collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    hulld: {line}");
        }
    }
    passed
}
