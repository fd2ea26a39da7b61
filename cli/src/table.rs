//! Text tables.

use comfy_table::{CellAlignment, Table, presets};

/// A table without borders: the header, then the rows. Columns whose name is in
/// `left` are aligned left, all others right.
#[must_use]
pub fn render(header: &[&str], rows: &[Vec<String>], left: &[&str]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            column.set_cell_alignment(if left.contains(name) {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            });
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A ratio as `2.31x`; a dash when the divisor is nothing.
#[must_use]
pub fn ratio(over: f64, under: f64) -> String {
    if under > 0.0 { format!("{:.2}x", over / under) } else { "–".to_owned() }
}

/// A table without the columns that hold nothing in any row.
#[must_use]
pub fn without_empty_columns<'a>(
    header: &[&'a str],
    rows: &[Vec<String>],
) -> (Vec<&'a str>, Vec<Vec<String>>) {
    let used: Vec<bool> = (0..header.len())
        .map(|column| rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty())))
        .collect();
    let kept = |row: &Vec<String>| {
        row.iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell.clone()).collect()
    };
    let header = header.iter().zip(&used).filter(|(_, used)| **used).map(|(name, _)| *name).collect();
    (header, rows.iter().map(kept).collect())
}
