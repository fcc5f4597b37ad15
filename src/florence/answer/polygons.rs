//! Outlined objects: polygons between `<poly>` and `</poly>`, separated by `<sep>`.

use super::Instance;
use super::parse::PictureSize;
use super::scan::{Locations, is_python_space, label_before, location_at};

/// Tokens, of any kind, that make a run worth reading.
const LEAST_UNITS: usize = 4;
/// Tokens other than locations that may stand in a run.
const MARKS: [&str; 3] = ["<sep>", "<poly>", "</poly>"];

/// Runs of at least four of location, `<sep>`, `<poly>` and `</poly>`, whatever stands between them.
pub fn unlabelled_polygons(text: &str, size: PictureSize) -> Vec<Instance> {
    let mut instances = vec![];
    let mut position = 0;
    while let Some(offset) = text.get(position..).and_then(|rest| rest.find('<')) {
        let start = position + offset;
        let (units, end) = run_of_units(text, start);
        position = end.max(start + 1);
        if let Some(run) = text.get(start..end).filter(|_| units >= LEAST_UNITS)
            && let Some(label) = run.get(..head_length(run))
            && head_length(run) < run.len()
        {
            instances.extend(instances_of_run(run, label.trim_matches(is_python_space), size));
        }
    }
    instances
}

/// As [`unlabelled_polygons`], but each run must follow a label.
pub fn labelled_polygons(text: &str, size: PictureSize) -> Vec<Instance> {
    let mut instances = vec![];
    let mut position = 0;
    while let Some(length) = text.get(position..).and_then(|rest| rest.find('<')) {
        let (label_start, run_start) = (position, position + length);
        let (units, end) = if length == 0 { (0, run_start) } else { run_of_units(text, run_start) };
        if units < LEAST_UNITS {
            position = run_start + 1;
            continue;
        }
        position = end;
        let (Some(label), Some(run)) = (text.get(label_start..run_start), text.get(run_start..end)) else {
            continue;
        };
        // Tokens before the first location or polygon count as part of the label.
        let head = run.get(..head_length(run)).filter(|head| head.len() < run.len());
        let label = head.map(|head| format!("{}{head}", without_location_tail(label)));
        if let Some(label) = label.as_deref().and_then(label_before) {
            instances.extend(instances_of_run(run, label, size));
        }
    }
    instances
}

/// How many units follow one another from byte `start` on, and where they end.
fn run_of_units(text: &str, start: usize) -> (usize, usize) {
    let (mut units, mut end) = (0, start);
    while let Some(length) = text.get(end..).and_then(unit_length) {
        units += 1;
        end += length;
    }
    (units, end)
}

fn unit_length(text: &str) -> Option<usize> {
    if let Some(mark) = MARKS.iter().find(|mark| text.starts_with(**mark)) {
        return Some(mark.len());
    }
    location_at(text, 0).map(|location| location.end)
}

/// Bytes before the first location or `<poly>` of a run; all of them if it has neither.
fn head_length(run: &str) -> usize {
    let first = |pattern| run.find(pattern).unwrap_or(run.len());
    first("<loc_").min(first("<poly>"))
}

/// The original looks for the label behind the end of a location whose beginning another run took.
fn without_location_tail(label: &str) -> &str {
    let tail = label.strip_prefix("loc_").and_then(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 { None } else { rest.get(digits..)?.strip_prefix('>') }
    });
    tail.unwrap_or(label)
}

fn instances_of_run(run: &str, label: &str, size: PictureSize) -> Vec<Instance> {
    let parts = if run.contains("<poly>") && run.contains("</poly>") { between_polys(run) } else { vec![run] };
    let instance = |part| {
        let polygons = polygons_of_part(part, size);
        (!polygons.is_empty()).then(|| Instance { label: label.to_owned(), polygons })
    };
    parts.into_iter().filter_map(instance).collect()
}

/// What stands between each `<poly>` and the next `</poly>`.
fn between_polys(run: &str) -> Vec<&str> {
    let mut parts = vec![];
    let mut rest = run;
    while let Some((_, opened)) = rest.split_once("<poly>") {
        let Some((part, closed)) = opened.split_once("</poly>") else {
            break;
        };
        parts.push(part);
        rest = closed;
    }
    parts
}

/// Every run of locations that `<sep>` or the end follows, without an odd last location.
fn polygons_of_part(part: &str, size: PictureSize) -> Vec<Vec<f64>> {
    let locations = Locations::find(part);
    let mut polygons = vec![];
    let mut next = 0;
    while let Some(first) = locations.slice(next..next + 1).first() {
        let run = locations.run_from(first.start);
        next = run.end;
        let corners = locations.slice(run);
        let rest = corners.last().and_then(|last| part.get(last.end..)).unwrap_or_default();
        if rest.is_empty() || rest.starts_with("<sep>") {
            let even = corners.get(..corners.len() / 2 * 2).unwrap_or_default();
            polygons.push(size.pixels(even).collect());
        }
    }
    polygons
}
