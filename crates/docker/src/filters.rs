//! The `filters` parameter of lists.
//!
//! Both forms are in use: `{"label":["a","b=c"]}`, and the older `{"label":{"a":true,"b=c":true}}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::Error;

/// What a list is to be narrowed to: all names must match, one value of each is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads the JSON of the parameter; an empty text filters nothing.
    ///
    /// # Errors
    ///
    /// 400 for what is not JSON of either form, and for a name that is not in `known`: a filter that
    /// is silently passed over would make `prune` remove too much.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("invalid filters {text:?}: {error}")))?;
        let filters = Self::from_json(&value)
            .ok_or_else(|| Error::invalid(format!("invalid filters {text:?}")))?;
        match filters.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Error::invalid(format!("invalid filter '{name}'"))),
            None => Ok(filters),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let entries = match value {
            Value::Null => return Some(Self::default()),
            Value::Object(entries) => entries,
            _ => return None,
        };
        let values = |value: &Value| -> Option<BTreeSet<String>> {
            match value {
                Value::Null => Some(BTreeSet::new()),
                Value::Array(list) => list.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
                Value::Object(map) => map
                    .iter()
                    .map(|(key, on)| Some((key.clone(), on.as_bool()?)))
                    .collect::<Option<Vec<_>>>()
                    .map(|pairs| pairs.into_iter().filter(|(_, on)| *on).map(|p| p.0).collect()),
                _ => None,
            }
        };
        let named = entries.iter().map(|(name, value)| Some((name.clone(), values(value)?)));
        let mut filters: BTreeMap<_, _> = named.collect::<Option<_>>()?;
        filters.retain(|_, values| !values.is_empty());
        Some(Self(filters))
    }

    /// The values given for `name`.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// True when `name` was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// True when `name` was not given, or `test` holds for one of its values.
    pub(crate) fn any(&self, name: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(name) || self.values(name).any(test)
    }

    /// True when some `label!` filter, a key or `key=value`, is met by `labels`.
    pub(crate) fn unwanted(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label!").any(|unwanted| match unwanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(unwanted),
        })
    }

    /// True when every `label` filter, a key or `key=value`, is met by `labels`.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// A filter whose only values are words for true and false.
    ///
    /// # Errors
    ///
    /// 400 for any other word, or for both.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, Error> {
        let words: Vec<&str> = self.values(name).collect();
        match words.as_slice() {
            [] => Ok(None),
            ["1" | "true" | "True"] => Ok(Some(true)),
            ["0" | "false" | "False"] => Ok(Some(false)),
            _ => Err(Error::invalid(format!("invalid filter '{name}={}'", words.join(",")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KNOWN: [&str; 3] = ["name", "label", "dangling"];

    fn parse(text: &str) -> Result<Filters, Error> {
        Filters::parse(text, &KNOWN)
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let cases = [
            ("[]", "invalid filters \"[]\""),
            ("{\"name\":1}", "invalid filters \"{\\\"name\\\":1}\""),
            ("{\"name\":[1]}", "invalid filters \"{\\\"name\\\":[1]}\""),
            ("{\"nope\":[\"x\"]}", "invalid filter 'nope'"),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).unwrap_err().message(), want);
        }
        assert!(parse("{").is_err());
    }

    #[test]
    fn nothing_filters_nothing() {
        for text in ["", "{}", "null", "{\"name\":[]}", "{\"name\":{}}", "{\"name\":{\"x\":false}}"]
        {
            assert_eq!(parse(text), Ok(Filters::default()), "{text}");
        }
    }

    #[test]
    fn labels_match_by_key_or_by_key_and_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (wanted, want) in [
            (json!(["a"]), true),
            (json!(["a=1"]), true),
            (json!(["a=2"]), false),
            (json!(["a", "b"]), false),
        ] {
            let filters = parse(&json!({ "label": wanted }).to_string()).expect("valid");
            assert_eq!(filters.labels(&labels), want, "{wanted}");
        }
    }

    #[test]
    fn a_switch_has_one_value() {
        let switch = |text| parse(text).expect("valid").switch("dangling").ok().flatten();
        assert_eq!(switch("{\"dangling\":{\"true\":true}}"), Some(true));
        assert_eq!(switch("{\"dangling\":[\"0\"]}"), Some(false));
        assert_eq!(switch("{}"), None);
        assert!(parse("{\"dangling\":[\"maybe\"]}").expect("valid").switch("dangling").is_err());
    }

    proptest! {
        #[test]
        fn both_forms_say_the_same(values in prop::collection::vec("\\PC{0,8}", 0..5)) {
            let list = json!({ "name": values });
            let map: serde_json::Map<_, _> =
                values.iter().map(|value| (value.clone(), Value::Bool(true))).collect();
            prop_assert_eq!(parse(&list.to_string()), parse(&json!({ "name": map }).to_string()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
