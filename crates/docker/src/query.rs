//! What stands behind the `?`.

use std::str::FromStr;

use crate::error::Error;
use crate::filters::Filters;

/// The parameters of a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=%20`.
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of `name`; an empty one is none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch: off when absent, empty, `0`, `no`, `false` or `none`; on for anything else.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| {
            !matches!(value.to_ascii_lowercase().trim(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// A number or another value with a text form.
    ///
    /// # Errors
    ///
    /// 400 that names the parameter when the text is not one.
    pub(crate) fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| Error::invalid(format!("invalid {name} {text:?}")))
            })
            .transpose()
    }

    /// The `filters` parameter, of which only the names in `known` are allowed.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters, Error> {
        Filters::parse(self.text("filters").unwrap_or_default(), known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_unless_a_word_for_off_is_given() {
        for (text, want) in [
            ("", false),
            ("all", false),
            ("all=", false),
            ("all=0", false),
            ("all=No", false),
            ("all=FALSE", false),
            ("all=none", false),
            ("all=1", true),
            ("all=true", true),
            ("all=True", true),
            ("all=2", true),
        ] {
            assert_eq!(Query::parse(text).flag("all"), want, "{text}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let query = Query::parse("t=ten&n=7");
        assert_eq!(query.value::<u32>("n"), Ok(Some(7)));
        assert_eq!(query.value::<u32>("absent"), Ok(None));
        assert_eq!(query.value::<u32>("t").unwrap_err().message(), "invalid t \"ten\"");
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("ps_args=-o+pid%2Ccomm");
        assert_eq!(query.text("ps_args"), Some("-o pid,comm"));
    }
}
