//! Rules of single instructions, and of several in one stage.

use std::collections::BTreeMap;

use super::{split, warning};
use crate::dockerfile::{Command, Dockerfile, Instruction, Kind, Source, Transfer, Warning};
use crate::ignore::Ignore;

/// What a stage has so far said, which stages made from it begin with.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    shell: bool,
    workdir: bool,
}

/// Words in a name that keeps a secret.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

pub(super) fn check(file: &Dockerfile, ignore: Option<&Ignore>) -> Vec<Warning> {
    let (globals, stages) = split(file);
    let mut warnings: Vec<Warning> = globals.iter().flat_map(secrets).collect();
    let mut known: BTreeMap<String, Said> = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        let mut said = Said::default();
        let mut last: BTreeMap<&str, &Instruction> = BTreeMap::new();
        for at in *stage {
            if let Kind::From { image, .. } = &at.kind {
                said = known.get(&image.to_lowercase()).copied().unwrap_or_default();
            }
            warnings.extend(secrets(at));
            warnings.extend(alone(at, ignore));
            warnings.extend(in_stage(at, &mut said));
            if matches!(at.kind, Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_))
                && let Some(earlier) = last.insert(&at.node.name, at)
            {
                warnings.push(repeated(earlier));
            }
        }
        known.insert(index.to_string(), said);
        if let Some(Kind::From { name: Some(name), .. }) = stage.first().map(|from| &from.kind) {
            known.insert(name.clone(), said);
        }
    }
    warnings
}

fn repeated(at: &Instruction) -> Warning {
    let message = format!(
        "Multiple {} instructions should not be used in the same stage because only the last one will be used",
        at.node.name
    );
    warning("MultipleInstructionsDisallowed", at, message)
}

/// Rules for which nothing else matters.
fn alone(at: &Instruction, ignore: Option<&Ignore>) -> Vec<Warning> {
    match &at.kind {
        Kind::Maintainer(_) => {
            let message = "MAINTAINER instruction is deprecated in favor of using label";
            vec![warning("MaintainerDeprecated", at, message.to_owned())]
        }
        Kind::Env(_) | Kind::Label(_) if at.node.is_legacy() => {
            let name = &at.node.name;
            let message = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            vec![warning("LegacyKeyValueFormat", at, message)]
        }
        Kind::Expose(ports) => ports.iter().filter_map(|port| exposed(at, port)).collect(),
        Kind::Copy(transfer) | Kind::Add(transfer) => {
            ignore.map(|ignore| ignored(at, transfer, ignore)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn exposed(at: &Instruction, port: &str) -> Option<Warning> {
    if port.contains('$') {
        return None;
    }
    if port.contains(':') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        return Some(warning("ExposeInvalidFormat", at, message));
    }
    let (_, protocol) = port.split_once('/')?;
    let message = || format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
    (protocol != protocol.to_lowercase()).then(|| warning("ExposeProtoCasing", at, message()))
}

/// Files that the context does not have because of its own `.dockerignore`.
fn ignored(at: &Instruction, transfer: &Transfer, ignore: &Ignore) -> Vec<Warning> {
    let paths = transfer.sources.iter().filter_map(|source| match source {
        // What a variable or a pattern stands for, the file does not tell.
        Source::Path(path)
            if transfer.from.is_none() && !path.contains(['$', '*', '?', '[', ':']) =>
        {
            Some(path)
        }
        _ => None,
    });
    let missing = paths.filter(|path| {
        let path = path.trim_start_matches("./").trim_matches('/');
        !matches!(path, "" | ".") && ignore.excludes(path) && !ignore.may_include_beneath(path)
    });
    let told = missing.map(|path| {
        let message =
            format!("Attempting to Copy file \"{path}\" that is excluded by .dockerignore");
        warning("CopyIgnoredFile", at, message)
    });
    told.collect()
}

/// Rules for which it matters what the stage said before.
fn in_stage(at: &Instruction, said: &mut Said) -> Option<Warning> {
    match &at.kind {
        Kind::Shell(_) => said.shell = true,
        Kind::Cmd(Command::Shell(text)) | Kind::Entrypoint(Command::Shell(text))
            if !said.shell && !text.is_empty() =>
        {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                at.node.name
            );
            return Some(warning("JSONArgsRecommended", at, message));
        }
        Kind::Workdir(path) => {
            let is_relative = !path.trim_start_matches(['"', '\'']).starts_with(['/', '$']);
            if is_relative && !said.workdir {
                let message = format!(
                    "Relative workdir '{path}' can have unexpected results if the base image changes"
                );
                return Some(warning("WorkdirRelativePath", at, message));
            }
            said.workdir = true;
        }
        _ => {}
    }
    None
}

/// Names in `ARG` and `ENV` that say that their value is a secret.
fn secrets(at: &Instruction) -> Vec<Warning> {
    let names: Vec<&String> = match &at.kind {
        Kind::Arg(arguments) => arguments.iter().map(|(name, _)| name).collect(),
        Kind::Env(variables) => variables.iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    };
    let secret = names.into_iter().filter(|name| {
        let name = name.to_lowercase();
        name.split('_').any(|part| SECRET.contains(&part))
            && !name.split('_').any(|part| part == "public")
    });
    let told = secret.map(|name| {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({} \"{name}\")",
            at.node.name
        );
        warning("SecretsUsedInArgOrEnv", at, message)
    });
    told.collect()
}
