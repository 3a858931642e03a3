//! The documents are followed: every page's commands, in order, in one shell.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tests::command::{Running, run};
use tests::docs::{self, Block, Kind, Page};
use tests::host::Engine;
use tests::programs::{kernel, program, source};
use tests::{Host, wall};

/// Programs of others that blocks which are not run may call.
const OTHERS: [&str; 7] =
    ["apt", "ctr", "docker", "export", "podman", "systemctl", "systemd-sysusers"];

pub(crate) fn every_page_does_what_it_says(host: &mut Host) {
    let pages = docs::pages();
    let configurations = pages.iter().flat_map(|page| page.of(Kind::Config));
    for block in configurations {
        starts(host, block);
    }
    let mut wrong: Vec<String> = pages.iter().flat_map(Page::dead_links).collect();
    for page in &pages {
        wrong.extend(page.of(Kind::Shown).flat_map(|block| absent(page, block)));
    }
    // The pages are of a server, whatever wall this run of the suite is about.
    let own;
    let engine = if wall::usual().shares_kernel() {
        &host.engine
    } else {
        own = host.another_engine_with(&["--isolation=process"]);
        &own
    };
    let before = named(engine);
    engine.docker(&["pull", "-q", "busybox"]).ok();
    for page in &pages {
        let start = Instant::now();
        wrong.extend(follow(engine, page));
        println!("    {} ({:.1} s)", page.name, start.elapsed().as_secs_f32());
    }
    // Other cases want to know what names an image has.
    for name in named(engine).iter().filter(|name| !before.contains(name)) {
        engine.docker(&["rmi", name]).ok();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The names of all images.
fn named(engine: &Engine) -> Vec<String> {
    let listed = engine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    listed.lines().filter(|name| !name.contains("<none>")).map(str::to_owned).collect()
}

/// An engine takes the configuration.
fn starts(host: &Host, block: &Block) {
    let file = host.dir().join("documented.toml");
    fs::write(&file, &block.text).expect("a file");
    let engine = host.another_engine_with(&["--config", &file.to_string_lossy()]);
    engine.docker(&["version"]).ok();
}

/// What a block that is not run calls, and is not there.
fn absent(page: &Page, block: &Block) -> Vec<String> {
    let makefile = fs::read_to_string(source().join("Makefile")).expect("the source has it");
    let mut wrong = Vec::new();
    for line in block.text.lines() {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "sudo").collect();
        let there = match words[..] {
            ["make", target] => {
                makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
            }
            [name @ ("hull" | "hulld"), ref rest @ ..] => has(name, rest),
            [name] if name.starts_with("/usr/lib/") => makefile.contains(&name["/usr".len()..]),
            [name, ..] => OTHERS.contains(&name),
            [] => true,
        };
        if !there {
            wrong.push(format!("{}:{}: nothing like it: {line}", page.name, block.line));
        }
    }
    wrong
}

/// Whether the help of the program, all of it of its verb if it has any, knows all these flags.
fn has(name: &str, words: &[&str]) -> bool {
    let mut help = Command::new(program(name));
    match words.first().filter(|word| !word.starts_with('-')) {
        Some(verb) => help.args(["help", verb]),
        None => help.arg("--help"),
    };
    let help = run(help, b"");
    let mut flags = words.iter().filter(|word| word.starts_with("--"));
    help.code == 0 && flags.all(|flag| help.out.contains(flag.split('=').next().unwrap_or(flag)))
}

/// Runs the commands of a page; tells of those that did not do what it says, and what they left.
fn follow(engine: &Engine, page: &Page) -> Vec<String> {
    let outputs = tempfile::tempdir().expect("a directory");
    let code = engine.within(|| Ok(Running::start(shell(engine, page, outputs.path()))));
    let code = code.expect("started").wait().code;
    let read = |name: &str| fs::read_to_string(outputs.path().join(name)).unwrap_or_default();
    let printed = |line: usize| read(&line.to_string());
    let mut wrong = Vec::new();
    if code == 0 {
        let differ = page.outputs().filter(|(ran, shown)| !shown.agrees(&printed(ran.line)));
        wrong.extend(differ.map(|(ran, shown)| {
            let (shows, prints) = (indented(&shown.text), indented(&printed(ran.line)));
            format!("{}:{}: shows\n{shows}but prints\n{prints}", page.name, shown.line)
        }));
    } else {
        let at = read("at").trim().parse().unwrap_or_default();
        wrong.push(format!("{}:{at}: status {code}\n{}", page.name, indented(&printed(at))));
    }
    for list in
        [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-qf", "type=custom"]]
    {
        let left = engine.docker(list).ok();
        if !left.is_empty() {
            wrong.push(format!(
                "{}: leaves what `docker {}` lists: {left}",
                page.name,
                list.join(" ")
            ));
        }
    }
    engine.clear();
    wrong
}

/// A shell for the commands of a page, in a new directory beneath `outputs`.
fn shell(engine: &Engine, page: &Page, outputs: &Path) -> Command {
    let reader = outputs.join("reader");
    fs::create_dir(&reader).expect("a directory");
    let bin = program("hull").parent().expect("a directory").display().to_string();
    let socket = format!("unix://{}/hull.sock", engine.exec_root().display());
    let path = std::env::var("PATH").unwrap_or_default();
    let (vmlinuz, modules) = kernel();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &page.script(outputs)])
        .current_dir(&reader)
        .env("HOME", &reader)
        .env("PATH", format!("{bin}:{path}"))
        .env("HULL_HOST", &socket)
        .env("DOCKER_HOST", &socket)
        .env("HULL_DATA_ROOT", engine.data_root())
        .env("HULL_EXEC_ROOT", engine.exec_root())
        .env("HULL_VM_KERNEL", vmlinuz)
        .env("HULL_VM_MODULES", modules);
    shell
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}
