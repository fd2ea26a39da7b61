//! Label setting: Pareto fronts of ways to each position of the order.

use super::steps::{Path, Step, Steps};

/// A way to a position: its totals so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// The total by which fronts are kept, rising.
    pub(super) value: f64,
    /// The other.
    pub(super) bounded: f64,
    /// When a cold request is done here; 0 throughout where that is not asked.
    pub(super) cold: f64,
    /// Functions so far.
    pub(super) slices: usize,
    step: Option<(usize, Step)>,
    parent: usize,
}

/// Labels that are not beaten, by position and slice count.
pub(super) struct Fronts {
    arena: Vec<Label>,
    fronts: Vec<Vec<usize>>,
    states: usize,
    count: usize,
    least: usize,
}

impl Fronts {
    /// All labels from the first layer on, `totals` of a step being what it adds to the two
    /// totals, that `keep` admits at a position and slice count. None after `most` trials.
    pub(super) fn explore(
        steps: &Steps<'_>,
        with_cold: bool,
        most: usize,
        totals: impl Fn(&Step) -> (f64, f64),
        keep: impl Fn(&Label, usize, usize) -> bool,
    ) -> Option<Self> {
        let bounds = steps.bounds;
        let (count, states) = (steps.count(), bounds.states());
        let start = Label { value: 0.0, bounded: 0.0, cold: 0.0, slices: 0, step: None, parent: usize::MAX };
        let fronts = vec![Vec::new(); (count + 1) * states];
        let mut all = Self { arena: vec![start], fronts, states, count, least: bounds.least };
        all.fronts[0].push(0);
        let mut trials = 0;
        let mut buffer = Vec::new();
        for first in 0..count {
            if all.fronts[first * states..(first + 1) * states].iter().all(Vec::is_empty) {
                continue;
            }
            for step in steps.from(first, &mut buffer) {
                let end = step.end as usize;
                let (value, bounded) = totals(step);
                for state in 0..states {
                    let Some(after) = bounds.advance(state, usize::from(step.slices)) else { continue };
                    for place in 0..all.fronts[first * states + state].len() {
                        trials += 1;
                        let parent = all.fronts[first * states + state][place];
                        let before = &all.arena[parent];
                        let label = Label {
                            value: before.value + value,
                            bounded: before.bounded + bounded,
                            cold: if with_cold { step.cold_finish(before.cold) } else { 0.0 },
                            slices: before.slices + usize::from(step.slices),
                            step: Some((first, *step)),
                            parent,
                        };
                        if keep(&label, end, after) {
                            insert(&mut all.arena, &mut all.fronts[end * states + after], label);
                        }
                    }
                }
                if trials > most {
                    return None;
                }
            }
        }
        Some(all)
    }

    /// Labels past the last layer with enough slices.
    pub(super) fn ends(&self) -> Vec<(usize, &Label)> {
        (self.least..self.states)
            .flat_map(|state| &self.fronts[self.count * self.states + state])
            .map(|&at| (at, &self.arena[at]))
            .collect()
    }

    /// The way that a label stands for.
    pub(super) fn path(&self, mut label: usize) -> Path {
        let mut path = Vec::new();
        while let Some(step) = self.arena[label].step {
            path.push(step);
            label = self.arena[label].parent;
        }
        path.reverse();
        path
    }
}

/// Adds a label to a Pareto front kept by rising value, unless one there is at least as
/// good in all; drops those that it beats.
fn insert(arena: &mut Vec<Label>, front: &mut Vec<usize>, label: Label) {
    let beats = |one: &Label, other: &Label| {
        one.value <= other.value && one.bounded <= other.bounded && one.cold <= other.cold
    };
    let place = front.partition_point(|&other| arena[other].value <= label.value);
    // Without a third total the nearest tells for all before it.
    let looked_at = if label.cold == 0.0 { place.saturating_sub(1)..place } else { 0..place };
    if front[looked_at].iter().any(|&other| beats(&arena[other], &label)) {
        return;
    }
    if label.cold == 0.0 {
        let beaten = front[place..].iter().take_while(|&&other| beats(&label, &arena[other])).count();
        arena.push(label);
        front.splice(place..place + beaten, [arena.len() - 1]);
        return;
    }
    let mut kept = front.split_off(place);
    kept.retain(|&other| !beats(&label, &arena[other]));
    arena.push(label);
    front.push(arena.len() - 1);
    front.append(&mut kept);
}
