//! Which box belongs to which track: the matching with the greatest overlap in all.

use std::collections::BTreeMap;

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// Overlaps are counted in so many parts, because the matching works on whole numbers.
const PARTS: f64 = 1e6;

/// A track or a box that may be matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its number, for the answer.
    pub(super) index: usize,
    pub(super) corners: [f64; 4],
    pub(super) class: &'a str,
    /// Its overlaps count by this.
    pub(super) weight: f64,
}

/// Pairs of a track and a box of its class whose distance, 1 - IoU, is at most `max_distance`: as near together in all as can be.
pub(super) fn assign(tracks: &[Candidate<'_>], boxes: &[Candidate<'_>], max_distance: f64) -> Vec<(usize, usize)> {
    let mut classes: BTreeMap<&str, (Vec<&Candidate<'_>>, Vec<&Candidate<'_>>)> = BTreeMap::new();
    tracks.iter().for_each(|track| classes.entry(track.class).or_default().0.push(track));
    boxes.iter().for_each(|found| classes.entry(found.class).or_default().1.push(found));
    classes.values().flat_map(|(tracks, boxes)| assign_class(tracks, boxes, max_distance)).collect()
}

fn assign_class(tracks: &[&Candidate<'_>], boxes: &[&Candidate<'_>], max_distance: f64) -> Vec<(usize, usize)> {
    // The matching wants no more rows than columns.
    let (rows, columns) = if tracks.len() <= boxes.len() { (tracks, boxes) } else { (boxes, tracks) };
    if rows.is_empty() {
        return vec![];
    }
    // How much nearer than allowed; what is too far counts as nothing, which is the same as no match.
    let gain = |row: &Candidate<'_>, column: &Candidate<'_>| {
        let distance = 1.0 - overlap(row.corners, column.corners) * row.weight * column.weight;
        if distance <= max_distance { ((max_distance - distance) * PARTS) as i64 + 1 } else { 0 }
    };
    let gains = rows.iter().map(|row| columns.iter().map(|column| gain(row, column)).collect::<Vec<_>>());
    let Ok(gains) = Matrix::from_rows(gains) else { return vec![] };
    let (_, chosen) = kuhn_munkres(&gains);
    let pairs = rows.iter().zip(chosen).enumerate().filter_map(|(number, (row, column))| {
        let found = columns.get(column)?;
        (*gains.get((number, column))? > 0).then_some((row.index, found.index))
    });
    match tracks.len() <= boxes.len() {
        true => pairs.collect(),
        false => pairs.map(|(found, track)| (track, found)).collect(),
    }
}

/// Intersection over union of two boxes; 0 where there is none.
pub(super) fn overlap(one: [f64; 4], other: [f64; 4]) -> f64 {
    let area = |[x1, y1, x2, y2]: [f64; 4]| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let [x1, y1, x2, y2] = one;
    let [other_x1, other_y1, other_x2, other_y2] = other;
    let common = area([x1.max(other_x1), y1.max(other_y1), x2.min(other_x2), y2.min(other_y2)]);
    let union = area(one) + area(other) - common;
    let share = common / union;
    // Boxes beyond all measure have no share of anything.
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: usize, x: f64, class: &str) -> Candidate<'_> {
        Candidate { index, corners: [x, 0.0, x + 10.0, 10.0], class, weight: 1.0 }
    }

    #[test]
    fn the_matching_is_the_best_in_all_and_not_the_first() {
        // The first track is nearest to the first box, but then the second would have none.
        let tracks = [candidate(5, 2.0, "a"), candidate(6, 6.0, "a")];
        let boxes = [candidate(0, 3.0, "a"), candidate(1, 0.0, "a")];
        assert_eq!(assign(&tracks, &boxes, 0.9), [(5, 1), (6, 0)]);
    }

    #[test]
    fn what_is_too_far_or_of_another_class_stays_alone() {
        let tracks = [candidate(0, 0.0, "a"), candidate(1, 100.0, "b"), candidate(2, 200.0, "a")];
        let boxes = [candidate(7, 8.0, "a"), candidate(8, 100.0, "a"), candidate(9, 201.0, "a")];
        assert_eq!(assign(&tracks, &boxes, 0.8), [(2, 9)]);
        assert_eq!(assign(&tracks, &[], 0.8), []);
        assert_eq!(assign(&[], &boxes, 0.8), []);
        assert_eq!(assign(&tracks, &boxes[..1], 0.99), [(0, 7)], "more tracks than boxes");
    }

    #[test]
    fn overlaps_are_shares() {
        let square = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(overlap(square, square), 1.0);
        assert_eq!(overlap(square, [5.0, 0.0, 15.0, 10.0]), 50.0 / 150.0);
        assert_eq!(overlap(square, [10.0, 0.0, 20.0, 10.0]), 0.0);
        assert_eq!(overlap(square, [3.0, 3.0, 3.0, 3.0]), 0.0);
        assert_eq!(overlap([0.0, 0.0, f64::MAX, f64::MAX], [0.0, 0.0, f64::MAX, f64::MAX]), 0.0);
    }
}
