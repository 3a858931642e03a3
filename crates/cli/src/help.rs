//! What `hull --help` shows: every verb, on one screen.

mod examples;

use clap::Command;

/// Verbs by what one wants to do; of each group the first are those that are needed most.
const GROUPS: [(&str, &str); 7] = [
    ("Run", "run create exec attach start stop restart kill pause unpause wait"),
    ("Look", "ps logs stats top inspect port egress diff events info version"),
    ("Change", "rename update rm cp export commit"),
    ("Images", "build images pull push tag rmi history save load import"),
    ("Registries", "login logout"),
    ("Groups", "container image volume network system"),
    ("Hull", "demo doctor compare dash explain completion man"),
];

const EXAMPLES: &str = "\
Examples:
  hull run -it --rm alpine sh                        a shell behind the kernel's wall
  hull run -it --rm --isolation=hyperv alpine sh     the same behind a virtual machine's
  hull run -d --name web -p 8080:80 nginx            a server; hull logs -f web
  hull ps -a --format '{{.Names}}: {{.Status}}'

Options:
  -H, --host unix:///PATH    the engine [$HULL_HOST, $DOCKER_HOST, unix:///run/hull/hull.sock]
  -V, --version              print the version
  -h, --help                 print this; of a verb: hull VERB --help";

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
    with_examples(command).override_help(text)
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
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
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
