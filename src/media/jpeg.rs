//! JPEG through libjpeg-turbo's own code, so that every pixel is what Pillow and OpenCV see.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use mozjpeg::decompress::DecompressStarted;
use mozjpeg::{ColorSpace, CompInfoExt, Decompress, Marker};

use super::decode::DecodeOptions;
use super::error::DecodeError;
use super::jpeg_scans::Scans;
use crate::florence::image::Picture;

/// For messages.
const FORMAT: &str = "JPEG";
/// What an EXIF segment begins with.
const EXIF_HEADER: &[u8] = b"Exif\0\0";
/// What the `mozjpeg` crate puts before libjpeg's words.
const MESSAGE_PREFIX: &str = "libjpeg fatal error: ";
/// More scans than any encoder writes (about ten) and the number that libjpeg-turbo's own fuzzing allows.
const MAX_SCANS: usize = 500;
/// Bytes of a coefficient, which are kept for files of several scans.
const COEFFICIENT_BYTES: u64 = 2;
/// Most bytes of a pixel while it is decoded: four inks.
const INKS: u64 = 4;

/// Decodes a JPEG, the first picture of a multi-picture file.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(Picture, Orientation), DecodeError> {
    let scans = Scans::of(bytes);
    if scans.count > MAX_SCANS {
        return Err(broken(format!("it has {} scans; at most {MAX_SCANS} are read", scans.count)));
    }
    let hit_end = Cell::new(false);
    let reader = Reader { rest: bytes, hit_end: &hit_end };
    // libjpeg reports fatal errors by unwinding with its message, and without calling the panic hook.
    let decoded = catch_unwind(AssertUnwindSafe(|| decompress(reader, scans, options)))
        .unwrap_or_else(|payload| Err(broken(message(payload.as_ref()))));
    match decoded {
        // At the end of a cut file libjpeg pretends that the picture ended, and fills the rest with grey. Pillow, too,
        // takes a file for whole only with its end marker.
        Ok(_) | Err(DecodeError::Broken { .. }) if hit_end.get() => Err(DecodeError::Truncated { format: FORMAT }),
        decoded => decoded,
    }
}

fn decompress(reader: Reader, scans: Scans, options: &DecodeOptions) -> Result<(Picture, Orientation), DecodeError> {
    let markers = [Marker::APP(1)];
    let decoder = Decompress::with_markers(&markers).from_reader(reader).map_err(broken)?;
    let (width, height) = dimensions(&decoder)?;
    options.check_size(width, height, FORMAT)?;
    options.check_memory(needed_bytes(&decoder, scans), FORMAT)?;
    let orientation = orientation(&decoder);
    let rgb = match decoder.color_space() {
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => {
            let cmyk = read_pixels(decoder.to_colorspace(ColorSpace::JCS_CMYK).map_err(broken)?)?;
            rgb_of_inverted_cmyk(cmyk)
        }
        _ => read_pixels(decoder.rgb().map_err(broken)?)?,
    };
    Ok((Picture::new(width, height, rgb).map_err(broken)?, orientation))
}

/// All rows, and the file as far as its end marker.
fn read_pixels(mut decoder: DecompressStarted<Reader>) -> Result<Vec<u8>, DecodeError> {
    let pixels = decoder.read_scanlines::<u8>().map_err(broken)?;
    decoder.finish().map_err(broken)?;
    Ok(pixels)
}

fn dimensions<R>(decoder: &Decompress<R>) -> Result<(u32, u32), DecodeError> {
    let side = |side: usize| u32::try_from(side).map_err(broken);
    Ok((side(decoder.width())?, side(decoder.height())?))
}

/// What the pixels take, and the coefficients that are kept between scans.
fn needed_bytes<R>(decoder: &Decompress<R>, scans: Scans) -> u64 {
    let samples: usize = decoder.components().iter().map(|channel| channel.row_stride() * channel.col_stride()).sum();
    let coefficients = if scans.are_several { samples as u64 * COEFFICIENT_BYTES } else { 0 };
    decoder.width() as u64 * decoder.height() as u64 * INKS + coefficients
}

fn orientation<R>(decoder: &Decompress<R>) -> Orientation {
    let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(EXIF_HEADER));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// Files with four channels hold them inverted, as Adobe writes them; Pillow takes that for granted and so do we.
fn rgb_of_inverted_cmyk(cmyk: Vec<u8>) -> Vec<u8> {
    let inks = cmyk.as_chunks::<4>().0;
    let mut rgb = vec![0; inks.len() * 3];
    for (pixel, [cyan, magenta, yellow, key]) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(inks) {
        *pixel = [cyan, magenta, yellow].map(|ink| key - scale(255 - ink, *key));
    }
    rgb
}

/// `a * b / 255`, rounded as Pillow does; never more than either.
#[allow(clippy::cast_possible_truncation, reason = "the quotient of two bytes by 255 is a byte")]
const fn scale(a: u8, b: u8) -> u8 {
    let product = a as u32 * b as u32 + 128;
    (((product >> 8) + product) >> 8) as u8
}

fn broken(reason: impl ToString) -> DecodeError {
    DecodeError::Broken { format: FORMAT, reason: reason.to_string() }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.map_or("the decoder broke off", |text| text.trim_start_matches(MESSAGE_PREFIX))
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
        let mixed = |inks: [u8; 4]| rgb_of_inverted_cmyk(inks.to_vec());
        assert_eq!(mixed([255, 255, 255, 255]), [255, 255, 255]);
        assert_eq!(mixed([0, 255, 128, 255]), [0, 255, 128]);
        assert_eq!(mixed([10, 20, 30, 0]), [0, 0, 0]);
        assert_eq!(mixed([100, 0, 255, 200]), [78, 0, 200]);
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            assert!(scale(a, b) <= a.min(b));
        }
    }

    fn encoded(progressive: bool) -> Vec<u8> {
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_RGB);
        encoder.set_size(40, 30);
        // Otherwise mozjpeg makes everything progressive.
        if !progressive {
            encoder.set_fastest_defaults();
        }
        let mut encoder = encoder.start_compress(vec![]).unwrap();
        let rgb: Vec<u8> = (0..40 * 30 * 3).map(|byte| (byte * 37 % 256) as u8).collect();
        encoder.write_scanlines(&rgb).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_cut_is_called_truncated_and_what_follows_the_end_is_ignored() {
        let options = DecodeOptions::default();
        for progressive in [false, true] {
            let whole = encoded(progressive);
            assert_eq!(Scans::of(&whole).are_several, progressive);
            let picture = decode(&whole, &options).unwrap().0;
            for length in 2..whole.len() {
                let error = decode(&whole[..length], &options).unwrap_err();
                assert_eq!(error, DecodeError::Truncated { format: FORMAT }, "{length} of {} bytes", whole.len());
            }
            let trailed = [&whole[..], b"\0\0 a video, another picture\xff\xd8\xff"].concat();
            assert!(decode(&trailed, &options).unwrap().0 == picture);
        }
    }

    #[test]
    fn too_many_scans_are_refused() {
        let whole = encoded(true);
        let at = whole.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
        let (head, scan) = whole[..whole.len() - 2].split_at(at);
        let bomb = [head, &scan.repeat(MAX_SCANS + 1), &[0xFF, 0xD9]].concat();
        let error = decode(&bomb, &DecodeOptions::default()).unwrap_err().to_string();
        assert!(error.contains("scans"), "{error}");
    }

    #[test]
    fn memory_for_coefficients_counts() {
        let tight = DecodeOptions { max_alloc_bytes: 40 * 30 * 4, ..Default::default() };
        assert!(decode(&encoded(false), &tight).is_ok());
        let error = decode(&encoded(true), &tight).unwrap_err();
        assert_eq!(error, DecodeError::TooMuchMemory { format: FORMAT, most: 40 * 30 * 4 });
    }
}
