//! `--filter`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// What a list is narrowed by.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Filters {
    /// Those for which this holds, e.g. isolation=hyperv; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Filters {
    /// Those given in another way.
    pub(crate) fn of(filter: Vec<String>) -> Self {
        Self { filter }
    }

    /// In the API's form.
    pub(crate) fn json(&self) -> Result<String, Error> {
        self.with(&[])
    }

    /// In the API's form, with further ones.
    pub(crate) fn with(&self, more: &[(&str, &str)]) -> Result<String, Error> {
        let mut filters = Map::new();
        let mut add = |key: &str, value: &str| {
            filters.entry(key).or_insert_with(|| json!({}))[value] = Value::Bool(true);
        };
        for filter in &self.filter {
            let (key, value) = filter.split_once('=').ok_or_else(|| Error::Argument {
                option: "--filter",
                value: filter.clone(),
                want: "KEY=VALUE".into(),
            })?;
            add(key, value);
        }
        for (key, value) in more {
            add(key, value);
        }
        Ok(Value::Object(filters).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let filter = ["status=running", "status=paused", "label=a=b"].map(str::to_owned).to_vec();
        let filters = Filters { filter };
        let want = r#"{"label":{"a=b":true},"status":{"paused":true,"running":true}}"#;
        assert_eq!(filters.json().ok().as_deref(), Some(want));
        assert!(Filters { filter: vec!["x".to_owned()] }.json().is_err());
    }
}
