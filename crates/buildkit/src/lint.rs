//! Warnings of a Dockerfile, as builds tell them and `docker build --check` asks for them.
//!
//! Spec: github.com/moby/buildkit `frontend/subrequests/lint/lint.go`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::Dockerfile;
use build::dockerfile::Warning;
use build::ignore::Ignore;
use build::lint::{self, Facts, Policy};
use image::Image;
use serde_json::json;
use tonic::Status;

use crate::error::status;
use crate::progress::Steps;

/// The version of the report.
const VERSION: &str = "1.0.0";

/// What a build comes to.
pub(crate) enum Verdict {
    /// An image.
    Built(Box<Image>),
    /// Only a report, as a result's metadata.
    Checked(HashMap<String, Vec<u8>>),
}

/// The warnings of a Dockerfile that rules hold for: its own, or `rules`, and what these say of them.
pub(crate) struct Checked {
    policy: Policy,
    warnings: Vec<Warning>,
}

impl Checked {
    pub(crate) fn of(
        file: &Dockerfile,
        rules: Option<&str>,
        ignore: &Ignore,
    ) -> Result<Self, Status> {
        let policy = match rules.or(file.directives.check.as_deref()) {
            Some(rules) => Policy::parse(rules).map_err(|error| status(error.kind(), &error))?,
            None => Policy::default(),
        };
        let warnings =
            lint::check(file, &policy, &Facts { ignore: Some(ignore), environment: None });
        Ok(Self { policy, warnings })
    }

    /// Tells them; an error where the rules let none pass.
    pub(crate) fn judge(&self, steps: &Steps<'_>) -> Result<(), Status> {
        for warning in &self.warnings {
            steps.warn(&warning.to_string(), warning.url().unwrap_or_default());
        }
        self.policy.judge(&self.warnings).map_err(|error| status(error.kind(), &error))
    }

    /// All of them in the shape that `--check` prints.
    pub(crate) fn report(&self, filename: &str, text: &[u8]) -> HashMap<String, Vec<u8>> {
        let warnings: Vec<_> = self
            .warnings
            .iter()
            .map(|warning| {
                let line = json!({ "line": warning.line });
                json!({
                    "ruleName": warning.rule,
                    "url": warning.url().unwrap_or_default(),
                    "detail": warning.message,
                    "location": { "ranges": [{ "start": line, "end": line }] },
                })
            })
            .collect();
        let code = i32::from(!warnings.is_empty()).to_string();
        let sources = json!([{ "filename": filename, "language": "Dockerfile", "data": STANDARD.encode(text) }]);
        let report = json!({ "warnings": warnings, "sources": sources });
        let told: Vec<String> =
            self.warnings.iter().map(|warning| format!("WARNING: {warning}\n")).collect();
        let metadata = [
            ("result.json", report.to_string()),
            ("result.txt", told.concat()),
            ("result.statuscode", code),
            ("version", VERSION.to_owned()),
        ];
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect()
    }
}
