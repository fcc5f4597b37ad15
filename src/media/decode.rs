//! From a file's bytes to an upright picture.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::DecodeError;
use super::format::{Format, format_name};
use super::jpeg_scans::Scans;
use super::orientation::upright;
use super::{jpeg, raster};
use crate::florence::image::Picture;

/// What is read and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pictures that declare more pixels are refused before any is decoded.
    pub max_pixels: u64,
    /// Most bytes that a decoder may take for pixels and what it keeps beside them. The finished picture, and a second
    /// one while it is turned, come on top: three bytes a pixel each.
    pub max_alloc_bytes: u64,
    /// Whether the picture is turned as its EXIF tag says.
    pub apply_orientation: bool,
}

impl DecodeOptions {
    /// Where Pillow refuses a picture as a decompression bomb: twice the number that it warns of.
    pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;
    /// Enough for the largest picture in 8-bit RGBA, and for most of 16 bits or progressive ones.
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

    /// Refuses what would take too much memory.
    pub(super) fn check_memory(&self, bytes: u64, format: &'static str) -> Result<(), DecodeError> {
        if bytes > self.max_alloc_bytes {
            return Err(DecodeError::TooMuchMemory { format, most: self.max_alloc_bytes });
        }
        Ok(())
    }
}

/// How many pixels a file says that it holds, without decoding them; `None` where that cannot be told.
pub fn declared_pixels(bytes: &[u8]) -> Option<u64> {
    let (width, height) = match Format::detect(bytes) {
        Format::Unsupported(_) => (0, 0),
        Format::Jpeg => Scans::of(bytes).size?,
        Format::Raster(format) => catch_unwind(|| raster::declared_size(bytes, format)).ok()??,
    };
    Some(u64::from(width) * u64::from(height))
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
    // Decoders should not panic, but they are a lot of code that runs on strangers' bytes, and a panic must cost no more
    // than the picture that caused it. Nothing of what they touched is looked at afterwards.
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Raster(format) => raster::decode(bytes, format, options),
        Format::Jpeg | Format::Unsupported(_) => jpeg::decode(bytes, options),
    }));
    let broken = |reason: String| DecodeError::Broken { format: name, reason };
    let (picture, orientation) = decoded.unwrap_or_else(|_| Err(broken("the decoder broke off".to_owned())))?;
    if !options.apply_orientation {
        return Ok(picture);
    }
    upright(picture, orientation).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
