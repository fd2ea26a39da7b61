use std::fmt::Write as _;

/// Aligned columns: the first `left` of them to the left, the others to the right.
pub(crate) fn table<R: AsRef<[String]>>(rows: &[R], left: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.as_ref().iter().zip(&widths).enumerate() {
            let _ = if column < left {
                write!(line, "  {cell:<width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Rows without the columns that hold nothing below their heading, the first row.
pub(super) fn without_empty_columns<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<Vec<String>> {
    let used = |column: usize| rows.iter().skip(1).any(|row| !row[column].is_empty());
    let used: Vec<bool> = (0..COLUMNS).map(used).collect();
    let kept = |row: &[String; COLUMNS]| {
        row.iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell.clone()).collect()
    };
    rows.iter().map(kept).collect()
}
