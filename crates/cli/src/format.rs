//! How lists and documents are printed: `--format`, `--quiet`, `--no-trunc`.
//!
//! ```text
//!   nothing, "table"     columns that are shown        "json"      an object a line
//!   "table TEMPLATE"     columns of the template       TEMPLATE    a line a row
//! ```
//!
//! A [`List`] names its columns once; heads, fields of templates and keys of JSON come from there.

use clap::Args;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::template::Template;
use crate::{output, table};

/// How a list is to look.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Look {
    /// table, json, or a Go template: '{{.ID}}', 'table {{.ID}}\t{{.Names}}'
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print ids or names alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not cut anything
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// The columns of a list.
#[derive(Debug)]
pub(crate) struct List {
    /// The field that a row is known by; alone with `--quiet`.
    pub(crate) key: &'static str,
    /// Field and head of each column, in the order of a row's cells.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    /// Fields of columns that are not in the usual table.
    pub(crate) hidden: &'static [&'static str],
}

/// One line of a list.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// As many as there are columns.
    pub(crate) cells: Vec<String>,
    /// What `{{.Label "key"}}` looks in.
    pub(crate) labels: Value,
}

impl From<Vec<String>> for Row {
    fn from(cells: Vec<String>) -> Self {
        Self { cells, labels: Value::Null }
    }
}

/// A format that was understood.
enum Format {
    Table,
    TableOf(Template),
    Json,
    Lines(Template),
}

impl Format {
    fn parse(text: Option<&str>) -> Result<Self, Error> {
        match text {
            None | Some("table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(columns) => Ok(Self::TableOf(Template::parse(columns)?)),
                None => Ok(Self::Lines(Template::parse(text)?)),
            },
        }
    }
}

impl Look {
    /// `--quiet` alone.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet && self.format.is_none()
    }

    /// A text of at most so many characters, unless nothing is to be cut.
    pub(crate) fn cut(&self, text: &str, length: usize) -> String {
        if self.no_trunc || text.chars().count() <= length {
            return text.to_owned();
        }
        let kept: String = text.chars().take(length.saturating_sub(1)).collect();
        format!("{kept}…")
    }

    /// An id without its algorithm, short unless nothing is to be cut.
    pub(crate) fn id(&self, id: &str) -> String {
        if self.no_trunc { id.to_owned() } else { short(id) }
    }
}

/// The twelve digits that people know an id by.
pub(crate) fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

impl List {
    /// Prints the rows as they are to look.
    pub(crate) fn print(&self, rows: Vec<Row>, look: &Look) -> Result<(), Error> {
        let format = Format::parse(look.format.as_deref())?;
        if look.is_quiet() {
            let key = self.columns.iter().position(|(field, _)| *field == self.key);
            rows.iter().filter_map(|row| row.cells.get(key?)).for_each(output::line);
            return Ok(());
        }
        match format {
            Format::Table => {
                let shown = |at: &usize| !self.hidden.contains(&self.columns[*at].0);
                let heads = (0..self.columns.len()).filter(shown);
                let heads = heads.map(|at| self.columns[at].1.to_owned()).collect();
                let cells = |row: Row| {
                    let cells = row.cells.into_iter().enumerate();
                    cells.filter(|(at, _)| shown(at)).map(|(_, cell)| cell).collect()
                };
                table::print(heads, rows.into_iter().map(cells), !look.no_trunc);
            }
            Format::Json => rows.into_iter().for_each(|row| output::line(self.object(row))),
            Format::TableOf(template) => {
                let heads = self.columns.iter().map(|(_, head)| (*head).to_owned()).collect();
                let heads =
                    template.apply(&self.fields(Row { cells: heads, labels: Value::Null }))?;
                let split = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
                let rows = rows.into_iter().map(|row| template.apply(&self.fields(row)));
                let rows = rows.collect::<Result<Vec<_>, _>>()?;
                table::print(split(&heads), rows.iter().map(|line| split(line)), false);
            }
            Format::Lines(template) => {
                for row in rows {
                    output::line(template.apply(&self.fields(row))?);
                }
            }
        }
        Ok(())
    }

    /// What JSON shows of a row.
    fn object(&self, row: Row) -> Value {
        let names = self.columns.iter().map(|(field, _)| (*field).to_owned());
        Value::Object(names.zip(row.cells.into_iter().map(Value::from)).collect::<Map<_, _>>())
    }

    /// What a template sees of a row.
    fn fields(&self, mut row: Row) -> Value {
        let labels = match row.labels.take() {
            Value::Object(labels) => labels,
            _ => Map::new(),
        };
        let mut fields = self.object(row);
        fields["Label"] = Value::Object(labels);
        fields
    }
}

/// Prints whole documents: as a list in JSON, or each by a template.
pub(crate) fn documents(found: Vec<Value>, format: Option<&str>) -> Result<(), Error> {
    match Format::parse(format)? {
        Format::Table => output::line(format_args!("{:#}", Value::Array(found))),
        Format::Json => found.iter().for_each(output::line),
        Format::Lines(template) | Format::TableOf(template) => {
            for document in &found {
                output::line(template.apply(document)?);
            }
        }
    }
    Ok(())
}

/// True when documents are printed as text for people.
pub(crate) fn for_people(format: Option<&str>) -> bool {
    matches!(format, None | Some("table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_texts_are_cut_unless_nothing_is() {
        let look = Look::default();
        let id = "sha256:0123456789abcdef";
        assert_eq!((&*look.id(id), &*look.cut("abcdef", 4)), ("0123456789ab", "abc…"));
        let whole = Look { no_trunc: true, ..Look::default() };
        assert_eq!((&*whole.id(id), &*whole.cut("abcdef", 4)), (id, "abcdef"));
        assert_eq!(look.cut("abcd", 4), "abcd");
    }

    #[test]
    fn templates_see_fields_and_labels() {
        const LIST: List =
            List { key: "ID", columns: &[("ID", "ID"), ("Name", "NAME")], hidden: &[] };
        let row =
            Row { cells: vec!["1".into(), "x".into()], labels: serde_json::json!({ "k": "v" }) };
        let template = Template::parse(r#"{{.ID}} {{.Name}} {{.Label "k"}} {{.Label "no"}}."#);
        let shown = template.expect("valid").apply(&LIST.fields(row));
        assert_eq!(shown.as_deref(), Ok("1 x v ."));
    }
}
