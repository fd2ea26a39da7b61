//! Horizontal splits: layers as parts that run at once, in functions of their own.
//!
//! What can be split, and how, is `tranche_graph::split`'s to say; here regions of adjacent
//! layers are tried along every axis and in several numbers of parts ([`candidates`]), priced as
//! functions ([`Splits`]), chosen by the search beside slices, and written into the problem
//! ([`compose`]): each part becomes a layer, and what cuts pieces out of a tensor, or joins what
//! parts made, becomes a layer of the slice that makes the tensor, or reads it. From there on a
//! plan with splits is a plan like any other.

mod candidates;
mod compose;
mod offers;
mod placed;
mod source;
mod uneven;

pub(crate) use candidates::{Candidate, PartNeeds, candidates, part_name};
pub(crate) use compose::compose;
pub(crate) use offers::Splits;
pub(crate) use placed::{Placed, placed_of};
pub use source::Source;

use crate::Problem;
use std::sync::Arc;
use tranche_schema::{Patch, Split};

/// What a problem knows of splits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Horizontal {
    /// The graph, where splits may be looked for.
    pub source: Option<Source>,
    /// What the problem was before some of its layers were split.
    pub(crate) basis: Option<Arc<Basis>>,
}

impl Horizontal {
    /// Splits may be looked for in this graph.
    #[must_use]
    pub fn of(source: Source) -> Self {
        Self { source: Some(source), basis: None }
    }
}

/// A problem before some of its layers were split, and the splits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Basis {
    pub(crate) problem: Problem,
    pub(crate) splits: Vec<Split>,
    pub(crate) patch: Patch,
}

impl Problem {
    /// The problem as it is without splits.
    pub(crate) fn unsplit(&self) -> &Self {
        self.horizontal.basis.as_ref().map_or(self, |basis| &basis.problem)
    }
}
