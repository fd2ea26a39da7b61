//! Which elements of a tensor a part of a split needs, or holds.

/// Places of an axis: ranges, each start and end, ascending, apart from each other, none empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The places from `start` to before `end`; none for an empty range.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then(|| Self(vec![(start, end)]))
    }

    /// All places of these ranges, in any order; empty ones are left out. None when all are.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = (u64, u64)>) -> Option<Self> {
        let mut given: Vec<(u64, u64)> = ranges.into_iter().filter(|(start, end)| start < end).collect();
        given.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(given.len());
        for (start, end) in given {
            match merged.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        (!merged.is_empty()).then_some(Self(merged))
    }

    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many places.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The first place and the one after the last.
    #[must_use]
    pub fn hull(&self) -> (u64, u64) {
        let start = self.0.first().map_or(0, |range| range.0);
        (start, self.0.last().map_or(start, |range| range.1))
    }

    /// The only range, when there is one.
    #[must_use]
    pub fn single(&self) -> Option<(u64, u64)> {
        match self.0.as_slice() {
            &[range] => Some(range),
            _ => None,
        }
    }

    /// The places of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied()).unwrap_or_else(|| self.clone())
    }

    /// The places within `start..end`, counted from `start`; none when there are none.
    #[must_use]
    pub fn within(&self, start: u64, end: u64) -> Option<Self> {
        Self::of(
            self.0.iter().map(|&(from, to)| (from.clamp(start, end) - start, to.clamp(start, end) - start)),
        )
    }

    /// The same places moved up.
    #[must_use]
    pub fn shifted(&self, by: u64) -> Self {
        Self(self.0.iter().map(|&(start, end)| (start + by, end + by)).collect())
    }

    /// Each place as `factor` adjacent ones.
    #[must_use]
    pub fn spread(&self, factor: u64) -> Self {
        Self(self.0.iter().map(|&(start, end)| (start * factor, end * factor)).collect())
    }

    /// The same places again and again, `times` in all, each time `period` further up.
    #[must_use]
    pub fn repeated(&self, times: u64, period: u64) -> Self {
        let each = (0..times).flat_map(|time| self.shifted(time * period).0);
        Self::of(each).unwrap_or_else(|| self.clone())
    }

    /// The groups of `factor` adjacent places that these are; none when one is cut through.
    #[must_use]
    pub fn grouped(&self, factor: u64) -> Option<Self> {
        let whole = |place: u64| factor > 0 && place.is_multiple_of(factor);
        self.0
            .iter()
            .all(|&(start, end)| whole(start) && whole(end))
            .then(|| Self(self.0.iter().map(|&(start, end)| (start / factor, end / factor)).collect()))
    }

    /// Where these places lie among those of `held` when they are put side by side; none
    /// when one is not held.
    #[must_use]
    pub fn places_in(&self, held: &Self) -> Option<Self> {
        let mut places = Vec::with_capacity(self.0.len());
        for &(start, end) in &self.0 {
            let mut before = 0;
            let mut found = false;
            for &(from, to) in &held.0 {
                if from <= start && end <= to {
                    places.push((before + start - from, before + end - from));
                    found = true;
                    break;
                }
                before += to - from;
            }
            if !found {
                return None;
            }
        }
        Self::of(places)
    }
}

/// Which elements of a tensor a part needs, or holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// All of them.
    Whole,
    /// Those at some places of one axis.
    Along {
        /// The axis, from 0.
        axis: usize,
        /// The places.
        ranges: Ranges,
    },
    /// A tensor of the same shape; those of all parts add up to it.
    Summand,
}

impl Need {
    /// Places from `start` to before `end` of `axis`.
    #[must_use]
    pub fn range(axis: usize, start: u64, end: u64) -> Option<Self> {
        Some(Self::Along { axis, ranges: Ranges::new(start, end)? })
    }

    /// These places of `axis`.
    #[must_use]
    pub fn along(axis: usize, ranges: &Ranges) -> Self {
        Self::Along { axis, ranges: ranges.clone() }
    }

    /// What satisfies both; none where a summand is needed beside the values themselves.
    #[must_use]
    pub fn merged(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Summand, Self::Summand) => Some(Self::Summand),
            (Self::Summand, _) | (_, Self::Summand) => None,
            (Self::Along { axis, ranges }, Self::Along { axis: same, ranges: more }) if axis == same => {
                Some(Self::Along { axis, ranges: ranges.union(&more) })
            }
            _ => Some(Self::Whole),
        }
    }

    /// The shape of what is needed of a tensor of this shape.
    #[must_use]
    pub fn shape(&self, whole: &[u64]) -> Vec<u64> {
        let mut shape = whole.to_vec();
        if let Self::Along { axis, ranges } = self
            && let Some(extent) = shape.get_mut(*axis)
        {
            *extent = ranges.count();
        }
        shape
    }

    /// The same, said as [`Need::Whole`] where the places are all there are.
    #[must_use]
    pub fn normal(self, whole: &[u64]) -> Self {
        match &self {
            Self::Along { axis, ranges } if whole.get(*axis) == Some(&ranges.count()) => Self::Whole,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn ranges(given: &[(u64, u64)]) -> Ranges {
        Ranges::of(given.iter().copied()).unwrap()
    }

    #[test]
    fn ranges_are_kept_apart_and_in_order() {
        assert_eq!(ranges(&[(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]).as_slice(), [(0, 3), (5, 9)]);
        assert_eq!(Ranges::of([(3, 3)]), None);
    }

    #[test]
    fn places_are_found_among_those_held() {
        let held = ranges(&[(2, 5), (10, 14)]);
        assert_eq!(ranges(&[(3, 5), (11, 12)]).places_in(&held), Some(ranges(&[(1, 3), (4, 5)])));
        assert_eq!(ranges(&[(4, 6)]).places_in(&held), None);
    }

    #[test]
    fn groups_are_not_cut_through() {
        assert_eq!(ranges(&[(64, 192)]).grouped(64), Some(ranges(&[(1, 3)])));
        assert_eq!(ranges(&[(64, 200)]).grouped(64), None);
    }

    #[test]
    fn places_are_repeated() {
        assert_eq!(ranges(&[(1, 2)]).repeated(3, 4), ranges(&[(1, 2), (5, 6), (9, 10)]));
        assert_eq!(ranges(&[(0, 1), (3, 4)]).repeated(2, 4), ranges(&[(0, 1), (3, 5), (7, 8)]));
    }

    #[test]
    fn needs_along_one_axis_merge_there() {
        let along = |start, end| Need::range(1, start, end).unwrap();
        assert_eq!(along(0, 2).merged(along(1, 4)), Some(along(0, 4)));
        assert_eq!(along(0, 2).merged(Need::range(2, 0, 1).unwrap()), Some(Need::Whole));
        assert_eq!(along(0, 2).merged(Need::Summand), None);
    }
}
