//! The help, laid out as urfave/cli does.

use std::fmt::Write;

use super::flag::{Command, Flag, Kind};
use super::table::{COMMANDS, GLOBAL};
use crate::table::layout;

/// Help for one command, or for all.
pub(crate) fn text(command: Option<&Command>) -> String {
    match command {
        Some(command) => of_command(command),
        None => of_program(),
    }
}

fn of_program() -> String {
    let mut rows: Vec<Vec<String>> = COMMANDS
        .iter()
        .map(|command| vec![format!("   {}", command.name), command.about.to_owned()])
        .collect();
    rows.push(vec!["   help, h".to_owned(), "shows a list of commands or help for one".to_owned()]);
    format!(
        "NAME:\n   hull-runtime - Open Container Initiative runtime\n\n\
         USAGE:\n   hull-runtime [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        env!("CARGO_PKG_VERSION"),
        layout(&rows),
        options(GLOBAL)
    )
}

fn of_command(command: &Command) -> String {
    let mut text = format!(
        "NAME:\n   hull-runtime {0} - {1}\n\nUSAGE:\n   hull-runtime {0}",
        command.name, command.about
    );
    if !command.flags.is_empty() {
        text.push_str(" [command options]");
    }
    if !command.arguments.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, " {}", command.arguments);
    }
    text.push('\n');
    if !command.flags.is_empty() {
        let _ = write!(text, "\nOPTIONS:\n{}", options(command.flags));
    }
    text
}

fn options(flags: &[Flag]) -> String {
    let shown = flags.iter().filter(|flag| !flag.usage.is_empty());
    let rows: Vec<Vec<String>> =
        shown.map(|flag| vec![format!("   {}", names(flag)), flag.usage.to_owned()]).collect();
    layout(&rows)
}

/// `--bundle value, -b value`.
fn names(flag: &Flag) -> String {
    let value = if flag.kind == Kind::Switch { "" } else { " value" };
    let mut text = format!("--{}{value}", flag.name);
    if !flag.short.is_empty() {
        let dashes = if flag.short.len() == 1 { "-" } else { "--" };
        let _ = write!(text, ", {dashes}{}{value}", flag.short);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_laid_out_as_runcs() {
        let all = text(None);
        assert!(all.starts_with("NAME:\n   hull-runtime - Open Container Initiative runtime\n"));
        assert!(all.contains("\n   --version, -v"), "{all}");
        assert!(!all.contains("criu value"), "{all}");
        let create = COMMANDS.iter().find(|command| command.name == "create").expect("known");
        let text = text(Some(create));
        assert!(text.contains("\n   --bundle value, -b value"), "{text}");
        assert!(text.contains("USAGE:\n   hull-runtime create [command options] <container-id>\n"));
    }
}
