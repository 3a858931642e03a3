//! Rules of `FROM`, and of the file as a whole.

use std::collections::BTreeSet;

use super::{split, warning};
use crate::dockerfile::{Dockerfile, Instruction, Kind, Warning};
use crate::expand;

/// Names that no stage should have.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(file: &Dockerfile) -> Vec<Warning> {
    let mut warnings = casing(file);
    let (globals, stages) = split(file);
    let mut names = BTreeSet::new();
    for from in stages.iter().filter_map(|stage| stage.first()) {
        let Kind::From { image, platform, name } = &from.kind else { continue };
        warnings.extend(keyword_casing(from));
        if let Some(name) = name {
            warnings.extend(stage_name(from, name));
            if !names.insert(name.clone()) {
                let message =
                    format!("Duplicate stage name '{name}', stage names should be unique");
                warnings.push(warning("DuplicateStageName", from, message));
            }
        }
        if let Some(platform) = platform {
            warnings.extend(platform_flag(from, platform, name.as_deref()));
        }
        warnings.extend(default_image(from, image, globals, file.directives.escape));
    }
    warnings.extend(descriptions(file, globals));
    warnings
}

/// Commands in the case that most have.
fn casing(file: &Dockerfile) -> Vec<Warning> {
    let keyword = |at: &Instruction| at.node.keyword.clone();
    let (mut lower, mut upper) = (0, 0);
    for keyword in file.instructions.iter().map(keyword) {
        lower += usize::from(keyword == keyword.to_lowercase());
        upper += usize::from(keyword == keyword.to_uppercase());
    }
    let is_lower = lower > upper;
    let majority = if is_lower { "lowercase" } else { "uppercase" };
    let odd = file.instructions.iter().filter(|at| {
        let keyword = keyword(at);
        keyword != if is_lower { keyword.to_lowercase() } else { keyword.to_uppercase() }
    });
    let told = odd.map(|at| {
        let message = format!(
            "Command '{}' should match the case of the command majority ({majority})",
            at.node.keyword
        );
        warning("ConsistentInstructionCasing", at, message)
    });
    told.collect()
}

/// `FROM` with `AS`, `from` with `as`.
fn keyword_casing(from: &Instruction) -> Option<Warning> {
    let keyword = from.node.keyword.as_str();
    let written = from.node.rest.split_whitespace().nth(1)?;
    let is_same = match keyword {
        "FROM" => written == "AS",
        "from" => written == "as",
        _ => true,
    };
    let message = || format!("'{written}' and '{keyword}' keywords' casing do not match");
    (!is_same).then(|| warning("FromAsCasing", from, message()))
}

fn stage_name(from: &Instruction, name: &str) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let written = from.node.rest.split_whitespace().nth(2).unwrap_or(name);
    if written != name {
        let message = format!("Stage name '{written}' should be lowercase");
        warnings.push(warning("StageNameCasing", from, message));
    }
    if RESERVED.contains(&name) {
        let message = format!("'{name}' is reserved and should not be used as a stage name");
        warnings.push(warning("ReservedStageName", from, message));
    }
    warnings
}

fn platform_flag(from: &Instruction, platform: &str, name: Option<&str>) -> Option<Warning> {
    if platform == "$TARGETPLATFORM" || platform == "${TARGETPLATFORM}" {
        let message = format!(
            "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
        );
        return Some(warning("RedundantTargetPlatform", from, message));
    }
    // A stage that tells what it is for is one of several, chosen by its name.
    let tells = |part: &str| name.is_some_and(|name| !part.is_empty() && name.contains(part));
    if platform.contains('$') || platform.split('/').any(tells) {
        return None;
    }
    let message = format!("FROM --platform flag should not use constant value \"{platform}\"");
    Some(warning("FromPlatformFlagConstDisallowed", from, message))
}

/// An image's name that is one only with a build argument.
fn default_image(
    from: &Instruction,
    image: &str,
    globals: &[Instruction],
    escape: char,
) -> Option<Warning> {
    if !image.contains('$') {
        return None;
    }
    let mut defaults: Vec<(String, String)> = Vec::new();
    for (name, value) in globals.iter().filter_map(super::variables::arguments).flatten() {
        let find = |name: &str| find(&defaults, name);
        let value = value.as_ref().and_then(|value| expand::word(value, escape, &find).ok());
        defaults.extend(value.map(|value| (name.clone(), value)));
    }
    // What the platform's arguments are decides the build.
    let builtin = |name: &str| super::variables::PLATFORM.contains(&name).then(|| "x".to_owned());
    let value =
        expand::word(image, escape, &|name| find(&defaults, name).or_else(|| builtin(name)))
            .ok()?;
    let message =
        || format!("Default value for ARG {image} results in empty or invalid base image name");
    (!is_reference(&value)).then(|| warning("InvalidDefaultArgInFrom", from, message()))
}

fn find(defaults: &[(String, String)], name: &str) -> Option<String> {
    defaults.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// Whether `text` may name an image: `[host[:port]/]path[:tag][@digest]`.
fn is_reference(text: &str) -> bool {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name.get(path..).and_then(|last| last.find(':')) {
        Some(colon) => name.split_at(path + colon),
        None => (name, ":latest"),
    };
    let is_tag = tag.len() > 1
        && tag.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    let is_name = name.split('/').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c))
    });
    let is_digest =
        digest.is_none_or(|digest| digest.split_once(':').is_some_and(|(_, hex)| !hex.is_empty()));
    is_name && is_tag && is_digest
}

/// Comments right above a stage or a global argument that describe something else.
fn descriptions(file: &Dockerfile, globals: &[Instruction]) -> Vec<Warning> {
    let names = |at: &Instruction| match &at.kind {
        Kind::From { name: Some(name), .. } => Some(vec![name.clone()]),
        Kind::Arg(arguments) if globals.iter().any(|global| global.line == at.line) => {
            Some(arguments.iter().map(|(name, _)| name.clone()).collect())
        }
        _ => None,
    };
    let wrong = file.instructions.iter().filter(|at| {
        let Some(comment) = at.node.line.comments.last() else { return false };
        let first = comment.split_whitespace().next();
        names(at).is_some_and(|names| {
            first.is_some_and(|first| !names.iter().any(|name| name.eq_ignore_ascii_case(first)))
        })
    });
    let told = wrong.map(|at| {
        let message = "Comment for build stage or argument should follow the format: `# <arg/stage name> \
                       <description>`. If this is not intended to be a description comment, add an empty \
                       line or comment between the instruction and the comment.";
        warning("InvalidDefinitionDescription", at, message.to_owned())
    });
    told.collect()
}
