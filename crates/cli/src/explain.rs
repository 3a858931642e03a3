//! `hull explain`: the pages behind the codes of errors.

use clap::Args;
use spec::fault::{self, Fault};

use crate::client::Client;
use crate::error::Error;
use crate::verb::Verb;
use crate::{output, table};

/// `hull explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull explain              every code
  hull explain H0103        its page")]
pub(crate) struct Explain {
    /// Print all pages, as Markdown
    #[arg(long, conflicts_with = "code")]
    all: bool,
    /// What an error names behind its message
    code: Option<String>,
}

impl Verb for Explain {
    async fn run(self, _: &Client) -> Result<u8, Error> {
        if self.all {
            output::text(&pages());
        } else if let Some(code) = self.code {
            let fault = fault::by_code(&code).ok_or_else(|| Error::Argument {
                option: "code",
                value: code,
                want: "one of those that hull explain lists".to_owned(),
            })?;
            output::text(&page(fault));
        } else {
            let rows = fault::ALL.iter();
            let rows = rows.map(|fault| vec![fault.code.to_owned(), fault.title.to_owned()]);
            table::print(vec!["CODE".into(), "WHAT".into()], rows, true);
        }
        Ok(0)
    }
}

fn page(fault: &Fault) -> String {
    let Fault { code, title, why, remedy, more } = fault;
    format!("{code}: {title}\n\n  why: {why}\n  do:  {remedy}\n\n{more}\n")
}

/// The contents of `docs/errors.md`.
fn pages() -> String {
    let mut text = "# Errors\n\nWhat `hull` shows behind a message, and `hull explain CODE`. \
                    Made by `hull explain --all`.\n"
        .to_owned();
    for Fault { code, title, why, remedy, more } in fault::ALL {
        let page =
            format!("\n## {code}: {title}\n\n- Why: {why}.\n- What to do: {remedy}.\n\n{more}\n");
        text.push_str(&page);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_table_says() {
        let kept = include_str!("../../../docs/errors.md");
        assert!(kept == pages(), "hull explain --all >docs/errors.md");
    }
}
