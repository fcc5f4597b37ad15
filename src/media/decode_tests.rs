//! Tests of [`super::decode`], on files that are made here.

use super::*;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use std::io::Cursor;

const FORMATS: [ImageFormat; 6] =
    [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Jpeg, ImageFormat::Gif];

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Two colours, so that a GIF's palette can hold them.
fn sample() -> RgbImage {
    RgbImage::from_fn(19, 15, |x, y| if (x * 3 + y * y) % 5 < 2 { Rgb([255, 40, 7]) } else { Rgb([9, 200, 130]) })
}

fn encoded_sample(format: ImageFormat) -> Vec<u8> {
    if format == ImageFormat::Gif {
        encoded(DynamicImage::from(sample()).to_rgba8(), format)
    } else {
        encoded(sample(), format)
    }
}

fn decode_default(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode(bytes, &DecodeOptions::default())
}

#[test]
fn lossless_formats_come_back_as_they_were() {
    for format in FORMATS {
        let picture = decode_default(&encoded_sample(format)).unwrap();
        assert_eq!((picture.width(), picture.height()), (19, 15));
        assert!(format == ImageFormat::Jpeg || picture.rgb() == sample().as_raw(), "{format:?}");
    }
}

#[test]
fn alpha_is_dropped_grey_spread_and_sixteen_bits_cut() {
    let rgb_of = |image: DynamicImage, format| decode_default(&encoded(image, format)).unwrap().into_rgb();
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let rgba = ImageBuffer::from_pixel(2, 2, Rgba([10u8, 20, 30, 0]));
        assert_eq!(rgb_of(rgba.into(), format), [10, 20, 30].repeat(4));
        assert_eq!(rgb_of(ImageBuffer::from_pixel(2, 1, Luma([99u8])).into(), format), [99; 6]);
        assert_eq!(rgb_of(ImageBuffer::from_pixel(1, 1, Luma([0x12FFu16])).into(), format), [0x12; 3]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgb([0x0180u16, 0xFEFF, 0x7FFF]));
        assert_eq!(rgb_of(deep.into(), format), [0x01, 0xFE, 0x7F]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgba([0x0180u16, 0xFEFF, 0x7FFF, 0]));
        assert_eq!(rgb_of(deep.into(), format), [0x01, 0xFE, 0x7F]);
    }
    assert_eq!(rgb_of(ImageBuffer::from_pixel(2, 1, LumaA([77u8, 3])).into(), ImageFormat::Png), [77; 6]);
    assert_eq!(rgb_of(ImageBuffer::from_pixel(2, 1, LumaA([0x7701u16, 3])).into(), ImageFormat::Png), [0x77; 6]);
    let transparent = ImageBuffer::from_pixel(2, 2, Rgba([10u8, 20, 30, 0]));
    assert_eq!(rgb_of(transparent.into(), ImageFormat::WebP), [10, 20, 30].repeat(4));
    let float = encoded(DynamicImage::from(ImageBuffer::from_pixel(2, 2, Rgb([0.5f32; 3]))), ImageFormat::Tiff);
    let error = decode_default(&float).unwrap_err().to_string();
    assert_eq!(error, "not a picture that can be read: this kind of TIFF is not supported (floating-point pixels)");
}

#[test]
fn kinds_of_tiff_that_are_not_read_are_named() {
    // Palette in place of grey.
    let mut file = tiff_of(4);
    let photometric = file.windows(2).position(|tag| tag == 262u16.to_le_bytes()).unwrap();
    file[photometric + 8] = 3;
    let error = decode_default(&file).unwrap_err();
    assert!(matches!(error, DecodeError::UnsupportedKind { format: "TIFF", .. }), "{error}");
}

#[test]
fn what_is_no_picture_is_named() {
    assert_eq!(decode_default(b""), Err(DecodeError::Empty));
    assert_eq!(DecodeError::Empty.to_string(), "the file is empty");
    assert_eq!(
        decode_default(b"just some text").unwrap_err().to_string(),
        "not a picture that can be read: the file looks like text; \
         supported are jpg (jfif, mpo), png, webp, bmp, tiff and gif"
    );
}

#[test]
fn the_orientation_tag_is_applied_unless_switched_off() {
    // An APP1 segment whose only entry is orientation 6, to be turned right.
    let exif: &[u8] = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let plain = encoded_sample(ImageFormat::Jpeg);
    let tagged = [&plain[..2], exif, &plain[2..]].concat();
    let flat = decode(&tagged, &DecodeOptions { apply_orientation: false, ..Default::default() }).unwrap();
    assert_eq!(flat, decode_default(&plain).unwrap());
    let turned = decode_default(&tagged).unwrap();
    assert_eq!((turned.width(), turned.height()), (15, 19));
    assert_eq!(turned.rgb()[14 * 3..15 * 3], flat.rgb()[..3], "what was left above is now right above");
}

#[test]
fn declared_sizes_are_checked_before_pixels_exist() {
    let side = 30_000u32;
    let too_large = DecodeError::TooLarge { width: side, height: side, most: DecodeOptions::DEFAULT_MAX_PIXELS };
    assert_eq!(too_large.to_string(), "the picture is 30000x30000 = 900000000 pixels; at most 178956970 are read");
    let patched = |format, patches: &[(usize, &[u8])]| {
        let mut bytes = encoded_sample(format);
        for (at, patch) in patches {
            bytes[*at..at + patch.len()].copy_from_slice(patch);
        }
        bytes
    };
    let (big, little, short) = (side.to_be_bytes(), side.to_le_bytes(), (side as u16).to_le_bytes());
    let mut png = patched(ImageFormat::Png, &[(16, &big), (20, &big)]);
    let crc = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&crc);
    let gif = patched(ImageFormat::Gif, &[(6, &short), (8, &short)]);
    let bmp = patched(ImageFormat::Bmp, &[(18, &little), (22, &little)]);
    let jpeg = encoded_sample(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let jpeg = patched(ImageFormat::Jpeg, &[(frame + 5, &big[2..]), (frame + 7, &big[2..])]);
    for file in [png, gif, bmp, jpeg, tiff_of(side)] {
        assert_eq!(decode_default(&file), Err(too_large.clone()), "{:?}", Format::detect(&file));
    }
}

/// The entries of a grey TIFF of this size, without pixels.
fn tiff_of(side: u32) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    let entries: [(u16, u32); 8] =
        [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (278, side), (279, side)];
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        file.extend([tag.to_le_bytes(), 4u16.to_le_bytes()].concat());
        file.extend([1u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 4]);
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn memory_is_limited() {
    let tight = DecodeOptions { max_alloc_bytes: 19 * 15 * 3 - 1, ..Default::default() };
    for format in FORMATS {
        let error = decode(&encoded_sample(format), &tight).unwrap_err();
        assert!(matches!(error, DecodeError::TooMuchMemory { .. }), "{format:?}: {error}");
    }
}

#[test]
fn a_cut_file_is_an_error_or_lacks_nothing() {
    for format in FORMATS {
        let whole = encoded_sample(format);
        let picture = decode_default(&whole).unwrap();
        let mut truncated = 0;
        let mut others = std::collections::BTreeMap::<String, u32>::new();
        for length in 16..whole.len() {
            match decode_default(&whole[..length]) {
                // Formats that end with a checksum or an empty chunk have all pixels before.
                Ok(cut) => assert!(cut == picture, "{format:?} cut to {length} of {}", whole.len()),
                Err(DecodeError::Truncated { .. }) => truncated += 1,
                Err(error) => *others.entry(error.to_string()).or_insert(0) += 1,
            }
        }
        assert!(truncated > 0, "{format:?} gave {others:?}");
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn byte(&mut self) -> u8 {
        // Extremes and small steps find more than evenly spread numbers.
        match self.below(4) {
            0 => 0,
            1 => 0xFF,
            2 => 1 << self.below(8),
            _ => self.below(256) as u8,
        }
    }
}

/// Files to spoil: every format, and the flavours that other code reads.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = FORMATS.into_iter().map(encoded_sample).collect();
    let deep = DynamicImage::from(sample()).into_rgba16();
    seeds.push(encoded(deep.clone(), ImageFormat::Png));
    seeds.push(encoded(deep, ImageFormat::Tiff));
    seeds.push(encoded(DynamicImage::from(sample()).to_rgba8(), ImageFormat::WebP));
    seeds.push(encoded(DynamicImage::from(sample()).to_rgba8(), ImageFormat::Bmp));
    seeds.push(progressive_jpeg(mozjpeg::ColorSpace::JCS_RGB, 3));
    seeds.push(progressive_jpeg(mozjpeg::ColorSpace::JCS_CMYK, 4));
    seeds
}

fn progressive_jpeg(colour: mozjpeg::ColorSpace, channels: usize) -> Vec<u8> {
    let mut encoder = mozjpeg::Compress::new(colour);
    encoder.set_size(20, 14);
    encoder.set_progressive_mode();
    let mut encoder = encoder.start_compress(vec![]).unwrap();
    let samples: Vec<u8> = (0..20 * 14 * channels).map(|byte| (byte * 37 % 256) as u8).collect();
    encoder.write_scanlines(&samples).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn no_bytes_panic() {
    let rounds = std::env::var("MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(400);
    let small = DecodeOptions { max_pixels: 1 << 20, max_alloc_bytes: 1 << 24, apply_orientation: true };
    let mut random = Random(7);
    let check = |bytes: &[u8]| match decode(bytes, &small) {
        Ok(picture) => assert!(u64::from(picture.width()) * u64::from(picture.height()) <= small.max_pixels),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty());
            // Containment is for decoders' bugs; if this fails, one was found: report it, and decide.
            assert!(!message.contains("broke off"), "{message}");
        }
    };
    for whole in seeds() {
        for _ in 0..rounds {
            let mut bytes = whole.clone();
            if random.below(3) == 0 {
                bytes.truncate(1 + random.below(whole.len()));
            }
            for _ in 0..random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
            check(&bytes);
        }
        for _ in 0..rounds / 4 {
            // Rubbish behind a start that leads to this format's decoder.
            let mut bytes = whole[..whole.len().min(16)].to_vec();
            bytes.extend((0..random.below(400)).map(|_| random.byte()));
            check(&bytes);
        }
    }
    for _ in 0..rounds {
        let bytes: Vec<u8> = (0..random.below(64)).map(|_| random.byte()).collect();
        check(&bytes);
    }
}

#[test]
fn declared_pixels_are_those_that_are_decoded() {
    for format in FORMATS {
        let picture = decode_default(&encoded_sample(format)).unwrap();
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert_eq!(declared_pixels(&encoded_sample(format)), Some(pixels), "{format:?}");
    }
    assert_eq!(declared_pixels(b"text"), Some(0));
    assert_eq!(declared_pixels(b"\xff\xd8"), None);
    assert_eq!(declared_pixels(b"\x89PNG\r\n\x1a\n"), None);
}
