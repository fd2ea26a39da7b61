//! Lossy codecs on request, and the guard that takes them back where they move outputs too far.

use crate::failure::Failure;
use crate::pipeline::Walk;
use std::path::Path;
use tranche_partitioner::{Strategy, reprice};
use tranche_schema::{Accuracy, Codec, Plan, Profile};

/// How far outputs may be moved where nothing else is said.
pub const DEFAULT_ACCURACY: Accuracy = Accuracy::MaxRelative(0.01);

/// Reads `--lossy`.
///
/// # Errors
/// When it names no lossy codec.
pub fn lossy(name: &str) -> Result<Codec, Failure> {
    let lossy = || Codec::ALL.iter().copied().filter(|codec| !codec.is_lossless());
    lossy().find(|codec| codec.name() == name).ok_or_else(|| {
        let names: Vec<&str> = lossy().map(Codec::name).collect();
        Failure::usage(format!("`--lossy {name}` is no lossy codec"))
            .hint(format!("those are {}", names.join(", ")))
    })
}

/// Reads `--accuracy`, as `max-relative=0.01`.
///
/// # Errors
/// When the metric is none, or the bound no share.
pub fn accuracy(text: &str) -> Result<Accuracy, Failure> {
    let wrong = || {
        Failure::usage(format!("`--accuracy {text}` is no bound"))
            .hint("say `max-relative=0.01`, `cosine=0.999` or `top-1=0.99`; bounds are between 0 and 1")
    };
    let (metric, bound) = text.split_once('=').ok_or_else(wrong)?;
    let bound = bound.parse().ok().filter(|bound| (0.0..=1.0).contains(bound)).ok_or_else(wrong)?;
    match metric {
        "max-relative" => Ok(Accuracy::MaxRelative(bound)),
        "cosine" => Ok(Accuracy::Cosine(bound)),
        "top-1" => Ok(Accuracy::Top1(bound)),
        _ => Err(wrong()),
    }
}

impl Walk<'_> {
    /// The plan with lossless codecs for tensors whose lossy ones move the outputs further than its
    /// constraints allow, over the inputs at hand: the tensor that loses most goes first. The
    /// bundle is packaged along.
    ///
    /// # Errors
    /// As packaging and verifying; never because of a bound that is not kept: without lossy
    /// codecs there is none.
    pub fn guard(
        &self,
        profile: &mut Profile,
        strategy: &Strategy,
        plan: Plan,
        bundle: &Path,
    ) -> Result<Plan, Failure> {
        let mut plan = plan;
        let mut taken_back = Vec::new();
        while let Some((tensor, loss)) = most_lossy(profile, &plan) {
            let manifest = self.package(&plan, bundle)?;
            let record = self.verify(bundle, &manifest, None)?;
            let Some(accuracy) = record.accuracy.filter(|_| !record.passed) else { break };
            taken_back.push(format!(
                "`{tensor}` travels without loss: with {:.1e} of loss in it, {} was {:.3e}, asked for is {}",
                loss,
                accuracy.asked.name(),
                accuracy.found,
                accuracy.asked
            ));
            profile.codings.retain(|coding| coding.tensor != tensor || coding.codec.is_lossless());
            let (problem, cost) = self.problem(profile)?;
            let again = reprice(&problem, &cost, strategy, &plan)?;
            plan = Plan { frontier: plan.frontier, ..again };
        }
        plan.notes.extend(taken_back);
        Ok(plan)
    }
}

/// The tensor of a plan that a lossy codec changes most, and by how much of its scale.
fn most_lossy(profile: &Profile, plan: &Plan) -> Option<(String, f64)> {
    let lossy = plan.edges.iter().filter(|edge| !edge.codec.is_lossless());
    let loss = |name: &str, codec: Codec| {
        let mut known = profile.codings.iter();
        known.find(|coding| coding.tensor == name && coding.codec == codec).map_or(0.0, |coding| coding.loss)
    };
    lossy
        .map(|edge| (edge.tensor.name.clone(), loss(&edge.tensor.name, edge.codec)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        assert_eq!(accuracy("top-1=0.99").unwrap(), Accuracy::Top1(0.99));
        assert_eq!(accuracy("max-relative=1e-3").unwrap(), Accuracy::MaxRelative(1e-3));
        for wrong in ["top-1", "top-1=2", "cosine=nan", "fast=0.1", "=0.1"] {
            assert!(accuracy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_lossy_codecs_are_lossy() {
        assert_eq!(lossy("f16").unwrap(), Codec::F16);
        let refused = lossy("zstd").unwrap_err();
        assert!(refused.message.contains("`--lossy zstd`"), "{}", refused.message);
    }
}
