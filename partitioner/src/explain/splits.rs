//! What is split, in words.

use std::fmt::Write as _;
use tranche_schema::{ByteCount, Plan, Split};

/// A line for each split, under a heading; nothing where there is none.
pub(super) fn splits(plan: &Plan) -> String {
    let mut text = String::new();
    if !plan.splits.is_empty() {
        text.push_str("\nSplit\n");
    }
    for split in &plan.splits {
        let _ = writeln!(text, "  - {}", line(split));
    }
    text
}

fn line(split: &Split) -> String {
    let (first, last) = (split.layers.first(), split.layers.last());
    let span = match (first, last) {
        (Some(first), Some(last)) if first != last => {
            format!("`{first}` to `{last}` ({} layers)", split.layers.len())
        }
        (Some(first), _) => format!("`{first}`"),
        _ => String::new(),
    };
    let most = |bytes: &[ByteCount]| bytes.iter().copied().max().unwrap_or_default();
    let work = |pick: fn(f64, f64) -> f64| split.work.iter().copied().reduce(pick).unwrap_or(0.0) * 100.0;
    let more = split.work.iter().sum::<f64>() - 1.0;
    let kind =
        split.name.split('-').next().unwrap_or_default().trim_end_matches(|last: char| last.is_ascii_digit());
    let held: ByteCount = split.weights_bytes.iter().copied().sum();
    format!(
        "{span} into {} parts by {kind}: each does {:.0} to {:.0} % of the work ({:+.0} % done more than once), \
         is sent {}, gives out {}; weights {} in all parts, {} whole",
        split.parts,
        work(f64::min),
        work(f64::max),
        more * 100.0,
        most(&split.scattered_bytes),
        most(&split.gathered_bytes),
        held,
        split.whole_weights_bytes,
    )
}
