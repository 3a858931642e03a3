//! What `--help` shows: of `hull` every verb, and of a verb what one needs every day, each on one screen.
//! All of a verb's options are shown by `hull help VERB`, and are in its man page.

mod examples;

use clap::{Arg, Args, Command, CommandFactory};

use crate::client::Client;
use crate::error::Error;
use crate::output::Paint;
use crate::verb::Verb;
use crate::{Arguments, output};

/// Verbs by what one wants to do; of each group the first are those that are needed most.
const GROUPS: [(&str, &str); 7] = [
    ("Run", "run create exec attach start stop restart kill pause unpause wait"),
    ("Look", "ps logs stats top inspect port egress diff events info version"),
    ("Change", "rename update rm cp export commit"),
    ("Images", "build images pull push tag rmi history save load import"),
    ("Registries", "login logout"),
    ("Groups", "container image volume network system"),
    ("Hull", "demo doctor compare dash help explain completion man"),
];

const EXAMPLES: &str = "\
Examples:
  hull run -it --rm alpine sh                      a shell with the host's kernel
  hull run -it --rm --isolation=hyperv alpine sh   the same with a kernel of its own
  hull run -d --name web -p 8080:80 nginx          a server; hull logs -f web
  hull ps -a --format '{{.Names}}: {{.Status}}'

Options:
  -H, --host unix:///PATH    [$HULL_HOST, $DOCKER_HOST, /run/hull/hull.sock]
  -V, --version              print the version
  -h, --help                 print this, or a verb's; all of it: hull help VERB";

/// Verbs with more options than fit a screen, and those that are needed every day, by their ids.
const EVERYDAY: [(&str, &[&str]); 4] = [
    ("run", &["detach", OF_CONTAINERS]),
    ("create", &[OF_CONTAINERS]),
    ("build", &[OF_BUILD]),
    ("update", &["memory memory_swap cpus cpu_shares cpuset_cpus pids_limit restart help"]),
];
const OF_CONTAINERS: &str = "isolation name rm restart help env workdir user interactive tty \
                             publish network volume memory cpus cap_add";
const OF_BUILD: &str = "tag file arguments target platform output check quiet no_cache pull isolation \
                        network secret help";

/// The rows of a bare terminal.
const SCREEN: usize = 24;

/// `hull help`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull help run
  hull help container ls")]
pub(crate) struct Help {
    /// The verb, behind its group if it has one; every verb if none is named
    verb: Vec<String>,
}

impl Verb for Help {
    async fn run(self, _: &Client) -> Result<u8, Error> {
        let unknown = || Error::Argument {
            option: "VERB",
            value: self.verb.join(" "),
            want: "a verb of hull --help".to_owned(),
        };
        let text = whole(&self.verb).ok_or_else(unknown)?;
        output::text(&text);
        Ok(0)
    }
}

/// All that there is to say of a verb; of none, every verb.
fn whole(verb: &[String]) -> Option<String> {
    let command = Arguments::command();
    let mut command = if verb.is_empty() { complete(command) } else { with_examples(command) };
    command.build();
    let found = verb.iter().try_fold(&mut command, |group, word| group.find_subcommand_mut(word));
    let help = found?.render_help();
    Some(if Paint::output().is_on() { help.ansi().to_string() } else { help.to_string() })
}

fn ids(shown: &[&'static str]) -> impl Iterator<Item = &'static str> {
    shown.iter().flat_map(|ids| ids.split(' '))
}

/// A verb with the options that are needed every day, where it has more than fit a screen.
fn everyday(verb: Command) -> Command {
    let Some((name, shown)) = EVERYDAY.iter().find(|(name, _)| *name == verb.get_name()) else {
        return verb;
    };
    let shown = |arg: &Arg| arg.is_positional() || ids(shown).any(|id| arg.get_id() == id);
    let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    let verb = verb.after_help(format!("{after}\n\nMore options: hull help {name}"));
    verb.mut_args(|arg| if shown(&arg) { arg } else { arg.hide(true) })
}

/// A group; of one with more verbs than fit a screen, their names.
fn group(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let verbs: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let command = if ["container", "image"].contains(&&*name) {
        verbs.iter().fold(command, |command, verb| command.mut_subcommand(verb, everyday))
    } else {
        command
    };
    if verbs.len() < SCREEN / 2 {
        return command;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let has = |verb: &&str| verbs.iter().any(|own| own == verb);
    let mut rows: Vec<(&str, Vec<&str>)> = GROUPS
        .iter()
        .map(|(name, named)| (*name, named.split_whitespace().filter(has).collect()))
        .collect();
    let others = verbs.iter().map(String::as_str);
    let others = others.filter(|verb| !rows.iter().any(|(_, named)| named.contains(verb)));
    rows.push(("Besides", others.collect()));
    rows.retain(|(_, named)| !named.is_empty());
    let rows: Vec<_> =
        rows.iter().map(|(name, named)| format!("  {name:11} {}", named.join(" "))).collect();
    let rows = rows.join("\n");
    command.override_help(format!(
        "{about}\n\nUsage: hull {name} VERB …\n\n{rows}\n\n\
         What each does: hull help {name}\nIts options:    hull {name} VERB --help"
    ))
}

/// The command with examples beneath every verb.
pub(crate) fn with_examples(command: Command) -> Command {
    examples::add(command, "")
}

/// The command with its overview and its examples.
pub(crate) fn complete(command: Command) -> Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let groups = GROUPS.iter();
    let groups: Vec<_> = groups.map(|(name, verbs)| format!("  {name:11} {verbs}")).collect();
    let groups = groups.join("\n");
    let text = format!("{about}\n\nUsage: hull [--host HOST] VERB …\n\n{groups}\n\n{EXAMPLES}");
    let command = with_examples(command);
    let verbs: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let of_its_kind =
        |verb: Command| if verb.has_subcommands() { group(verb) } else { everyday(verb) };
    verbs
        .iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, of_its_kind))
        .override_help(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Arguments;

    #[test]
    fn the_overview_names_every_verb_and_fits_a_screen() {
        let mut named: Vec<&str> =
            GROUPS.iter().flat_map(|(_, verbs)| verbs.split_whitespace()).collect();
        let command = Arguments::command();
        let mut real: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        named.sort_unstable();
        real.sort_unstable();
        assert_eq!(named, real);
        let text = complete(Arguments::command()).render_help().to_string();
        assert!(rows(&text) <= SCREEN, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    /// The rows that a text has on a bare terminal, which is 80 columns wide.
    fn rows(text: &str) -> usize {
        text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum()
    }

    #[test]
    fn the_help_of_every_verb_fits_a_screen() {
        fn check(command: &mut Command, too_long: &mut Vec<String>) {
            let text = command.render_help().to_string();
            let name = command.get_name();
            let most = if ["run", "create", "build"].contains(&name) { 2 * SCREEN } else { SCREEN };
            if rows(&text) > most {
                too_long.push(format!("{name}: {} rows\n{text}", rows(&text)));
            }
            command.get_subcommands_mut().for_each(|verb| check(verb, too_long));
        }
        let mut command = complete(Arguments::command());
        command.build();
        let mut too_long = Vec::new();
        check(&mut command, &mut too_long);
        assert!(too_long.is_empty(), "{}", too_long.join("\n"));
    }

    #[test]
    fn what_the_help_leaves_out_is_told_by_the_verb_help() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut short = complete(Arguments::command());
        short.build();
        for (name, shown) in EVERYDAY {
            let all = whole(&words(name)).expect("a verb");
            let verb = short.find_subcommand_mut(name).expect("a verb");
            let text = verb.render_help().to_string();
            assert!(text.ends_with(&format!("\n\nMore options: hull help {name}\n")), "{text}");
            for id in ids(shown) {
                assert!(verb.get_arguments().any(|arg| arg.get_id() == id), "{name}: {id}");
            }
            for flag in verb.get_arguments().filter_map(Arg::get_long) {
                let hidden = ["rm", "force-rm", "host"].contains(&flag) && name == "build";
                assert!(hidden || flag == "host" || all.contains(&format!("--{flag}")), "{flag}");
            }
        }
        let volume =
            short.find_subcommand_mut("volume").and_then(|v| v.find_subcommand_mut("create"));
        assert!(volume.is_some_and(|verb| {
            verb.get_arguments().all(|arg| arg.get_id() == "host" || !arg.is_hide_set())
        }));
        assert!(whole(&words("container ls")).is_some_and(|text| text.contains("--filter")));
        assert!(
            whole(&words("container")).is_some_and(|text| text.contains("Attach to a running"))
        );
        assert!(whole(&[]).is_some_and(|text| text.contains("Usage: hull [--host HOST] VERB")));
        assert!(whole(&words("runn")).is_none());
    }

    #[test]
    fn an_option_that_the_help_leaves_out_is_taken() {
        let line = ["hull", "run", "--health-cmd", "true", "alpine"];
        let parsed = complete(Arguments::command()).try_get_matches_from(line);
        assert!(parsed.is_ok(), "{parsed:?}");
    }

    #[test]
    fn every_verb_says_what_it_does_and_each_option_too() {
        fn check(command: &Command) {
            for verb in command.get_subcommands() {
                assert!(verb.get_about().is_some(), "{}", verb.get_name());
                for argument in verb.get_arguments() {
                    let told = argument.get_help().is_some();
                    assert!(told, "{} {}", verb.get_name(), argument.get_id());
                }
                check(verb);
            }
        }
        check(&Arguments::command());
    }
}
