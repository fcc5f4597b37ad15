//! From a file's bytes to an upright picture.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::error::DecodeError;
use super::format::{Format, format_name};
use super::{jpeg, raster};
use crate::florence::image::Picture;

/// What is read and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pictures that declare more pixels are refused before any is decoded.
    pub max_pixels: u64,
    /// Most bytes that a decoder may ask for.
    pub max_alloc_bytes: u64,
    /// Whether the picture is turned as its EXIF tag says.
    pub apply_orientation: bool,
}

impl DecodeOptions {
    /// Twice what Pillow warns of as a decompression bomb, where it refuses.
    pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;
    /// Enough for the largest picture in 8-bit RGBA.
    pub const DEFAULT_MAX_ALLOC_BYTES: u64 = 1 << 30;
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: Self::DEFAULT_MAX_PIXELS,
            max_alloc_bytes: Self::DEFAULT_MAX_ALLOC_BYTES,
            apply_orientation: true,
        }
    }
}

impl DecodeOptions {
    /// Refuses a declared size that is empty or too large.
    pub(super) fn check_size(&self, width: u32, height: u32, format: &'static str) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::Broken { format, reason: format!("its size is {width}x{height}") });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooLarge { width, height, most: self.max_pixels });
        }
        Ok(())
    }
}

/// Decodes a picture: JPEG, PNG, WebP, BMP, TIFF, or the first frame of a GIF, recognised by content.
///
/// As in the platform's own pipeline the EXIF orientation is applied, alpha is dropped without blending, grey becomes
/// RGB, and of 16 bits the upper 8 are kept.
///
/// # Errors
/// The file is empty, of another format, too large, cut off or broken.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let format = Format::detect(bytes);
    let name = match format {
        Format::Jpeg => "JPEG",
        Format::Raster(format) => format_name(format),
        Format::Unsupported(found) => return Err(DecodeError::UnsupportedFormat { found }),
    };
    // libjpeg reports errors by unwinding, and a decoder's own bug must not take more than its picture down.
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Raster(format) => raster::decode(bytes, format, options),
        Format::Jpeg | Format::Unsupported(_) => jpeg::decode(bytes, options),
    }));
    let (rgb, orientation) = decoded
        .unwrap_or_else(|payload| Err(DecodeError::Broken { format: name, reason: panic_message(payload.as_ref()) }))?;
    let rgb = if options.apply_orientation { turn(rgb, orientation) } else { rgb };
    let (width, height) = rgb.dimensions();
    Picture::new(width, height, rgb.into_raw())
        .map_err(|error| DecodeError::Broken { format: name, reason: error.to_string() })
}

fn turn(rgb: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return rgb;
    }
    let mut image = DynamicImage::ImageRgb8(rgb);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("the decoder broke off").trim_start_matches("libjpeg fatal error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
    use std::io::Cursor;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn sample() -> RgbImage {
        RgbImage::from_fn(9, 5, |x, y| Rgb([(x * 20) as u8, (y * 40) as u8, 7]))
    }

    fn decode_default(bytes: &[u8]) -> Result<Picture, DecodeError> {
        decode(bytes, &DecodeOptions::default())
    }

    #[test]
    fn lossless_formats_come_back_as_they_were() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            let picture = decode_default(&encoded(sample(), format)).unwrap();
            assert_eq!((picture.width(), picture.height()), (9, 5));
            assert_eq!(picture.rgb(), sample().into_raw(), "{format:?}");
        }
        let gif = decode_default(&encoded(DynamicImage::from(sample()).to_rgba8(), ImageFormat::Gif)).unwrap();
        assert_eq!((gif.width(), gif.height()), (9, 5));
    }

    #[test]
    fn alpha_is_dropped_grey_spread_and_sixteen_bits_cut() {
        let rgba = ImageBuffer::from_pixel(2, 2, Rgba([10u8, 20, 30, 0]));
        assert_eq!(decode_default(&encoded(rgba, ImageFormat::Png)).unwrap().rgb(), [10, 20, 30].repeat(4));
        let grey = ImageBuffer::from_pixel(2, 1, LumaA([77u8, 3]));
        assert_eq!(decode_default(&encoded(grey, ImageFormat::Png)).unwrap().rgb(), [77; 6]);
        let deep = ImageBuffer::from_pixel(1, 1, Luma([0x12FFu16]));
        assert_eq!(decode_default(&encoded(deep, ImageFormat::Png)).unwrap().rgb(), [0x12; 3]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgba([0x0180u16, 0xFEFF, 0x7FFF, 0]));
        assert_eq!(decode_default(&encoded(deep, ImageFormat::Png)).unwrap().rgb(), [0x01, 0xFE, 0x7F]);
    }

    #[test]
    fn what_is_no_picture_is_named() {
        assert_eq!(decode_default(b""), Err(DecodeError::Empty));
        let error = decode_default(b"just some text").unwrap_err().to_string();
        assert!(error.contains("text") && error.contains("png"), "{error}");
    }

    #[test]
    fn declared_sizes_are_checked_before_pixels_exist() {
        let mut png = encoded(sample(), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        let crc = crc32(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&crc);
        let error = decode_default(&png).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { width: 30_000, height: 30_000, most: 178_956_970 });
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn a_cut_jpeg_is_an_error_and_the_next_one_is_read() {
        let whole = encoded(sample(), ImageFormat::Jpeg);
        for length in [2, 20, whole.len() / 2, whole.len() - 10] {
            assert!(decode_default(&whole[..length]).is_err(), "cut to {length} of {}", whole.len());
        }
        assert!(decode_default(&whole).is_ok());
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 7u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let small = DecodeOptions { max_pixels: 1 << 20, max_alloc_bytes: 1 << 24, apply_orientation: true };
        let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Jpeg];
        for format in formats {
            let whole = encoded(sample(), format);
            for _ in 0..300 {
                let mut bytes = whole.clone();
                bytes.truncate(1 + random() as usize % whole.len());
                for _ in 0..random() % 8 {
                    let at = random() as usize % bytes.len();
                    bytes[at] = random() as u8;
                }
                // Whatever comes out is within the limits.
                if let Ok(picture) = decode(&bytes, &small) {
                    assert!(u64::from(picture.width()) * u64::from(picture.height()) <= small.max_pixels);
                }
            }
        }
    }
}
