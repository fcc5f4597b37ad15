//! What the model says about one region: a text, then the region's four locations.
//!
//! Microsoft's processor leaves such answers as plain text. The same form stands in the prompts that ask about a region.

use super::parse::PictureSize;
use super::scan::Locations;

/// Locations of a region.
const CORNERS: usize = 4;
/// Bins on each axis of a picture.
const BINS: f64 = 1000.0;
/// The last bin.
const LAST_BIN: f64 = BINS - 1.0;

/// What was said about a region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionAnswer {
    /// The words, without blanks at the ends.
    pub text: String,
    /// `[x1, y1, x2, y2]` in pixels if the text names them.
    pub corners: Option<[f64; 4]>,
}

impl RegionAnswer {
    /// Reads an answer, or a prompt.
    pub fn parse(text: &str, size: PictureSize) -> Self {
        let locations = Locations::find(text);
        let first = locations.slice(0..1).first();
        let words = first.and_then(|first| text.get(..first.start)).unwrap_or(text);
        let corners: Vec<f64> = size.pixels(locations.slice(0..CORNERS)).collect();
        let words = words.replace("<s>", "").replace("</s>", "");
        Self { text: words.trim().to_owned(), corners: corners.try_into().ok() }
    }
}

/// A region of `[x1, y1, x2, y2]` pixels as a prompt names it: the bins that hold its corners.
pub fn region_prompt(corners: [f64; 4], size: PictureSize) -> String {
    let sides = [size.width, size.height].map(f64::from);
    let bins = corners.iter().zip(sides.iter().cycle()).map(|(corner, side)| {
        let bin = (corner * BINS / side.max(1.0)).floor().clamp(0.0, LAST_BIN);
        format!("<loc_{bin}>")
    });
    bins.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PictureSize = PictureSize { width: 200, height: 100 };

    #[test]
    fn words_and_region_are_told_apart() {
        let answer = RegionAnswer::parse("</s><s>a turntable <loc_100><loc_200><loc_300><loc_400></s>", SIZE);
        assert_eq!(answer.text, "a turntable");
        let corners = answer.corners.unwrap();
        let expected = [20.1, 20.05, 60.1, 40.05];
        assert!(corners.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{corners:?}");
        assert_eq!(RegionAnswer::parse("just words", SIZE).corners, None);
        assert_eq!(RegionAnswer::parse("cut<loc_1><loc_2>", SIZE), RegionAnswer { text: "cut".into(), corners: None });
    }

    #[test]
    fn a_region_is_written_in_bins() {
        assert_eq!(region_prompt([0.0, 0.0, 199.0, 99.0], SIZE), "<loc_0><loc_0><loc_995><loc_990>");
        assert_eq!(region_prompt([-5.0, 50.0, 400.0, f64::MAX], SIZE), "<loc_0><loc_500><loc_999><loc_999>");
    }
}
