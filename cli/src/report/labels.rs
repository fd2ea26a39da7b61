//! Names beside points, none over another.

/// Width of a letter of a label, at most on average.
const LETTER: f64 = 6.7;
/// Height of a label.
const LINE: f64 = 14.0;

/// A box of a drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    /// Around a point.
    pub(super) fn around(x: f64, y: f64, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    fn touches(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }
}

/// Where each label begins, its base line; none for one that there is no room for.
/// `points` are the labels' points, in order of importance; no label covers any of `taken`.
pub(super) fn place(
    points: &[(f64, f64, &str)],
    within: &Area,
    mut taken: Vec<Area>,
) -> Vec<Option<(f64, f64)>> {
    let mut places = Vec::with_capacity(points.len());
    for &(x, y, text) in points {
        let width = text.chars().count() as f64 * LETTER;
        let candidates = [0.0, -16.0, 16.0, -32.0, 32.0, -48.0, 48.0].into_iter().flat_map(|down| {
            [x + 12.0, x - 12.0 - width, x - width / 2.0].into_iter().map(move |left| Area {
                left,
                top: y + down - LINE / 2.0,
                right: left + width,
                bottom: y + down + LINE / 2.0,
            })
        });
        let free = candidates
            .into_iter()
            .find(|area| within.holds(area) && taken.iter().all(|other| !area.touches(other)));
        places.push(free.map(|area| (area.left, area.bottom - 3.5)));
        taken.extend(free);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 300.0, bottom: 200.0 };

    #[test]
    fn labels_of_one_point_lie_side_by_side() {
        let points = [(150.0, 100.0, "optimal"), (150.0, 100.0, "gillis"), (150.0, 100.0, "uniform=3")];
        let taken = vec![Area::around(150.0, 100.0, 6.0)];
        let areas: Vec<Area> = place(&points, &PAGE, taken.clone())
            .into_iter()
            .zip(points)
            .map(|(place, (_, _, text))| {
                let (left, base) = place.unwrap();
                let right = left + text.len() as f64 * LETTER;
                Area { left, top: base - 10.5, right, bottom: base + 3.5 }
            })
            .chain(taken)
            .collect();
        for (at, area) in areas.iter().enumerate() {
            assert!(PAGE.holds(area), "{area:?}");
            assert!(areas[at + 1..].iter().all(|other| !area.touches(other)), "{areas:?}");
        }
    }

    #[test]
    fn a_label_at_the_right_end_is_left_of_its_point() {
        let places = place(&[(295.0, 100.0, "unsplit")], &PAGE, Vec::new());
        assert!(places[0].unwrap().0 < 295.0 - 7.0 * LETTER);
    }

    #[test]
    fn a_label_without_room_is_left_out() {
        let places = place(
            &[(20.0, 20.0, "a name longer than the drawing is wide, by far, and more")],
            &PAGE,
            Vec::new(),
        );
        assert_eq!(places, [None]);
    }
}
