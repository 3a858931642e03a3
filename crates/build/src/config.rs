//! The configuration that a stage gives its image, instruction by instruction.
//!
//! Spec: OCI image-spec, config.md "config"; Docker's `Healthcheck`, `OnBuild` and `Shell` beside it.

use serde_json::{Map, Value, json};

use crate::dockerfile::{Command, Healthcheck};

/// What runs a command in shell form where nothing else is said.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// An image's configuration as it grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    object: Map<String, Value>,
    /// Whether this stage has said what the command is; a base's goes with a new entrypoint.
    has_command: bool,
}

impl Config {
    /// Begins with a base image's `config`.
    pub(crate) fn of(base: &Value) -> Self {
        Self { object: base.as_object().cloned().unwrap_or_default(), has_command: false }
    }

    /// With the keys of an image's `config`.
    pub(crate) fn value(&self) -> Value {
        Value::Object(self.object.clone())
    }

    /// `NAME=value` of each variable.
    pub(crate) fn env(&self) -> Vec<String> {
        self.strings("Env")
    }

    /// A variable's value.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let own = self.env().into_iter();
        own.filter_map(|entry| {
            entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        })
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
    }

    /// Sets a variable.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.env();
        let entry = format!("{name}={value}");
        match env.iter_mut().find(|old| old.split('=').next() == Some(name)) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
        self.object.insert("Env".to_owned(), json!(env));
    }

    /// Adds labels.
    pub(crate) fn set_label(&mut self, name: &str, value: &str) {
        self.map("Labels").insert(name.to_owned(), json!(value));
    }

    /// Adds a port, `80/tcp`.
    pub(crate) fn expose(&mut self, port: &str) {
        self.map("ExposedPorts").insert(port.to_owned(), json!({}));
    }

    /// Adds the path of a volume.
    pub(crate) fn add_volume(&mut self, path: &str) {
        self.map("Volumes").insert(path.to_owned(), json!({}));
    }

    /// Sets the command.
    pub(crate) fn set_command(&mut self, command: &Command) {
        let words = self.words(command);
        self.object.insert("Cmd".to_owned(), json!(words));
        // Only Windows' command lines can be escaped already.
        self.object.remove("ArgsEscaped");
        self.has_command = true;
    }

    /// Sets the entrypoint.
    pub(crate) fn set_entrypoint(&mut self, command: &Command) {
        let words = self.words(command);
        let words = if words.is_empty() { Value::Null } else { json!(words) };
        self.object.insert("Entrypoint".to_owned(), words);
        if !self.has_command {
            self.object.remove("Cmd");
        }
    }

    /// Sets what runs commands in shell form.
    pub(crate) fn set_shell(&mut self, words: &[String]) {
        self.object.insert("Shell".to_owned(), json!(words));
    }

    /// Sets `User`, `WorkingDir` or `StopSignal`.
    pub(crate) fn set(&mut self, key: &'static str, value: &str) {
        self.object.insert(key.to_owned(), json!(value));
    }

    /// Where commands run.
    pub(crate) fn working_dir(&self) -> &str {
        match self.object.get("WorkingDir").and_then(Value::as_str) {
            None | Some("") => "/",
            Some(dir) => dir,
        }
    }

    /// Who runs commands; empty for root.
    pub(crate) fn user(&self) -> &str {
        self.object.get("User").and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets the check.
    pub(crate) fn set_healthcheck(&mut self, check: &Healthcheck) {
        let value = match check {
            Healthcheck::None => json!({ "Test": ["NONE"] }),
            Healthcheck::Check {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let test = match command {
                    Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                    Command::Exec(words) => {
                        std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
                    }
                };
                let mut value = json!({ "Test": test });
                let times = [
                    ("Interval", interval),
                    ("Timeout", timeout),
                    ("StartPeriod", start_period),
                    ("StartInterval", start_interval),
                ];
                for (key, time) in times {
                    if let Some(time) = time {
                        value[key] = json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                    }
                }
                if let Some(retries) = retries {
                    value["Retries"] = json!(retries);
                }
                value
            }
        };
        self.object.insert("Healthcheck".to_owned(), value);
    }

    /// Adds an instruction for builds on this image.
    pub(crate) fn add_trigger(&mut self, text: &str) {
        let mut triggers = self.strings("OnBuild");
        triggers.push(text.to_owned());
        self.object.insert("OnBuild".to_owned(), json!(triggers));
    }

    /// Takes the instructions that the base image has left.
    pub(crate) fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.strings("OnBuild");
        self.object.remove("OnBuild");
        triggers
    }

    /// A command's words: in shell form behind the shell's.
    pub(crate) fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) if text.is_empty() => Vec::new(),
            Command::Shell(text) => {
                let mut words = self.strings("Shell");
                if words.is_empty() {
                    words = SHELL.map(str::to_owned).to_vec();
                }
                words.push(text.clone());
                words
            }
        }
    }

    fn strings(&self, key: &str) -> Vec<String> {
        let list = self.object.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn map(&mut self, key: &str) -> &mut Map<String, Value> {
        let value = self.object.entry(key).or_insert_with(|| json!({}));
        if !value.is_object() {
            *value = json!({});
        }
        value.as_object_mut().expect("made one just now")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrypoint_makes_the_bases_command_void_but_not_the_stages_own() {
        let base = json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] });
        let shell = |text: &str| Command::Shell(text.to_owned());
        let mut config = Config::of(&base);
        config.set_entrypoint(&shell("serve"));
        assert_eq!(config.value()["Cmd"], Value::Null);
        assert_eq!(config.value()["Entrypoint"], json!(["/bin/sh", "-c", "serve"]));
        let mut config = Config::of(&base);
        config.set_command(&Command::Exec(vec!["-v".to_owned()]));
        config.set_entrypoint(&shell("serve"));
        assert_eq!(config.value()["Cmd"], json!(["-v"]));
    }

    #[test]
    fn a_variable_is_set_in_its_place() {
        let mut config = Config::of(&json!({ "Env": ["A=1", "B=2"] }));
        config.set_env("A", "3");
        config.set_env("C", "=4");
        assert_eq!(config.env(), ["A=3", "B=2", "C==4"]);
        assert_eq!(config.variable("C").as_deref(), Some("=4"));
        assert_eq!(config.variable("D"), None);
    }

    #[test]
    fn a_commands_shell_is_the_stages() {
        let mut config = Config::default();
        config.set_shell(&["bash".to_owned(), "-ec".to_owned()]);
        assert_eq!(config.words(&Command::Shell("ls".to_owned())), ["bash", "-ec", "ls"]);
        config.add_trigger("RUN a");
        assert_eq!(config.take_triggers(), ["RUN a"]);
        assert!(config.take_triggers().is_empty());
    }
}
