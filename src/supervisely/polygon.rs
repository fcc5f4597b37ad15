//! Polygons in the platform's pixel system, and the geometries that a label may have.

use super::Shape;
use super::geometry::{ImageSize, Rectangle};

/// Corners beyond this are no pixel positions.
const MAX_COORDINATE: f64 = 1e9;
/// Fewer corners enclose nothing.
const LEAST_CORNERS: usize = 3;

/// A closed outline of whole pixels, at least three corners of which none repeats the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polygon {
    exterior: Vec<[i64; 2]>,
}

/// Where a label is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Geometry {
    /// A box.
    Rectangle(Rectangle),
    /// An outline.
    Polygon(Polygon),
}

impl Polygon {
    /// A model's `[x, y, x, y, …]`, rounded half to even. Non-finite or too few corners are no polygon.
    pub fn from_points(points: &[f64]) -> Option<Self> {
        let pixel = |value: f64| (value.abs() <= MAX_COORDINATE).then(|| value.round_ties_even() as i64);
        let corners = points.as_chunks::<2>().0.iter().map(|[x, y]| Some([pixel(*x)?, pixel(*y)?]));
        Self::from_corners(corners.collect::<Option<Vec<_>>>()?)
    }

    fn from_corners(mut corners: Vec<[i64; 2]>) -> Option<Self> {
        corners.dedup();
        while corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        (corners.len() >= LEAST_CORNERS).then_some(Self { exterior: corners })
    }

    /// The polygon with its corners moved into a picture of this size, nothing if it lies outside.
    pub fn clip(&self, size: ImageSize) -> Option<Self> {
        self.bounds().clip(size)?;
        let inside = |[x, y]: &[i64; 2]| [(*x).clamp(0, size.width - 1), (*y).clamp(0, size.height - 1)];
        Self::from_corners(self.exterior.iter().map(inside).collect())
    }

    /// The polygon moved right by `columns` and down by `rows`.
    #[must_use]
    pub fn shift(&self, columns: i64, rows: i64) -> Self {
        Self { exterior: self.exterior.iter().map(|[x, y]| [x + columns, y + rows]).collect() }
    }

    /// The corners as `[x, y]`.
    pub fn exterior(&self) -> &[[i64; 2]] {
        &self.exterior
    }

    /// The smallest rectangle around it.
    pub fn bounds(&self) -> Rectangle {
        let range = |axis: fn(&[i64; 2]) -> i64| {
            let values = self.exterior.iter().map(axis);
            (values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
        };
        let ((left, right), (top, bottom)) = (range(|[x, _]| *x), range(|[_, y]| *y));
        Rectangle::from_pixels(left, top, right, bottom)
    }
}

impl Geometry {
    /// Its kind.
    pub const fn shape(&self) -> Shape {
        match self {
            Self::Rectangle(_) => Shape::Rectangle,
            Self::Polygon(_) => Shape::Polygon,
        }
    }

    /// The smallest rectangle around it.
    pub fn bounds(&self) -> Rectangle {
        match self {
            Self::Rectangle(rectangle) => *rectangle,
            Self::Polygon(polygon) => polygon.bounds(),
        }
    }

    /// The corners as `[x, y]`: two of a rectangle, all of a polygon.
    pub fn exterior(&self) -> Vec<[i64; 2]> {
        match self {
            Self::Rectangle(rectangle) => rectangle.exterior().to_vec(),
            Self::Polygon(polygon) => polygon.exterior().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize { height: 10, width: 20 };

    #[test]
    fn corners_are_rounded_and_repetitions_go() {
        let polygon = Polygon::from_points(&[0.5, 0.0, 0.4, 0.3, 5.5, 0.0, 5.0, 7.5, 0.0, 0.0]).unwrap();
        assert_eq!(polygon.exterior(), [[0, 0], [6, 0], [5, 8]]);
        assert_eq!(polygon.bounds().exterior(), [[0, 0], [6, 8]]);
    }

    #[test]
    fn what_encloses_nothing_is_no_polygon() {
        assert_eq!(Polygon::from_points(&[0.0, 0.0, 5.0, 5.0]), None);
        assert_eq!(Polygon::from_points(&[0.0, 0.0, 5.0, 5.0, 0.0, 0.0, 0.2, 0.1]), None);
        assert_eq!(Polygon::from_points(&[f64::NAN, 0.0, 5.0, 5.0, 1.0, 8.0]), None);
        assert_eq!(Polygon::from_points(&[]), None);
    }

    #[test]
    fn clipping_moves_corners_to_the_border() {
        let polygon = Polygon::from_points(&[-5.0, -5.0, 30.0, 2.0, 4.0, 30.0]).unwrap();
        assert_eq!(polygon.clip(SIZE).unwrap().exterior(), [[0, 0], [19, 2], [4, 9]]);
        let outside = Polygon::from_points(&[30.0, 0.0, 40.0, 0.0, 35.0, 5.0]).unwrap();
        assert_eq!(outside.clip(SIZE), None);
        assert_eq!(polygon.shift(1, 2).exterior()[0], [-4, -3]);
    }
}
