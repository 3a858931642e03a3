//! `ps`: what ps(1) says of the container's processes.

use std::ffi::OsString;
use std::process::Command;

use container::Container;
use spec::ProcessInfo;

use super::{Error, show};
use crate::args::Format;
use crate::table::layout;

/// Prints the container's processes: their numbers as JSON, or the lines of ps(1) that are theirs.
pub(super) fn run(
    container: &Container,
    format: Format,
    arguments: &[OsString],
) -> Result<u8, Error> {
    let id = &container.record().id;
    let pids: Vec<i32> = container
        .processes()
        .map_err(Error::container("ps", id))?
        .iter()
        .map(|info| info.pid)
        .collect();
    match format {
        Format::Json => show::print_json_line(&pids),
        Format::Table => show::print(&lines(&pids, arguments)?),
    }
}

/// Runs ps(1) and keeps the header and the lines of `pids`.
fn lines(pids: &[i32], arguments: &[OsString]) -> Result<String, Error> {
    let mut command = Command::new("ps");
    if arguments.is_empty() {
        command.arg("-ef");
    } else {
        command.args(arguments);
    }
    let said = command.output().map_err(Error::file("run", "ps"))?;
    if !said.status.success() {
        let output = [said.stdout, said.stderr].concat();
        let output = String::from_utf8_lossy(&output).trim().to_owned();
        return Err(Error::Ps { status: said.status, output });
    }
    choose(&String::from_utf8_lossy(&said.stdout), pids).ok_or(Error::NoPids)
}

/// Processes in the columns of `ps -ef`, by what their own side knows of them.
pub(super) fn table(processes: &[ProcessInfo]) -> String {
    let header = ["UID", "PID", "PPID", "STAT", "TTY", "TIME", "CMD"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(processes.iter().map(|process| {
        let seconds = process.cpu_ms / 1000;
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let command = match process.args.as_slice() {
            [] => format!("[{}]", process.comm),
            args => args.join(" "),
        };
        vec![
            process.uid.to_string(),
            process.pid.to_string(),
            process.ppid.to_string(),
            process.state.to_string(),
            process.tty.clone(),
            time,
            command,
        ]
    }));
    layout(&rows)
}

/// The header and the lines whose column `PID` holds one of `pids`; `None` without such a column.
fn choose(table: &str, pids: &[i32]) -> Option<String> {
    let header = table.lines().next()?;
    let column = header.split_whitespace().position(|title| title == "PID")?;
    let pid = |line: &str| line.split_whitespace().nth(column)?.parse::<i32>().ok();
    let mut text = format!("{header}\n");
    for line in table.lines().skip(1) {
        if pid(line).is_some_and(|pid| pids.contains(&pid)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_kept() {
        let table = "UID  PID PPID CMD\nroot   1    0 init\nroot  17    1 sh 23\nroot  23    1 x\n";
        assert_eq!(
            choose(table, &[17]).as_deref(),
            Some("UID  PID PPID CMD\nroot  17    1 sh 23\n")
        );
        assert_eq!(choose("CMD\nsh\n", &[1]), None);
    }
}
