//! Boxes, with and without labels: four locations each, several behind one label.

use super::LabelledBox;
use super::parse::PictureSize;
use super::scan::{Locations, label_before};

/// Locations of a box.
const CORNERS: usize = 4;

/// `label<loc><loc><loc><loc>…`: text up to the last `<` before it, followed by at least four locations. Left-over
/// locations of an incomplete box are ignored.
///
/// A label for which `is_dropped` holds loses its boxes. Labels lose every character that is not ASCII, as in the
/// original; they may become empty.
pub fn labelled_boxes(
    text: &str,
    size: PictureSize,
    log_probs: &[f32],
    is_dropped: fn(&str) -> bool,
) -> Vec<LabelledBox> {
    let locations = Locations::find(text);
    let mut boxes = vec![];
    let mut position = 0;
    // The text between one `<` and the next is a label if locations follow it.
    while let Some(length) = text.get(position..).and_then(|rest| rest.find('<')) {
        let end = position + length;
        let run = locations.run_from(end);
        if length == 0 || run.len() < CORNERS {
            position = end + 1;
            continue;
        }
        position = locations.slice(run.clone()).last().map_or(end + 1, |location| location.end);
        let label = text.get(end - length..end).and_then(label_before).filter(|label| !is_dropped(label));
        if let Some(label) = label {
            let label: String = label.chars().filter(char::is_ascii).collect();
            boxes.extend(boxes_of_run(&locations, run, size, log_probs, &label));
        }
    }
    boxes
}

/// Runs of at least four locations, whatever stands between them.
pub fn unlabelled_boxes(text: &str, size: PictureSize, log_probs: &[f32]) -> Vec<LabelledBox> {
    let locations = Locations::find(text);
    let mut boxes = vec![];
    let mut next = 0;
    while let Some(first) = locations.slice(next..next + 1).first() {
        let run = locations.run_from(first.start);
        next = run.end;
        if run.len() >= CORNERS {
            boxes.extend(boxes_of_run(&locations, run, size, log_probs, ""));
        }
    }
    boxes
}

fn boxes_of_run(
    locations: &Locations,
    run: std::ops::Range<usize>,
    size: PictureSize,
    log_probs: &[f32],
    label: &str,
) -> Vec<LabelledBox> {
    // Without one log-probability for each location there is no telling which belongs to which.
    let log_probs = if log_probs.len() == locations.count() { log_probs.get(run.clone()) } else { None };
    let corners = locations.slice(run).chunks_exact(CORNERS);
    corners
        .enumerate()
        .filter_map(|(index, corners)| {
            let pixels: Vec<f64> = size.pixels(corners).collect();
            let log_probs = log_probs.and_then(|all| all.get(index * CORNERS..(index + 1) * CORNERS));
            Some(LabelledBox {
                label: label.to_owned(),
                corners: pixels.try_into().ok()?,
                score: log_probs.map(mean_probability),
            })
        })
        .collect()
}

/// `exp(mean log p)`, Microsoft's own definition of a box's score.
fn mean_probability(log_probs: &[f32]) -> f64 {
    let sum: f64 = log_probs.iter().copied().map(f64::from).sum();
    (sum / log_probs.len() as f64).exp()
}
