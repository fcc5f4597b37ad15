//! Which of the found boxes are worth showing: those that score enough, have a sensible size, and repeat no other.
//!
//! Pure functions over boxes. A box is judged as it will be drawn: its corners rounded to whole pixels, half to even,
//! and clipped to the picture; both corners belong to it. The session applies the filter to the boxes of one picture.

use std::collections::{HashMap, HashSet};

use candle_transformers::object_detection::{Bbox, non_maximum_suppression};

use super::{LabelledBox, PictureSize};

/// What a box must be to stay. The default lets every box pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxFilter {
    /// Least score, from 0 to 1. A box whose score is not known passes.
    pub min_score: f64,
    /// Greatest overlap of two boxes with the same label, as intersection over union from 0 to 1; of those that overlap
    /// more, the one with the highest score stays, the first one where they are equal. A score that is not known counts
    /// as 1. `None` lets them overlap.
    pub nms_iou: Option<f64>,
    /// Greatest area as a share of the picture's, from 0 to 1.
    pub max_area_share: f64,
    /// Least length of the shorter side in pixels.
    pub min_side_px: f64,
}

impl Default for BoxFilter {
    fn default() -> Self {
        Self { min_score: 0.0, nms_iou: None, max_area_share: 1.0, min_side_px: 0.0 }
    }
}

/// What a filter made of a list of boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Filtered {
    /// The boxes that stay, in their original order.
    pub boxes: Vec<LabelledBox>,
    /// How many do not.
    pub dropped: Dropped,
}

/// Numbers of dropped boxes. Each box counts once, for the first reason in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Scored too little.
    pub low_score: usize,
    /// Had a side that is too short.
    pub too_small: usize,
    /// Covered too much of the picture.
    pub too_large: usize,
    /// Overlapped a better box with the same label.
    pub repeated: usize,
}

impl Dropped {
    /// Dropped boxes in all.
    pub const fn total(self) -> usize {
        self.low_score + self.too_small + self.too_large + self.repeated
    }
}

impl BoxFilter {
    /// Filters boxes on a picture of this size. Boxes that could not be drawn, being inverted or outside the picture, are
    /// judged by their score alone and repeat nothing.
    pub fn apply(&self, mut boxes: Vec<LabelledBox>, size: PictureSize) -> Filtered {
        let mut dropped = Dropped::default();
        let max_area_px = self.max_area_share * f64::from(size.width) * f64::from(size.height);
        boxes.retain(|found| {
            let drawn = DrawnBox::of(found.corners, size);
            let reason = if known_score(found).is_some_and(|score| score < self.min_score) {
                &mut dropped.low_score
            } else if drawn.is_some_and(|drawn| drawn.shorter_side_px() < self.min_side_px) {
                &mut dropped.too_small
            } else if drawn.is_some_and(|drawn| drawn.area_px() > max_area_px) {
                &mut dropped.too_large
            } else {
                return true;
            };
            *reason += 1;
            false
        });
        // Last, so that a box which does not stay costs no other its place.
        if let Some(iou) = self.nms_iou {
            let passed = boxes.len();
            boxes = without_repetitions(boxes, size, iou);
            dropped.repeated = passed - boxes.len();
        }
        Filtered { boxes, dropped }
    }
}

/// Non-maximum suppression among the boxes of each label.
fn without_repetitions(boxes: Vec<LabelledBox>, size: PictureSize, iou: f64) -> Vec<LabelledBox> {
    let mut staying = HashSet::new();
    let mut candidates: HashMap<&str, Vec<Bbox<usize>>> = HashMap::new();
    for (index, found) in boxes.iter().enumerate() {
        match DrawnBox::of(found.corners, size) {
            Some(drawn) => {
                let score = known_score(found).unwrap_or(1.0);
                candidates.entry(&found.label).or_default().push(drawn.candidate(score, index));
            }
            None => {
                staying.insert(index);
            }
        }
    }
    let mut candidates: Vec<_> = candidates.into_values().collect();
    // It sorts by score, and the sort is stable: of equal scores the first box goes before the others.
    non_maximum_suppression(&mut candidates, iou as f32);
    staying.extend(candidates.iter().flatten().map(|candidate| candidate.data));
    let staying = boxes.into_iter().enumerate().filter(|(index, _)| staying.contains(index));
    staying.map(|(_, found)| found).collect()
}

/// The score, unless it is unknown or no number: scores must be comparable.
fn known_score(found: &LabelledBox) -> Option<f64> {
    found.score.filter(|score| !score.is_nan())
}

/// A box in whole pixels, inside the picture. Its last column and row belong to it.
#[derive(Debug, Clone, Copy)]
struct DrawnBox {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl DrawnBox {
    /// `None` for corners that are inverted or no numbers, and for a box outside the picture.
    fn of(corners: [f64; 4], size: PictureSize) -> Option<Self> {
        let [x1, y1, x2, y2] = corners;
        let is_ordered = x1 <= x2 && y1 <= y2;
        let drawn = Self {
            left: x1.round_ties_even().max(0.0),
            top: y1.round_ties_even().max(0.0),
            right: x2.round_ties_even().min(f64::from(size.width) - 1.0),
            bottom: y2.round_ties_even().min(f64::from(size.height) - 1.0),
        };
        (is_ordered && drawn.left <= drawn.right && drawn.top <= drawn.bottom).then_some(drawn)
    }

    fn sides_px(self) -> [f64; 2] {
        [self.right - self.left + 1.0, self.bottom - self.top + 1.0]
    }

    fn shorter_side_px(self) -> f64 {
        let [width, height] = self.sides_px();
        width.min(height)
    }

    fn area_px(self) -> f64 {
        let [width, height] = self.sides_px();
        width * height
    }

    /// The box as candle compares it, with its place in the list. Its overlaps count both corners in, too.
    fn candidate(self, score: f64, index: usize) -> Bbox<usize> {
        Bbox {
            xmin: self.left as f32,
            ymin: self.top as f32,
            xmax: self.right as f32,
            ymax: self.bottom as f32,
            confidence: score as f32,
            data: index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PictureSize = PictureSize { width: 100, height: 50 };
    const OFF: BoxFilter = BoxFilter { min_score: 0.0, nms_iou: None, max_area_share: 1.0, min_side_px: 0.0 };
    const NMS: BoxFilter = BoxFilter { nms_iou: Some(0.5), ..OFF };
    const SQUARE: [f64; 4] = [10.0, 10.0, 19.0, 19.0];

    fn found(label: &str, corners: [f64; 4], score: impl Into<Option<f64>>) -> LabelledBox {
        LabelledBox { label: label.to_owned(), corners, score: score.into() }
    }

    /// Checks which boxes stay, by their places in the list, and gives the numbers of the others.
    fn assert_stays(filter: BoxFilter, boxes: &[LabelledBox], places: &[usize]) -> Dropped {
        let Filtered { boxes: stayed, dropped } = filter.apply(boxes.to_vec(), SIZE);
        let expected: Vec<&LabelledBox> = places.iter().map(|place| &boxes[*place]).collect();
        // As text, because a coordinate that is no number equals nothing.
        assert_eq!(format!("{stayed:?}"), format!("{expected:?}"), "{filter:?}");
        assert_eq!(dropped.total(), boxes.len() - places.len());
        dropped
    }

    /// Boxes that cannot be drawn: inverted, no numbers, outside the picture.
    fn undrawable() -> Vec<LabelledBox> {
        let corners = [
            [19.0, 10.0, 10.0, 19.0],
            [19.0, 19.0, 10.0, 10.0],
            [10.4, 10.0, 10.2, 19.0],
            [f64::NAN, 10.0, 19.0, 19.0],
            [10.0, f64::NEG_INFINITY, 19.0, f64::NAN],
            [100.0, 10.0, 300.0, 19.0],
            [-9.0, 10.0, -1.0, 19.0],
        ];
        corners.map(|corners| found("a", corners, 0.9)).to_vec()
    }

    #[test]
    fn the_default_lets_everything_pass() {
        let mut boxes = undrawable();
        boxes.push(found("a", [-5.0, -5.0, 500.0, 500.0], None));
        boxes.push(found("a", [0.0, 0.0, 0.0, 0.0], f64::NAN));
        boxes.push(found("a", SQUARE, 0.0));
        boxes.push(found("a", SQUARE, 0.0));
        assert_stays(BoxFilter::default(), &boxes, &(0..boxes.len()).collect::<Vec<_>>());
        assert_eq!(BoxFilter::default(), OFF);
        assert_stays(NMS, &[], &[]);
    }

    #[test]
    fn low_scores_go_and_unknown_ones_stay() {
        let scores = [Some(0.4), Some(0.5), None, Some(f64::NAN), Some(0.9)];
        let boxes = scores.map(|score| found("a", SQUARE, score));
        let dropped = assert_stays(BoxFilter { min_score: 0.5, ..OFF }, &boxes, &[1, 2, 3, 4]);
        assert_eq!(dropped, Dropped { low_score: 1, ..Dropped::default() });
    }

    #[test]
    fn sides_are_counted_as_they_are_drawn() {
        let boxes = [
            found("a", [10.0, 10.0, 19.0, 29.0], None),
            found("a", [9.6, 10.4, 19.4, 12.0], None),
            found("a", [95.0, 10.0, 300.0, 29.0], None),
        ];
        let side = |min_side_px| BoxFilter { min_side_px, ..OFF };
        assert_stays(side(3.0), &boxes, &[0, 1, 2]);
        assert_stays(side(5.0), &boxes, &[0, 2]);
        let dropped = assert_stays(side(10.0), &boxes, &[0]);
        assert_eq!(dropped, Dropped { too_small: 2, ..Dropped::default() });
        assert_stays(side(10.1), &boxes, &[]);
    }

    #[test]
    fn areas_are_shares_of_the_picture() {
        let boxes = [
            found("a", [0.05, 0.025, 99.95, 49.975], None),
            found("a", [0.0, 0.0, 49.0, 24.0], None),
            found("a", [-50.0, 0.0, 49.0, 24.0], None),
        ];
        let share = |max_area_share| BoxFilter { max_area_share, ..OFF };
        assert_stays(share(0.999), &boxes, &[1, 2]);
        assert_stays(share(0.25), &boxes, &[1, 2]);
        let dropped = assert_stays(share(0.249), &boxes, &[]);
        assert_eq!(dropped, Dropped { too_large: 3, ..Dropped::default() });
    }

    #[test]
    fn of_overlapping_boxes_with_one_label_the_best_stays_in_its_place() {
        let shifted = [11.0, 10.0, 20.0, 19.0];
        let boxes = [
            found("a", SQUARE, 0.7),
            found("b", SQUARE, 0.1),
            found("a", [60.0, 10.0, 69.0, 19.0], 0.2),
            found("a", shifted, 0.8),
            found("a", SQUARE, 0.6),
            found("b", [61.0, 10.0, 70.0, 19.0], 0.9),
        ];
        let dropped = assert_stays(NMS, &boxes, &[1, 2, 3, 5]);
        assert_eq!(dropped, Dropped { repeated: 2, ..Dropped::default() });
    }

    #[test]
    fn only_boxes_that_stay_suppress() {
        // Each overlaps its neighbours by 2/3 and those beyond by less than a half.
        let row = |scores: [f64; 3]| [0.0, 2.0, 4.0].map(|x| [x, 0.0, x + 9.0, 9.0]).into_iter().zip(scores);
        let boxes = |scores| row(scores).map(|(corners, score)| found("a", corners, score)).collect::<Vec<_>>();
        assert_stays(NMS, &boxes([0.9, 0.8, 0.7]), &[0, 2]);
        assert_stays(NMS, &boxes([0.7, 0.8, 0.9]), &[0, 2]);
        assert_stays(NMS, &boxes([0.8, 0.9, 0.7]), &[1]);
        let with_score = BoxFilter { min_score: 0.5, ..NMS };
        assert_stays(with_score, &boxes([0.4, 0.45, 0.5]), &[2]);
        let without_whole = BoxFilter { max_area_share: 0.9, nms_iou: Some(0.01), ..OFF };
        assert_stays(without_whole, &[found("a", [0.0, 0.0, 99.0, 49.0], 1.0), found("a", SQUARE, 0.5)], &[1]);
    }

    #[test]
    fn of_equal_scores_the_first_stays_and_an_unknown_score_counts_as_one() {
        let boxes = |scores: &[Option<f64>]| scores.iter().map(|s| found("a", SQUARE, *s)).collect::<Vec<_>>();
        assert_stays(NMS, &boxes(&[Some(0.5); 40]), &[0]);
        assert_stays(NMS, &boxes(&[Some(0.2), Some(0.5), Some(0.5)]), &[1]);
        assert_stays(NMS, &boxes(&[Some(0.9), None, Some(1.0)]), &[1]);
        assert_stays(NMS, &boxes(&[Some(1.0), None]), &[0]);
        assert_stays(NMS, &boxes(&[Some(0.9), Some(f64::NAN)]), &[1]);
    }

    #[test]
    fn ties_keep_their_order_behind_suppressed_boxes() {
        // The second box is suppressed by the first; the two after it, apart from the first, tie with each other.
        let far = [60.0, 10.0, 69.0, 19.0];
        let boxes = [found("a", SQUARE, 0.9), found("a", SQUARE, 0.8), found("a", far, 0.5), found("a", far, 0.5)];
        assert_stays(NMS, &boxes, &[0, 2]);
    }

    #[test]
    fn the_overlap_may_be_as_large_as_allowed() {
        // 50 of 150 pixels.
        let boxes = [found("a", SQUARE, 0.9), found("a", [15.0, 10.0, 24.0, 19.0], 0.8)];
        assert_stays(BoxFilter { nms_iou: Some(1.0 / 3.0), ..OFF }, &boxes, &[0, 1]);
        assert_stays(BoxFilter { nms_iou: Some(0.33), ..OFF }, &boxes, &[0]);
        assert_stays(BoxFilter { nms_iou: Some(1.0), ..OFF }, &[boxes[0].clone(), boxes[0].clone()], &[0, 1]);
        assert_stays(BoxFilter { nms_iou: Some(0.0), ..OFF }, &[boxes[0].clone(), found("a", [20.0; 4], 0.1)], &[0, 1]);
    }

    #[test]
    fn boxes_that_cannot_be_drawn_change_nothing_for_the_others() {
        let mut boxes = undrawable();
        let count = boxes.len();
        boxes.push(found("a", SQUARE, 0.5));
        let strict = BoxFilter { max_area_share: 0.02, min_side_px: 10.0, ..NMS };
        assert_stays(strict, &boxes, &(0..=count).collect::<Vec<_>>());
        assert_stays(BoxFilter { min_score: 0.6, ..strict }, &boxes, &(0..count).collect::<Vec<_>>());
        boxes.push(found("a", SQUARE, 0.6));
        let last: Vec<usize> = (0..count).chain([count + 1]).collect();
        assert_stays(strict, &boxes, &last);
    }
}
