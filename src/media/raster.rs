//! PNG, WebP, BMP, TIFF and GIF through the `image` crate.

use std::io::{BufRead, Cursor, Seek};

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult, Limits, RgbImage};

use super::decode::DecodeOptions;
use super::error::DecodeError;
use super::format::format_name;

/// Decodes a file of this format; of a GIF the first frame.
pub fn decode(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<(RgbImage, Orientation), DecodeError> {
    let name = format_name(format);
    let mut decoder = open(Cursor::new(bytes), format).map_err(|error| describe(name, &error))?;
    let (width, height) = decoder.dimensions();
    options.check_size(width, height, name)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_alloc_bytes);
    decoder.set_limits(limits).map_err(|error| describe(name, &error))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|error| describe(name, &error))?;
    Ok((to_rgb(image, name)?, orientation))
}

fn open<'a>(bytes: impl BufRead + Seek + 'a, format: ImageFormat) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
    Ok(match format {
        ImageFormat::WebP => Box::new(WebPDecoder::new(bytes)?),
        ImageFormat::Bmp => Box::new(BmpDecoder::new(bytes)?),
        ImageFormat::Tiff => Box::new(TiffDecoder::new(bytes)?),
        ImageFormat::Gif => Box::new(GifDecoder::new(bytes)?),
        _ => Box::new(PngDecoder::new(bytes)?),
    })
}

/// Three bytes a pixel: alpha dropped, grey spread, the upper byte of 16 bits.
fn to_rgb(image: DynamicImage, format: &'static str) -> Result<RgbImage, DecodeError> {
    let (width, height) = (image.width(), image.height());
    let rgb = match image {
        DynamicImage::ImageLuma16(image) => spread(image.iter().copied()),
        DynamicImage::ImageLumaA16(image) => spread(image.iter().copied().step_by(2)),
        DynamicImage::ImageRgb16(image) => image.iter().copied().map(upper_byte).collect(),
        DynamicImage::ImageRgba16(image) => {
            let colours = image.chunks_exact(4).filter_map(|pixel| pixel.get(..3));
            colours.flatten().copied().map(upper_byte).collect()
        }
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
            let reason = "its pixels are floating point numbers, whose range is unknown".to_owned();
            return Err(DecodeError::Broken { format, reason });
        }
        image => return Ok(image.into_rgb8()),
    };
    RgbImage::from_raw(width, height, rgb)
        .ok_or_else(|| DecodeError::Broken { format, reason: "its rows are incomplete".to_owned() })
}

fn spread(values: impl Iterator<Item = u16>) -> Vec<u8> {
    values.flat_map(|value| [upper_byte(value); 3]).collect()
}

const fn upper_byte(value: u16) -> u8 {
    value.to_be_bytes()[0]
}

fn describe(format: &'static str, error: &ImageError) -> DecodeError {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        error => DecodeError::Broken { format, reason: error.to_string() },
    }
}
