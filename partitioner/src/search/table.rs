//! Best values from each position of the order to its end.

use super::bounds::Bounds;
use super::steps::{Path, Step, Steps};

/// Best values by position and slice count.
pub(crate) struct Table<V> {
    states: usize,
    cells: Vec<Option<(V, Step)>>,
    end: V,
    least: usize,
}

impl<V: Copy> Table<V> {
    /// Backward dynamic programme: the value of a position is the best, over
    /// admitted steps from there, of `extend(step, value after it)`.
    pub(crate) fn solve(
        steps: &Steps<'_>,
        end: V,
        extend: impl Fn(&Step, V) -> V,
        better: impl Fn(&V, &V) -> bool,
    ) -> Self {
        let bounds = steps.bounds;
        let count = steps.count();
        let states = bounds.states();
        let mut table = Self { states, cells: vec![None; count * states], end, least: bounds.least };
        let mut buffer = Vec::new();
        for first in (0..count).rev() {
            for step in steps.from(first, &mut buffer) {
                for state in 0..states {
                    let Some(after) = bounds.advance(state, usize::from(step.slices)) else { continue };
                    let Some(rest) = table.value(step.end as usize, after) else { continue };
                    let value = extend(step, rest);
                    let cell = &mut table.cells[first * states + state];
                    if cell.as_ref().is_none_or(|(best, _)| better(&value, best)) {
                        *cell = Some((value, *step));
                    }
                }
            }
        }
        table
    }

    /// The best value from a position with this slice count so far.
    pub(crate) fn value(&self, position: usize, state: usize) -> Option<V> {
        let place = position * self.states + state;
        if place >= self.cells.len() {
            return (state >= self.least).then_some(self.end);
        }
        self.cells[place].map(|(value, _)| value)
    }

    /// The best value of the whole order.
    pub(crate) fn best(&self) -> Option<V> {
        self.value(0, 0)
    }

    /// The steps of the best value of the whole order.
    pub(crate) fn path(&self, bounds: &Bounds) -> Option<Path> {
        let count = self.cells.len() / self.states;
        let (mut position, mut state) = (0, 0);
        let mut path = Vec::new();
        while position < count {
            let (_, step) = self.cells[position * self.states + state]?;
            path.push((position, step));
            state = bounds.advance(state, usize::from(step.slices))?;
            position = step.end as usize;
        }
        Some(path)
    }
}
