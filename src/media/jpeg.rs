//! JPEG through libjpeg-turbo's own code, so that every pixel is what Pillow and OpenCV see.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use image::RgbImage;
use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::decode::DecodeOptions;
use super::error::DecodeError;

/// For messages.
const FORMAT: &str = "JPEG";
/// What an EXIF segment begins with.
const EXIF_HEADER: &[u8] = b"Exif\0\0";

/// Decodes a JPEG, the first picture of a multi-picture file.
///
/// libjpeg reports fatal errors by unwinding; the caller contains that.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(RgbImage, Orientation), DecodeError> {
    let hit_end = Cell::new(false);
    let reader = Reader { rest: bytes, hit_end: &hit_end };
    let markers = [Marker::APP(1)];
    let decoder = Decompress::with_markers(&markers).from_reader(reader).map_err(broken)?;
    let (width, height) = dimensions(&decoder)?;
    options.check_size(width, height, FORMAT)?;
    let orientation = orientation(&decoder);
    let rgb = match decoder.color_space() {
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => {
            let mut lines = decoder.to_colorspace(ColorSpace::JCS_CMYK).map_err(broken)?;
            let cmyk: Vec<[u8; 4]> = lines.read_scanlines().map_err(broken)?;
            cmyk.into_iter().flat_map(rgb_of_inverted_cmyk).collect()
        }
        _ => decoder.rgb().map_err(broken)?.read_scanlines::<u8>().map_err(broken)?,
    };
    // At the end of a cut file libjpeg warns, pretends that the picture ended, and fills the rest with grey.
    if hit_end.get() {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let image = RgbImage::from_raw(width, height, rgb).ok_or_else(|| broken("its rows are incomplete"))?;
    Ok((image, orientation))
}

fn dimensions<R>(decoder: &Decompress<R>) -> Result<(u32, u32), DecodeError> {
    let side = |side: usize| u32::try_from(side).map_err(broken);
    Ok((side(decoder.width())?, side(decoder.height())?))
}

fn orientation<R>(decoder: &Decompress<R>) -> Orientation {
    let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(EXIF_HEADER));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// Files with four channels hold them inverted, as Adobe writes them; Pillow takes that for granted and so do we.
fn rgb_of_inverted_cmyk([cyan, magenta, yellow, key]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| key - scale(255 - ink, key))
}

/// `a * b / 255`, rounded as Pillow does.
#[allow(clippy::cast_possible_truncation, reason = "the quotient of two bytes by 255 is a byte")]
const fn scale(a: u8, b: u8) -> u8 {
    let product = a as u32 * b as u32 + 128;
    (((product >> 8) + product) >> 8) as u8
}

fn broken(reason: impl ToString) -> DecodeError {
    DecodeError::Broken { format: FORMAT, reason: reason.to_string() }
}

/// The file's bytes, with a note of whether more were asked for than there are.
struct Reader<'a> {
    rest: &'a [u8],
    hit_end: &'a Cell<bool>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.hit_end.set(true);
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = self.rest.get(amount..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_are_mixed_as_pillow_does() {
        assert_eq!(rgb_of_inverted_cmyk([255, 255, 255, 255]), [255, 255, 255]);
        assert_eq!(rgb_of_inverted_cmyk([0, 255, 128, 255]), [0, 255, 128]);
        assert_eq!(rgb_of_inverted_cmyk([10, 20, 30, 0]), [0, 0, 0]);
        assert_eq!(rgb_of_inverted_cmyk([100, 0, 255, 200]), [78, 0, 200]);
    }
}
