//! Pages of one file: no script, no font, no picture from elsewhere.

mod axis;

pub(crate) use axis::Axis;

use crate::failure::Failure;
use std::fmt::Write as _;
use std::path::Path;
use tranche_schema::{exit_code, write_atomically};

const STYLE: &str = include_str!("page/page.css");

/// Cells longer than this are cut off by the style sheet, and told whole when pointed at.
const LONG: usize = 48;

/// A page with this title; `style` adds to the style that all pages share. The body is HTML.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n<style>\n{STYLE}{style}</style>\n\
         </head>\n<body>\n<main>\n<h1>{0}</h1>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// Writes a page, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, page: &str) -> Result<(), Failure> {
    write_atomically(path, page.as_bytes()).map_err(|error| {
        Failure::new("report", exit_code::USAGE, format!("cannot write {}: {error}", path.display()))
            .hint("check that the folder exists, is writable and has space")
    })
}

/// Text as HTML and SVG take it, between elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A table below its heading; rows that are best are marked.
pub(crate) fn table(page: &mut String, title: &str, header: &[&str], rows: &[(bool, Vec<String>)]) {
    let _ = writeln!(page, "<h2>{}</h2>\n<div class=\"wide\"><table>\n<thead><tr>", escape(title));
    for cell in header {
        let _ = writeln!(page, "<th scope=\"col\">{}</th>", escape(cell));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (best, row) in rows {
        let class = if *best { " class=\"best\"" } else { "" };
        let last = row.len().saturating_sub(1);
        let cells: String = row.iter().enumerate().map(|(at, cell)| table_cell(cell, at == last)).collect();
        let _ = writeln!(page, "<tr{class}>{cells}</tr>");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// A cell; the last of a row has room for what is long.
fn table_cell(text: &str, last: bool) -> String {
    let shown = escape(text);
    if last || text.chars().count() <= LONG {
        format!("<td>{shown}</td>")
    } else {
        format!("<td title=\"{shown}\"><span class=\"long\">{shown}</span></td>")
    }
}

/// At most `most` letters of a text, the middle left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (most.saturating_sub(1).div_ceil(2), most.saturating_sub(1) / 2);
    let head: String = letters.iter().take(head).collect();
    let tail: String = letters.iter().skip(letters.len() - tail).collect();
    format!("{head}…{tail}")
}

/// A drawing of this size, which grows and shrinks with the page; `body` is SVG.
pub(crate) fn svg(label: &str, width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n{body}</svg>\n",
        escape(label)
    )
}

/// A number without zeros that say nothing.
pub(crate) fn number(value: f64) -> String {
    trimmed(&format!("{value:.4}"))
}

/// A decimal number without zeros at its end.
pub(crate) fn trimmed(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// A time beside a tick of an axis.
pub(crate) fn tick_time(value: f64) -> String {
    if value >= 1000.0 { format!("{} s", number(value / 1000.0)) } else { format!("{} ms", number(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_text() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shortened("conv2d_1", 8), "conv2d_1");
        assert_eq!(shortened("features.denseblock4.conv2", 9), "feat…onv2");
        assert_eq!(shortened("ßßßßßß", 3), "ß…ß");
    }

    #[test]
    fn long_cells_are_cut_off_and_told_whole() {
        let name = "<x>".repeat(20);
        let mut page = String::new();
        table(&mut page, "t", &["a", "b"], &[(false, vec![name.clone(), name.clone()])]);
        let shown = escape(&name);
        assert!(page.contains(&format!(
            "<td title=\"{shown}\"><span class=\"long\">{shown}</span></td><td>{shown}</td>"
        )));
    }
}
