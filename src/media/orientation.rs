//! Turning and mirroring a picture as its EXIF tag says. Most photographs of telephones need it.

use image::metadata::Orientation;

use crate::florence::image::{Picture, PictureError};

/// Bytes of a pixel.
const PIXEL_BYTES: usize = 3;
/// Side of the squares, in pixels, in which rows and columns are exchanged.
const SQUARE: usize = 32;

/// The picture as it is meant to be seen.
pub fn upright(picture: Picture, orientation: Orientation) -> Result<Picture, PictureError> {
    match orientation {
        Orientation::NoTransforms => Ok(picture),
        Orientation::FlipHorizontal => in_place(picture, flip_rows),
        Orientation::FlipVertical => in_place(picture, reverse_rows),
        Orientation::Rotate180 => in_place(picture, |pixels, _| pixels.reverse()),
        // Exchanging rows and columns, then mirroring what remains.
        Orientation::Rotate90FlipH => transpose(&picture, Mirrored { columns: false, rows: false }),
        Orientation::Rotate90 => transpose(&picture, Mirrored { columns: false, rows: true }),
        Orientation::Rotate270 => transpose(&picture, Mirrored { columns: true, rows: false }),
        Orientation::Rotate270FlipH => transpose(&picture, Mirrored { columns: true, rows: true }),
    }
}

fn in_place(picture: Picture, change: fn(&mut [[u8; PIXEL_BYTES]], usize)) -> Result<Picture, PictureError> {
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = picture.into_rgb();
    change(rgb.as_chunks_mut().0, width as usize);
    Picture::new(width, height, rgb)
}

fn flip_rows(pixels: &mut [[u8; PIXEL_BYTES]], width: usize) {
    pixels.chunks_exact_mut(width).for_each(<[_]>::reverse);
}

fn reverse_rows(pixels: &mut [[u8; PIXEL_BYTES]], width: usize) {
    let mut rows = pixels.chunks_exact_mut(width);
    while let (Some(upper), Some(lower)) = (rows.next(), rows.next_back()) {
        upper.swap_with_slice(lower);
    }
}

/// Which of the source's directions are read backwards.
#[derive(Clone, Copy)]
struct Mirrored {
    columns: bool,
    rows: bool,
}

/// Columns become rows, square by square: as long as these are small, both sides stay in the cache.
fn transpose(picture: &Picture, mirrored: Mirrored) -> Result<Picture, PictureError> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let source = picture.rgb().as_chunks::<PIXEL_BYTES>().0;
    let mut rgb = vec![0; picture.rgb().len()];
    let target = rgb.as_chunks_mut::<PIXEL_BYTES>().0;
    for left in (0..width).step_by(SQUARE) {
        for top in (0..height).step_by(SQUARE) {
            let length = SQUARE.min(height - top);
            let start = if mirrored.rows { height - top - length } else { top };
            for column in left..width.min(left + SQUARE) {
                let row = if mirrored.columns { width - 1 - column } else { column };
                let from = source.get(top * width + column..).unwrap_or_default().iter().step_by(width);
                let places = row * height + start..row * height + start + length;
                let to = target.get_mut(places).unwrap_or_default().iter_mut();
                if mirrored.rows { copy(from, to.rev()) } else { copy(from, to) }
            }
        }
    }
    Picture::new(picture.height(), picture.width(), rgb)
}

#[inline(always)]
fn copy<'a>(from: impl Iterator<Item = &'a [u8; PIXEL_BYTES]>, to: impl Iterator<Item = &'a mut [u8; PIXEL_BYTES]>) {
    for (to, from) in to.zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    #[test]
    fn every_orientation_equals_that_of_the_image_crate() {
        for (width, height) in [(1, 1), (5, 3), (16, 7), (7, 16), (33, 40), (1, 50), (97, 65)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|byte| (byte * 7 % 251) as u8).collect();
            for tag in 1..=8 {
                let orientation = Orientation::from_exif(tag).unwrap();
                let mut expected = DynamicImage::from(RgbImage::from_raw(width, height, rgb.clone()).unwrap());
                expected.apply_orientation(orientation);
                let turned = upright(Picture::new(width, height, rgb.clone()).unwrap(), orientation).unwrap();
                assert_eq!((turned.width(), turned.height()), (expected.width(), expected.height()), "tag {tag}");
                assert!(turned.rgb() == expected.as_bytes(), "tag {tag} of {width}x{height}");
            }
        }
    }
}
