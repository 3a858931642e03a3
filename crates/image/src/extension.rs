//! What Docker writes into an image's configuration beyond the OCI image-spec.

use serde::{Deserialize, Serialize};

/// The fields of `config` that Docker adds and that change how a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Extension {
    /// `HEALTHCHECK`.
    pub healthcheck: Option<Healthcheck>,
    /// `ONBUILD`: instructions for builds on this image.
    pub on_build: Option<Vec<String>>,
    /// `SHELL`: the words in front of a command line.
    pub shell: Option<Vec<String>>,
}

/// How to find out whether the program does its work. Times are nanoseconds; 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `CMD` and words, `CMD-SHELL` and a line, or `NONE`; empty takes the image's.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks; 30 s.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long one may take; 30 s.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count after the start; 0.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in that time; 5 s.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make it unhealthy; 3.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// `null` is not set, as Go reads it: Python clients write every field.
fn or_default<'de, T, D>(value: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

impl Extension {
    /// Reads it from a configuration; what is not as Docker writes it is not there.
    pub(crate) fn parse(configuration: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Configuration {
            config: Option<Extension>,
        }
        let read = serde_json::from_slice::<Configuration>(configuration).ok();
        read.and_then(|read| read.config).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_adds_is_read_and_what_makes_no_sense_is_left_out() {
        let text =
            br#"{"config":{"Healthcheck":{"Test":["CMD","true"],"Interval":5,"Retries":null},
                "Shell":null}}"#;
        let want = Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval: 5,
            ..Healthcheck::default()
        };
        assert_eq!(Extension::parse(text).healthcheck, Some(want));
        assert_eq!(Extension::parse(br#"{"config":{"Healthcheck":7}}"#), Extension::default());
    }
}
