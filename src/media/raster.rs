//! PNG, WebP, BMP, TIFF and GIF through the `image` crate.

use std::error::Error;
use std::io::{self, Cursor};

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::error::{ImageError, UnsupportedErrorKind};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageResult, Limits};

use super::decode::DecodeOptions;
use super::error::DecodeError;
use super::format::format_name;
use crate::florence::image::Picture;

/// Bytes of a target pixel.
const RGB_BYTES: usize = 3;
/// The GIF decoder's words for a file that ends early.
const GIF_END: &str = "Unexpected End of File";
/// Where the upper byte of a 16-bit sample lies; decoders hand out the machine's own byte order.
const UPPER: usize = if cfg!(target_endian = "little") { 1 } else { 0 };

/// Decodes a file of this format; of a GIF or an animation the first frame.
pub fn decode(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<(Picture, Orientation), DecodeError> {
    let name = format_name(format);
    let describe = |error: ImageError| {
        let is_cut = ends_early(&error) || (format == ImageFormat::WebP && is_cut_webp(bytes));
        if is_cut { DecodeError::Truncated { format: name } } else { describe(&error, name, options) }
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_alloc_bytes);
    let mut decoder = open(Cursor::new(bytes), format, limits.clone()).map_err(describe)?;
    let (width, height) = decoder.dimensions();
    options.check_size(width, height, name)?;
    options.check_memory(decoder.total_bytes(), name)?;
    decoder.set_limits(limits).map_err(describe)?;
    let colour = decoder.color_type();
    // A tag that cannot be read is as good as none.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut samples = allocate(decoder.total_bytes(), name, options)?;
    decoder.read_image(&mut samples).map_err(describe)?;
    let rgb = to_rgb(samples, colour, name)?;
    let picture = Picture::new(width, height, rgb)
        .map_err(|error| DecodeError::Broken { format: name, reason: error.to_string() })?;
    Ok((picture, orientation))
}

/// Width and height that a file's header says.
pub fn declared_size(bytes: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    open(Cursor::new(bytes), format, Limits::default()).ok().map(|decoder| decoder.dimensions())
}

fn open<'a>(bytes: Cursor<&'a [u8]>, format: ImageFormat, limits: Limits) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
    Ok(match format {
        ImageFormat::WebP => Box::new(WebPDecoder::new(bytes)?),
        ImageFormat::Bmp => Box::new(BmpDecoder::new(bytes)?),
        ImageFormat::Tiff => Box::new(TiffDecoder::new(bytes)?),
        ImageFormat::Gif => Box::new(GifDecoder::new(bytes)?),
        // Only here do limits hold for compressed colour profiles, which are read before the pixels.
        _ => Box::new(PngDecoder::with_limits(bytes, limits)?),
    })
}

fn allocate(bytes: u64, format: &'static str, options: &DecodeOptions) -> Result<Vec<u8>, DecodeError> {
    let too_much = DecodeError::TooMuchMemory { format, most: options.max_alloc_bytes };
    let Ok(length) = usize::try_from(bytes) else { return Err(too_much) };
    let mut samples = Vec::new();
    samples.try_reserve_exact(length).map_err(|_| too_much)?;
    samples.resize(length, 0);
    Ok(samples)
}

/// Three bytes a pixel: alpha dropped, grey spread, the upper byte of 16 bits.
fn to_rgb(samples: Vec<u8>, colour: ColorType, format: &'static str) -> Result<Vec<u8>, DecodeError> {
    Ok(match colour {
        ColorType::Rgb8 => samples,
        ColorType::Rgba8 => pick::<4>(&samples, [0, 1, 2]),
        ColorType::L8 => pick::<1>(&samples, [0; RGB_BYTES]),
        ColorType::La8 => pick::<2>(&samples, [0; RGB_BYTES]),
        ColorType::L16 => pick::<2>(&samples, [UPPER; RGB_BYTES]),
        ColorType::La16 => pick::<4>(&samples, [UPPER; RGB_BYTES]),
        ColorType::Rgb16 => pick::<6>(&samples, [UPPER, 2 + UPPER, 4 + UPPER]),
        ColorType::Rgba16 => pick::<8>(&samples, [UPPER, 2 + UPPER, 4 + UPPER]),
        // What stands for white in them is anybody's guess.
        _ => {
            let reason = "floating-point pixels".to_owned();
            return Err(DecodeError::UnsupportedKind { format, reason });
        }
    })
}

/// The bytes at these three places of each pixel.
fn pick<const PIXEL_BYTES: usize>(samples: &[u8], places: [usize; RGB_BYTES]) -> Vec<u8> {
    let pixels = samples.as_chunks::<PIXEL_BYTES>().0;
    let mut rgb = vec![0; pixels.len() * RGB_BYTES];
    for (target, pixel) in rgb.as_chunks_mut::<RGB_BYTES>().0.iter_mut().zip(pixels) {
        *target = places.map(|place| pixel.get(place).copied().unwrap_or_default());
    }
    rgb
}

fn describe(error: &ImageError, format: &'static str, options: &DecodeOptions) -> DecodeError {
    match error {
        ImageError::Limits(_) => DecodeError::TooMuchMemory { format, most: options.max_alloc_bytes },
        ImageError::Unsupported(error) => {
            let reason = match error.kind() {
                UnsupportedErrorKind::Color(colour) => format!("pixels of type {colour:?}"),
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => error.to_string(),
            };
            DecodeError::UnsupportedKind { format, reason }
        }
        ImageError::Decoding(error) => {
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            DecodeError::Broken { format, reason }
        }
        error => DecodeError::Broken { format, reason: error.to_string() },
    }
}

/// Whether somewhere down the chain of causes the bytes ran out.
fn ends_early(error: &ImageError) -> bool {
    let is_end = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    // This one does not name itself as its cause.
    if let ImageError::IoError(error) = error {
        return is_end(error);
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        // GIF's decoder says so in words only.
        if error.downcast_ref().is_some_and(is_end) || error.to_string() == GIF_END {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the file is shorter than its first lines say: its decoder calls any cut a corrupt bitstream.
fn is_cut_webp(bytes: &[u8]) -> bool {
    let length = bytes.get(4..).and_then(<[u8]>::first_chunk::<4>).map(|length| u32::from_le_bytes(*length));
    // The count starts after itself.
    length.is_some_and(|length| u64::from(length) + 8 > bytes.len() as u64)
}
