//! Columns of text, as Go's tabwriter lays them out for runc.

/// Rows of equal length as lines: each column but the last as wide as its widest cell and three more.
pub(crate) fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| (widest(column) + 3).max(12)).collect();
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if index + 1 == columns {
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.len()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [["ID", "PID"], ["a-longer-name", "7"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(layout(&rows), "ID              PID\na-longer-name   7\n");
    }
}
