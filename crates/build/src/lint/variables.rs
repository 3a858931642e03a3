//! Variables that nothing sets.

use std::collections::{BTreeMap, BTreeSet};

use super::{Environment, split, warning};
use crate::builder::PREDEFINED;
use crate::dockerfile::{Dockerfile, Instruction, Kind, Source, Transfer, Warning, nearest};
use crate::expand;

/// Arguments that `FROM` has, and a stage that names them.
pub(super) const PLATFORM: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
];

/// What every stage has besides the arguments about proxies.
const ALWAYS: &str = "PATH";

/// The variables of a stage.
#[derive(Debug, Clone, Default)]
struct Scope {
    names: BTreeSet<String>,
    /// Whether its image may set others.
    is_open: bool,
}

pub(super) fn check(file: &Dockerfile, environment: Option<&Environment<'_>>) -> Vec<Warning> {
    let (globals, stages) = split(file);
    let escape = file.directives.escape;
    let declared = globals.iter().filter_map(arguments).flatten().map(|(name, _)| name.clone());
    let global: BTreeSet<String> = declared.chain(PLATFORM.map(str::to_owned)).collect();
    let mut warnings = Vec::new();
    let mut known: BTreeMap<String, Scope> = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        let mut scope = Scope::default();
        for at in *stage {
            if let Kind::From { image, platform, .. } = &at.kind {
                let words = [Some(image), platform.as_ref()];
                warnings.extend(
                    words.into_iter().flatten().flat_map(|word| from(at, word, &global, escape)),
                );
                scope = known
                    .get(&image.to_lowercase())
                    .cloned()
                    .unwrap_or_else(|| base(image, environment));
                continue;
            }
            for word in words(at) {
                warnings.extend(used(at, word, &scope, escape));
            }
            scope.names.extend(set(at));
        }
        known.insert(index.to_string(), scope.clone());
        if let Some(Kind::From { name: Some(name), .. }) = stage.first().map(|from| &from.kind) {
            known.insert(name.clone(), scope);
        }
    }
    warnings
}

/// The arguments of an `ARG`.
pub(super) fn arguments(at: &Instruction) -> Option<&Vec<(String, Option<String>)>> {
    match &at.kind {
        Kind::Arg(arguments) => Some(arguments),
        _ => None,
    }
}

/// What a stage from an image begins with.
fn base(image: &str, environment: Option<&Environment<'_>>) -> Scope {
    let set =
        if image == "scratch" { Some(Vec::new()) } else { environment.and_then(|ask| ask(image)) };
    let always = PREDEFINED.iter().chain([&ALWAYS]);
    let mut names: BTreeSet<String> = always.map(|name| (*name).to_owned()).collect();
    let is_open = set.is_none();
    names.extend(set.unwrap_or_default());
    Scope { names, is_open }
}

fn from(at: &Instruction, word: &str, global: &BTreeSet<String>, escape: char) -> Vec<Warning> {
    let lookup = |name: &str| global.contains(name).then(|| "x".to_owned());
    let unset = expand::unset(word, escape, &lookup).unwrap_or_default();
    let told = unset.into_iter().map(|name| {
        let near = nearest(&name, global);
        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        warning("UndefinedArgInFrom", at, format!("FROM argument '{name}' is not declared{hint}"))
    });
    told.collect()
}

fn used(at: &Instruction, word: &str, scope: &Scope, escape: char) -> Vec<Warning> {
    let lookup = |name: &str| scope.names.contains(name).then(|| "x".to_owned());
    let unset = expand::unset(word, escape, &lookup).unwrap_or_default();
    let told = unset.into_iter().filter_map(|name| {
        let near = nearest(&name, &scope.names);
        // An image that is not known may set any name, but hardly one that is a letter away from another.
        if scope.is_open && near.is_none() {
            return None;
        }
        let hint = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
        Some(warning("UndefinedVar", at, format!("Usage of undefined variable '${name}'{hint}")))
    });
    told.collect()
}

/// What the instruction sets for those behind it.
fn set(at: &Instruction) -> Vec<String> {
    match &at.kind {
        Kind::Arg(arguments) => arguments.iter().map(|(name, _)| name.clone()).collect(),
        Kind::Env(variables) => variables.iter().map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The words of an instruction that are expanded by the build.
fn words(at: &Instruction) -> Vec<&str> {
    match &at.kind {
        Kind::Arg(arguments) => {
            arguments.iter().filter_map(|(_, value)| value.as_deref()).collect()
        }
        Kind::Env(pairs) | Kind::Label(pairs) => {
            pairs.iter().map(|(_, value)| value.as_str()).collect()
        }
        Kind::Expose(words) | Kind::Volume(words) => words.iter().map(String::as_str).collect(),
        Kind::User(word) | Kind::Workdir(word) | Kind::StopSignal(word) => vec![word],
        Kind::Copy(transfer) | Kind::Add(transfer) => transferred(transfer),
        _ => Vec::new(),
    }
}

fn transferred(transfer: &Transfer) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for source in &transfer.sources {
        match source {
            Source::Path(path) => words.push(path),
            Source::Heredoc(_) => {}
        }
    }
    words.push(&transfer.destination);
    words.extend([&transfer.chown, &transfer.chmod].into_iter().flatten().map(String::as_str));
    words
}
