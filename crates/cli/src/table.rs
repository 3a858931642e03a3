//! Lists, as people read them.

use comfy_table::Table;

use crate::output;

/// Prints `rows` beneath `heads`, columns aligned.
pub(crate) fn print(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    for line in table.to_string().lines() {
        output::line(line.trim_end());
    }
}

/// Bytes in decimal units with three digits, as Docker shows sizes.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[allow(clippy::cast_precision_loss)] // three digits are shown
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (count, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (7_350_000, "7.35MB"),
            (73_500_000, "73.5MB"),
            (735_000_000, "735MB"),
            (u64::MAX, "18446744TB"),
        ] {
            assert_eq!(bytes(count), want);
        }
    }
}
