//! Columns, as people read them.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table};

use crate::{output, terminal};

/// Prints `rows` beneath `heads`, columns aligned. On a terminal that is too narrow the widest columns
/// are cut if `cut` says so.
pub(crate) fn print(heads: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>, cut: bool) {
    let width = terminal::columns().filter(|_| cut);
    for line in lines(heads, rows, width) {
        output::line(line);
    }
}

fn lines(
    heads: Vec<String>,
    rows: impl IntoIterator<Item = Vec<String>>,
    width: Option<u16>,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.set_truncation_indicator("…");
    }
    let row = |cells: Vec<String>| {
        let mut row = Row::from(cells);
        if width.is_some() {
            row.max_height(1);
        }
        row
    };
    table.set_header(row(heads));
    table.add_rows(rows.into_iter().map(row));
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 3));
        // What a row is known by stays whole.
        if at == 0 && width.is_some() {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_terminal() {
        let heads = || ["ID", "COMMAND", "NAMES"].map(str::to_owned).to_vec();
        let row = || vec!["0123456789ab".to_owned(), "x".repeat(90), "some-name".to_owned()];
        let wide = lines(heads(), [row()], None);
        assert!(wide[1].len() > 110 && wide[1].starts_with("0123456789ab   xxx"), "{wide:?}");
        let narrow = lines(heads(), [row()], Some(60));
        assert!(narrow.iter().all(|line| line.chars().count() <= 60), "{narrow:?}");
        assert!(narrow[1].starts_with("0123456789ab   x"), "{narrow:?}");
        assert_eq!(narrow.len(), 2, "{narrow:?}");
    }
}
