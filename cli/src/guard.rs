//! The guard that takes lossy codecs back where they move outputs too far.

use crate::failure::Failure;
use crate::pipeline::Walk;
use std::path::Path;
use tranche_partitioner::{Strategy, reprice};
use tranche_schema::{Codec, Plan, Profile};

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
