//! Lines of recognised text, each followed by the four corners of its quadrangle.

use super::Quad;
use super::parse::PictureSize;
use super::scan::Locations;

/// Locations of a quadrangle.
const CORNERS: usize = 8;

/// `text` then exactly eight locations; a ninth begins the next line's text.
///
/// The text is kept as it is, blanks and all; it never spans lines of the answer.
pub fn quads(text: &str, size: PictureSize) -> Vec<Quad> {
    let mut quads = vec![];
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        quads_of_line(text, line_start..line_start + line.len(), size, &mut quads);
        line_start += line.len();
    }
    quads
}

fn quads_of_line(text: &str, line: std::ops::Range<usize>, size: PictureSize, quads: &mut Vec<Quad>) {
    let line = text.get(line).unwrap_or_default();
    let locations = Locations::find(line);
    let mut label_start = 0;
    let mut next = 0;
    while let Some(corners) = Some(locations.slice(next..next + CORNERS)).filter(|corners| corners.len() == CORNERS) {
        let is_run = corners.iter().zip(corners.iter().skip(1)).all(|(left, right)| left.end == right.start);
        let (Some(first), Some(last)) = (corners.first(), corners.last()) else {
            break;
        };
        // A label has at least one character, which may be part of a location.
        if !is_run || first.start == label_start {
            next += 1;
            continue;
        }
        let pixels: Vec<f64> = size.pixels(corners).collect();
        if let (Some(label), Ok(points)) = (line.get(label_start..first.start), pixels.try_into()) {
            quads.push(Quad { label: label.to_owned(), points });
        }
        label_start = last.end;
        next += CORNERS;
    }
}
