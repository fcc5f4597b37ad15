//! Boxes with labels drawn over a picture, to look at.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

use crate::florence::image::Picture;

/// Colours of successive labels, light and dark enough to be told apart on most pictures.
const COLOURS: [[u8; 3]; 8] = [
    [230, 25, 75],
    [60, 180, 75],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [0, 128, 128],
    [240, 50, 230],
    [128, 128, 0],
];
/// Side of a glyph before it is enlarged.
const GLYPH_SIDE: u32 = 8;
/// Picture side, in pixels, for which lines are one pixel wider and letters one size larger.
const PIXELS_A_SIZE: u32 = 500;

/// A copy of the picture with each `(label, [left, top, right, bottom])` drawn on it, corners inclusive. Equal labels
/// have equal colours.
pub fn draw_labelled_boxes(picture: &Picture, boxes: &[(String, [i64; 4])]) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let mut canvas = RgbImage::from_raw(width, height, picture.rgb().to_vec()).unwrap_or_default();
    let size = 1 + width.max(height) / PIXELS_A_SIZE;
    let mut labels: Vec<&str> = vec![];
    for (label, corners) in boxes {
        let index = labels.iter().position(|known| known == label).unwrap_or_else(|| {
            labels.push(label);
            labels.len() - 1
        });
        let colour = Rgb(COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default());
        draw_frame(&mut canvas, *corners, i64::from(size) + 1, colour);
        draw_label(&mut canvas, label, *corners, size, colour);
    }
    canvas
}

fn draw_frame(canvas: &mut RgbImage, [left, top, right, bottom]: [i64; 4], thickness: i64, colour: Rgb<u8>) {
    fill(canvas, [left, top, right, top + thickness - 1], colour);
    fill(canvas, [left, bottom - thickness + 1, right, bottom], colour);
    fill(canvas, [left, top, left + thickness - 1, bottom], colour);
    fill(canvas, [right - thickness + 1, top, right, bottom], colour);
}

/// Writes the label on a plate above the box, or inside it where there is no room above.
fn draw_label(canvas: &mut RgbImage, label: &str, [left, top, ..]: [i64; 4], size: u32, colour: Rgb<u8>) {
    let scale = i64::from(size);
    let side = i64::from(GLYPH_SIDE) * scale;
    let length = i64::try_from(label.chars().count()).unwrap_or(0) * side;
    let plate_height = side + 2 * scale;
    let plate_top = if top >= plate_height { top - plate_height } else { top };
    let plate_left = left.min(i64::from(canvas.width()) - length - 2 * scale).max(0);
    fill(canvas, [plate_left, plate_top, plate_left + length + 2 * scale - 1, plate_top + plate_height - 1], colour);
    for (index, character) in (0..).zip(label.chars()) {
        let rows = BASIC_FONTS.get(character).or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
        for (y, row) in (0..).zip(rows) {
            for x in (0..i64::from(GLYPH_SIDE)).filter(|x| row >> x & 1 == 1) {
                let (x, y) = (plate_left + scale + index * side + x * scale, plate_top + scale + y * scale);
                fill(canvas, [x, y, x + scale - 1, y + scale - 1], Rgb([255; 3]));
            }
        }
    }
}

/// Fills a rectangle, corners inclusive, as far as it lies on the canvas.
fn fill(canvas: &mut RgbImage, [left, top, right, bottom]: [i64; 4], colour: Rgb<u8>) {
    let within = |value: i64, side: u32| u32::try_from(value.clamp(0, i64::from(side))).unwrap_or(0);
    let (width, height) = canvas.dimensions();
    for y in within(top, height)..within(bottom + 1, height) {
        for x in within(left, width)..within(right + 1, width) {
            canvas.put_pixel(x, y, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_drawn_and_what_lies_outside_is_not() {
        let picture = Picture::new(60, 40, vec![0; 60 * 40 * 3]).unwrap();
        let boxes = [
            ("cat".to_owned(), [10, 20, 50, 35]),
            ("ünïcode".to_owned(), [-5, -5, 100, 100]),
            ("cat".to_owned(), [i64::from(u32::MAX), 0, 0, 0]),
        ];
        let drawn = draw_labelled_boxes(&picture, &boxes);
        assert_eq!(drawn.dimensions(), (60, 40));
        assert_eq!(drawn.get_pixel(50, 35).0, COLOURS[0]);
        assert_eq!(drawn.get_pixel(30, 28).0, [0; 3]);
    }
}
