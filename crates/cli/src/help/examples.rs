//! What stands beneath the help of a verb that does not bring examples of its own.

use clap::Command;

/// Verbs, alone or in their group, and what one types.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("attach", &["hull attach web", "hull attach --no-stdin web"]),
    ("start", &["hull start web", "hull start -ai shell"]),
    ("stop", &["hull stop web", "hull stop -t 30 web db"]),
    ("restart", &["hull restart web"]),
    ("kill", &["hull kill web", "hull kill -s HUP web"]),
    ("pause", &["hull pause web"]),
    ("unpause", &["hull unpause web"]),
    ("wait", &["hull wait job"]),
    ("stats", &["hull stats", "hull stats --no-stream web"]),
    ("diff", &["hull diff web"]),
    ("info", &["hull info", "hull info -f json", "sudo hull info --pods"]),
    ("version", &["hull version"]),
    ("rename", &["hull rename web old-web"]),
    ("rm", &["hull rm web", "hull rm -f -v web db"]),
    ("export", &["hull export web >web.tar"]),
    ("commit", &["hull commit web mine:1"]),
    ("images", &["hull images", "hull images -q"]),
    ("pull", &["hull pull alpine:3.20", "hull pull registry.example.com:5000/app"]),
    ("push", &["hull push registry.example.com:5000/app:1"]),
    ("tag", &["hull tag app registry.example.com:5000/app:1"]),
    ("rmi", &["hull rmi alpine:3.20"]),
    ("history", &["hull history --no-trunc alpine"]),
    ("save", &["hull save -o app.tar app:1", "hull save app:1 | gzip >app.tar.gz"]),
    ("load", &["hull load -i app.tar"]),
    ("import", &["hull import root.tar.gz mine:1", "hull import - mine:1 <root.tar"]),
    ("logout", &["hull logout registry.example.com:5000"]),
    ("container ls", &["hull container ls -a"]),
    ("container inspect", &["hull container inspect web"]),
    ("container prune", &["hull container prune"]),
    ("image ls", &["hull image ls"]),
    ("image inspect", &["hull image inspect alpine"]),
    ("image rm", &["hull image rm alpine:3.20"]),
    ("image prune", &["hull image prune", "hull image prune -a -f"]),
    ("volume create", &["hull volume create data", "hull volume create -o size=1G data"]),
    ("volume ls", &["hull volume ls"]),
    ("volume inspect", &["hull volume inspect data"]),
    ("volume rm", &["hull volume rm data"]),
    ("volume prune", &["hull volume prune", "hull volume prune -a"]),
    ("volume resize", &["hull volume resize data 2G"]),
    ("network create", &["hull network create side", "hull network create --internal quiet"]),
    ("network ls", &["hull network ls"]),
    ("network inspect", &["hull network inspect side"]),
    ("network connect", &["hull network connect side web"]),
    ("network disconnect", &["hull network disconnect side web"]),
    ("network rm", &["hull network rm side"]),
    ("network prune", &["hull network prune"]),
    ("system df", &["hull system df"]),
    ("system prune", &["hull system prune", "hull system prune -a -f"]),
    ("system start", &["sudo hull system start"]),
    ("system stop", &["sudo hull system stop"]),
    ("system events", &["hull system events --since 10m"]),
];

/// The verbs of `command`, which is the group `group` if that is not empty, with their examples.
pub(super) fn add(mut command: Command, group: &str) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in names {
        let own = format!("{group} {name}");
        command = command.mut_subcommand(&name, |verb| {
            let verb = if verb.has_subcommands() { add(verb, &name) } else { verb };
            let known = |key: &str| EXAMPLES.iter().find(|(verb, _)| *verb == key);
            match known(own.trim()).or_else(|| known(&name)) {
                Some((_, lines)) if verb.get_after_help().is_none() => verb.after_help(text(lines)),
                _ => verb,
            }
        });
    }
    command
}

fn text(lines: &[&str]) -> String {
    let head = if lines.len() == 1 { "Example" } else { "Examples" };
    format!("{head}:\n  {}", lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Arguments;

    #[test]
    fn every_verb_has_an_example() {
        fn check(command: &Command) {
            for verb in command.get_subcommands() {
                if verb.has_subcommands() {
                    check(verb);
                } else {
                    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("hull "), "{}: {help}", verb.get_name());
                }
            }
        }
        check(&add(Arguments::command(), ""));
    }

    #[test]
    fn every_example_is_understood() {
        for line in EXAMPLES.iter().flat_map(|(_, lines)| *lines) {
            let typed = line.split(['|', '<', '>']).next().unwrap_or_default();
            let words = typed.split_whitespace().filter(|word| *word != "sudo");
            let matches = Arguments::command().try_get_matches_from(words);
            assert!(matches.is_ok(), "{line}: {matches:?}");
        }
    }
}
