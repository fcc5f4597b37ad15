//! Rectangles in the platform's pixel system: integer corners that belong to the rectangle.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A picture's size as annotations state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageSize {
    /// Rows.
    pub height: i64,
    /// Columns.
    pub width: i64,
}

/// A rectangle with inclusive corners, never inverted; one pixel is `left == right` and `top == bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl Rectangle {
    /// Corners beyond this are no pixel positions; the limit keeps all arithmetic far from overflow.
    const MAX_COORDINATE: f64 = 1e9;

    /// A model's `[x1, y1, x2, y2]`, each corner rounded half to even. Inverted or non-finite corners are no rectangle.
    pub fn from_corners(corners: [f64; 4]) -> Option<Self> {
        let [x1, y1, x2, y2] = corners;
        let ordered = x1 <= x2 && y1 <= y2;
        ordered.then_some(())?;
        Some(Self { left: pixel(x1)?, top: pixel(y1)?, right: pixel(x2)?, bottom: pixel(y2)? })
    }

    /// From whole pixels, in order.
    pub(super) const fn from_pixels(left: i64, top: i64, right: i64, bottom: i64) -> Self {
        Self { left, top, right, bottom }
    }

    /// A region as callers write it: `{"points": {"exterior": [[x, y], [x, y]]}}` with two corners in any order.
    pub fn from_region_json(region: &Value) -> Option<Self> {
        let exterior = region.get("points")?.get("exterior")?.as_array()?;
        let [first, second] = exterior.as_slice() else { return None };
        let ([x1, y1], [x2, y2]) = (point(first)?, point(second)?);
        Self::from_corners([x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)])
    }

    /// First column.
    pub const fn left(&self) -> i64 {
        self.left
    }

    /// First row.
    pub const fn top(&self) -> i64 {
        self.top
    }

    /// Last column.
    pub const fn right(&self) -> i64 {
        self.right
    }

    /// Last row.
    pub const fn bottom(&self) -> i64 {
        self.bottom
    }

    /// Size of the picture that is cut out along the rectangle.
    pub const fn size(&self) -> ImageSize {
        ImageSize { height: self.bottom - self.top + 1, width: self.right - self.left + 1 }
    }

    /// Whether every pixel lies in a picture of this size.
    pub const fn fits(&self, size: ImageSize) -> bool {
        self.left >= 0 && self.top >= 0 && self.right < size.width && self.bottom < size.height
    }

    /// The part inside a picture of this size, nothing if that is empty.
    pub fn clip(&self, size: ImageSize) -> Option<Self> {
        let clipped = Self {
            left: self.left.max(0),
            top: self.top.max(0),
            right: self.right.min(size.width - 1),
            bottom: self.bottom.min(size.height - 1),
        };
        (clipped.left <= clipped.right && clipped.top <= clipped.bottom).then_some(clipped)
    }

    /// The rectangle moved right by `columns` and down by `rows`.
    #[must_use]
    pub const fn shift(&self, columns: i64, rows: i64) -> Self {
        Self {
            left: self.left + columns,
            top: self.top + rows,
            right: self.right + columns,
            bottom: self.bottom + rows,
        }
    }

    /// Intersection over union, counted in pixels.
    pub fn iou(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left) + 1;
        let height = self.bottom.min(other.bottom) - self.top.max(other.top) + 1;
        let common = (width.max(0) * height.max(0)) as f64;
        common / (self.area() as f64 + other.area() as f64 - common)
    }

    const fn area(&self) -> i64 {
        let size = self.size();
        size.width * size.height
    }

    /// `[[left, top], [right, bottom]]`, the order in which annotations hold the corners.
    pub const fn exterior(&self) -> [[i64; 2]; 2] {
        [[self.left, self.top], [self.right, self.bottom]]
    }
}

fn pixel(coordinate: f64) -> Option<i64> {
    // The check also refuses NaN; below the limit the cast is exact.
    (coordinate.abs() <= Rectangle::MAX_COORDINATE).then(|| coordinate.round_ties_even() as i64)
}

fn point(value: &Value) -> Option<[f64; 2]> {
    match value.as_array()?.as_slice() {
        [x, y] => Some([x.as_f64()?, y.as_f64()?]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SIZE: ImageSize = ImageSize { height: 10, width: 20 };

    #[test]
    fn corners_round_half_to_even() {
        let rectangle = Rectangle::from_corners([0.5, 1.5, 2.5, 3.49]).unwrap();
        assert_eq!(rectangle.exterior(), [[0, 2], [2, 3]]);
    }

    #[test]
    fn inverted_and_non_finite_corners_are_no_rectangle() {
        assert_eq!(Rectangle::from_corners([2.0, 0.0, 1.0, 5.0]), None);
        assert_eq!(Rectangle::from_corners([0.0, 5.0, 1.0, 4.0]), None);
        assert_eq!(Rectangle::from_corners([0.0, 0.0, f64::NAN, 5.0]), None);
        assert_eq!(Rectangle::from_corners([0.0, 0.0, f64::INFINITY, 5.0]), None);
        assert!(Rectangle::from_corners([3.0, 4.0, 3.0, 4.0]).is_some(), "zero area is a pixel");
    }

    #[test]
    fn clipping_follows_rounding() {
        let clip = |corners| Rectangle::from_corners(corners).unwrap().clip(SIZE).map(|r| r.exterior());
        assert_eq!(clip([-3.0, -0.4, 20.0, 10.0]), Some([[0, 0], [19, 9]]));
        assert_eq!(clip([19.4, 0.0, 25.0, 3.0]), Some([[19, 0], [19, 3]]));
        assert_eq!(clip([19.6, 0.0, 25.0, 3.0]), None, "rounds to column 20, which the picture has not");
        assert_eq!(clip([-5.0, -5.0, -1.0, -1.0]), None);
        assert_eq!(clip([-5.0, -5.0, -0.5, -0.5]), Some([[0, 0], [0, 0]]));
    }

    #[test]
    fn regions_take_their_corners_in_any_order() {
        let region = json!({"points": {"exterior": [[299, 50], [100, 149]], "interior": []}});
        let region = Rectangle::from_region_json(&region).unwrap();
        assert_eq!(region.exterior(), [[100, 50], [299, 149]]);
        assert_eq!(region.size(), ImageSize { height: 100, width: 200 });
        assert!(region.fits(ImageSize { height: 150, width: 300 }));
        assert!(!region.fits(ImageSize { height: 149, width: 300 }));
    }

    #[test]
    fn overlaps_are_counted_in_pixels() {
        let rectangle = |corners| Rectangle::from_corners(corners).unwrap();
        let square = rectangle([0.0, 0.0, 9.0, 9.0]);
        assert_eq!(square.iou(&square), 1.0);
        assert_eq!(square.iou(&rectangle([5.0, 0.0, 14.0, 9.0])), 50.0 / 150.0);
        assert_eq!(square.iou(&rectangle([10.0, 0.0, 19.0, 9.0])), 0.0);
        assert_eq!(square.iou(&rectangle([50.0, 50.0, 59.0, 59.0])), 0.0);
    }

    #[test]
    fn malformed_regions_are_refused() {
        for region in [
            json!(null),
            json!([]),
            json!({"points": {}}),
            json!({"points": {"exterior": [[1, 2]]}}),
            json!({"points": {"exterior": [[1, 2], [3, 4], [5, 6]]}}),
            json!({"points": {"exterior": [[1, 2], [3, "4"]]}}),
            json!({"points": {"exterior": [[1, 2], [1e300, 4]]}}),
        ] {
            assert_eq!(Rectangle::from_region_json(&region), None, "{region}");
        }
    }
}
