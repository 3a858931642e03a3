//! The stages of a Dockerfile, and which of them a target needs.
//!
//! A stage can only name stages before it, so what it needs is a graph without circles.

use std::collections::BTreeSet;

use crate::dockerfile::{Dockerfile, Instruction, Kind};

/// A Dockerfile's stages.
#[derive(Debug)]
pub struct Plan {
    /// `ARG` before the first stage.
    pub globals: Vec<Instruction>,
    /// In the order of the file.
    pub stages: Vec<Stage>,
    /// The number of the stage that is built.
    pub target: usize,
}

/// `FROM` and what follows it.
#[derive(Debug)]
pub struct Stage {
    /// Its name, in lower case.
    pub name: Option<String>,
    /// The `FROM`.
    pub from: Instruction,
    /// What comes behind.
    pub instructions: Vec<Instruction>,
}

/// Why there is nothing to build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No stage has that name.
    #[error("target stage {0:?} could not be found{1}")]
    NoTarget(String, String),
    /// A stage that needs itself, or one behind it.
    #[error(
        "{line}: circular dependency: stage {stage:?} can only use stages before it, not {name:?}"
    )]
    Circle {
        /// Where, as `line 3`.
        line: String,
        /// Who.
        stage: String,
        /// Whom.
        name: String,
    },
}

impl Plan {
    /// Orders a Dockerfile; without a target its last stage is built.
    pub fn of(dockerfile: Dockerfile, target: Option<&str>) -> Result<Self, Error> {
        let mut globals = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for instruction in dockerfile.instructions {
            match (&instruction.kind, stages.last_mut()) {
                (Kind::From { name, .. }, _) => {
                    let name = name.clone();
                    stages.push(Stage { name, from: instruction, instructions: Vec::new() });
                }
                (_, Some(stage)) => stage.instructions.push(instruction),
                (_, None) => globals.push(instruction),
            }
        }
        let mut plan = Self { globals, stages, target: 0 };
        plan.target = match target.filter(|target| !target.is_empty()) {
            None => plan.stages.len().saturating_sub(1),
            Some(name) => plan.named(name, plan.stages.len()).ok_or_else(|| plan.lost(name))?,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The number of the last stage before number `before` that `name` means: a name or a number.
    pub fn named(&self, name: &str, before: usize) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let is = |stage: &Stage| stage.name.as_deref() == Some(lower.as_str());
        let named = self.stages.iter().take(before).rposition(is);
        named.or_else(|| name.parse().ok().filter(|number: &usize| *number < before))
    }

    /// The stages that the target needs, itself among them. `base` gives what a stage begins with, its
    /// variables replaced.
    pub fn needed(&self, base: impl Fn(&Stage) -> String) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut pending = vec![self.target];
        while let Some(number) = pending.pop() {
            if needed.insert(number) {
                let stage = &self.stages[number];
                let names = std::iter::once(base(stage)).chain(stage.sources());
                pending.extend(names.filter_map(|name| self.named(&name, number)));
            }
        }
        needed
    }

    fn check(&self) -> Result<(), Error> {
        for (number, stage) in self.stages.iter().enumerate() {
            for instruction in &stage.instructions {
                for name in sources(instruction) {
                    let later = self.named(&name, self.stages.len());
                    if self.named(&name, number).is_none() && later.is_some() {
                        return Err(Error::Circle {
                            line: format!("line {}", instruction.line),
                            stage: stage.name.clone().unwrap_or_else(|| number.to_string()),
                            name,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn lost(&self, name: &str) -> Error {
        let names: Vec<&str> =
            self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let hint = if names.is_empty() {
            ": no stage has a name".to_owned()
        } else {
            format!(": the stages are {}", names.join(", "))
        };
        Error::NoTarget(name.to_owned(), hint)
    }
}

impl Stage {
    /// What its instructions take files from.
    fn sources(&self) -> impl Iterator<Item = String> {
        self.instructions.iter().flat_map(sources)
    }
}

/// What an instruction takes files from, other than the context.
fn sources(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        Kind::Copy(transfer) | Kind::Add(transfer) => transfer.from.iter().cloned().collect(),
        Kind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.clone()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, target: Option<&str>) -> Result<Plan, Error> {
        Plan::of(Dockerfile::parse(text.as_bytes()).expect("parses"), target)
    }

    fn needed(text: &str, target: Option<&str>) -> Vec<usize> {
        let base = |stage: &Stage| match &stage.from.kind {
            Kind::From { image, .. } => image.clone(),
            _ => String::new(),
        };
        plan(text, target).expect("a plan").needed(base).into_iter().collect()
    }

    #[test]
    fn only_what_the_target_needs_is_built() {
        let text = "ARG v=1\nFROM a AS one\nFROM b AS two\nRUN x\nFROM one AS three\n\
                    COPY --from=two /x /\nFROM scratch\nCOPY --from=1 /y /\n";
        assert_eq!(needed(text, None), [1, 3]);
        assert_eq!(needed(text, Some("Three")), [0, 1, 2]);
        assert_eq!(needed(text, Some("0")), [0]);
        assert_eq!(plan(text, Some("3")).expect("a plan").globals.len(), 1);
    }

    #[test]
    fn a_stage_cannot_use_itself_or_a_later_one() {
        let error = plan("FROM a AS one\nCOPY --from=two /x /\nFROM b AS two\n", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: circular dependency: stage \"one\" can only use stages before it, not \"two\""
        );
        let lost = plan("FROM a AS one\n", Some("tow")).unwrap_err();
        assert_eq!(lost.to_string(), "target stage \"tow\" could not be found: the stages are one");
    }
}
