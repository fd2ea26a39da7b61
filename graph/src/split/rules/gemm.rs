//! `Gemm`: `y[i, j] = α · Σ_k a[i, k] · b[k, j] + β · c[i, j]`, where `a` and `b` may be stored the other way
//! round and `c` is broadcast (ONNX operators, Gemm).
//!
//! - Rows `i` of `y` are made of rows `i` of `a` and of `c`, where it has more than one, and all of `b`.
//! - Columns `j` are made of columns `j` of `b` and of `c`, where it has more than one, and all of `a`.
//! - A summand is made of some places `k` of `a` and `b`; the first part adds `β · c`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (left, right) = (part.shape(0)?, part.shape(1)?);
    if left.len() != 2 || right.len() != 2 {
        return Err(part.refuse("a factor is no matrix"));
    }
    let transposed = |name| usize::from(part.integer(name, 0) != 0);
    let (rows, columns) = (transposed("transA"), 1 - transposed("transB"));
    let has_term = part.input(2).is_some();
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let mut needs = match axis {
                0 => vec![Some(Need::along(rows, ranges)), Some(Need::Whole)],
                _ => vec![Some(Need::Whole), Some(Need::along(columns, ranges))],
            };
            if has_term {
                needs.push(Some(part.broadcast(2, *axis, 2, ranges)?));
            }
            Ok(Rewrite::same(part, needs, part.share(*axis, ranges)?))
        }
        Need::Summand => {
            let extent = left[1 - rows];
            let ranges = part.contraction(extent)?;
            let work = ranges.count() as f64 / extent.max(1) as f64;
            let mut needs =
                vec![Some(Need::along(1 - rows, &ranges)), Some(Need::along(1 - columns, &ranges))];
            if has_term {
                needs.push((part.index() == 0).then_some(Need::Whole));
            }
            let mut rewrite = Rewrite::same(part, needs, work);
            // Before operator set 11 there is no Gemm without the term.
            if has_term && part.index() > 0 && part.opset() < 11 {
                let zeros = Constant::zeros(part.output_type(0)?, part.shape(2)?);
                let inputs = vec![Argument::Input(0), Argument::Input(1), zeros];
                rewrite.operations = vec![Operation { inputs, ..Operation::same(part, &rewrite.needs) }];
            }
            Ok(rewrite)
        }
    }
}
