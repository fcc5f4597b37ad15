//! Recognising a file by its first bytes, whatever its name says.

use std::path::Path;

use image::ImageFormat;

/// For messages.
pub const SUPPORTED_FORMATS: &str = "jpg (jfif, mpo), png, webp, bmp, tiff and gif";

/// File name extensions of supported pictures.
const EXTENSIONS: [&str; 11] = ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "bmp", "tif", "tiff", "gif"];

/// File name extensions of videos.
const VIDEO_EXTENSIONS: [&str; 11] = ["mp4", "m4v", "mov", "avi", "mkv", "webm", "wmv", "flv", "3gp", "mpg", "mpeg"];

/// How a file is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// By libjpeg.
    Jpeg,
    /// By the `image` crate.
    Raster(ImageFormat),
    /// Not at all; it looks like this.
    Unsupported(&'static str),
}

/// First bytes of what people upload by mistake, and what to call it. The number is the offset; the first that fits wins.
const UNSUPPORTED: [(usize, &[u8], &str); 41] = [
    (4, b"ftypavi", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyphev", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypmsf1", "a HEIF picture"),
    (4, b"ftypcrx", "a raw picture of a camera"),
    (4, b"ftypM4A", "a sound"),
    (4, b"ftyp", "a video (MP4)"),
    (4, b"moov", "a video (QuickTime)"),
    (4, b"mdat", "a video (QuickTime)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"FLV\x01", "a video (Flash)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (8, b"AVI ", "a video (AVI)"),
    (8, b"WAVE", "a sound"),
    (0, b"ID3", "a sound"),
    (0, b"OggS", "a sound or video (Ogg)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"\0\0\x02\0", "a mouse cursor"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"DDS ", "a DirectDraw texture"),
    (0, b"qoif", "a QOI picture"),
    (0, b"PK\x03\x04", "a zip archive or office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (0, b"\xd0\xcf\x11\xe0", "an old office document"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"RIFF", "a RIFF file that is no WebP picture"),
    (128, b"DICM", "a DICOM file"),
];

impl Format {
    /// Looks at the first bytes.
    pub fn detect(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"\xff\xd8") {
            return Self::Jpeg;
        }
        match image::guess_format(bytes) {
            // Two letters are few; a text may begin with them.
            Ok(ImageFormat::Bmp) if !is_bitmap(bytes) => Self::Unsupported(name_unsupported(bytes)),
            Ok(
                format @ (ImageFormat::Png
                | ImageFormat::WebP
                | ImageFormat::Bmp
                | ImageFormat::Tiff
                | ImageFormat::Gif),
            ) => Self::Raster(format),
            _ => Self::Unsupported(name_unsupported(bytes)),
        }
    }
}

/// What to call a supported format.
pub const fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Gif => "GIF",
        _ => "picture",
    }
}

/// Whether a file's name ends as that of a supported picture.
pub fn is_picture_name(path: &Path) -> bool {
    ends_in(path, &EXTENSIONS)
}

/// Whether a file's name ends as that of a video.
pub fn is_video_name(path: &Path) -> bool {
    ends_in(path, &VIDEO_EXTENSIONS)
}

fn ends_in(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Whether the length of the second header is one that bitmaps have.
fn is_bitmap(bytes: &[u8]) -> bool {
    let length = bytes.get(14..).and_then(<[u8]>::first_chunk::<4>).map(|length| u32::from_le_bytes(*length));
    length.is_none_or(|length| matches!(length, 12..=128))
}

fn name_unsupported(bytes: &[u8]) -> &'static str {
    let starts =
        |(offset, magic, _): &&(usize, &[u8], &str)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, name)) = UNSUPPORTED.iter().find(starts) {
        return name;
    }
    name_text(bytes)
}

/// How much of a text is looked at.
const TEXT_START_BYTES: usize = 512;

fn name_text(bytes: &[u8]) -> &'static str {
    let text = bytes.get(..bytes.len().min(TEXT_START_BYTES)).map(String::from_utf8_lossy).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let is_printable = |character: char| !character.is_control() || character.is_whitespace();
    if text.is_empty() || !text.chars().all(is_printable) {
        return "no known picture";
    }
    // The last character may have been cut in two.
    if text.trim_end_matches(char::REPLACEMENT_CHARACTER).contains(char::REPLACEMENT_CHARACTER) {
        "no known picture"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "a web page"
    } else if text.starts_with('<') && text.contains("<svg") {
        "an SVG drawing"
    } else if text.starts_with("<?xml") {
        "an XML document"
    } else if text.starts_with("data:") {
        "a data URL"
    } else if text.starts_with(['{', '[']) {
        "JSON text"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_bytes() {
        let mut bitmap = *b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0";
        let cases: [(&[u8], Format); 19] = [
            (b"\xff\xd8\xff\xe0", Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Format::Raster(ImageFormat::Png)),
            (b"RIFF\0\0\0\0WEBPVP8 ", Format::Raster(ImageFormat::WebP)),
            (b"II*\0", Format::Raster(ImageFormat::Tiff)),
            (b"MM\0*", Format::Raster(ImageFormat::Tiff)),
            (b"GIF89a", Format::Raster(ImageFormat::Gif)),
            (&bitmap, Format::Raster(ImageFormat::Bmp)),
            (b"\0\0\0\x18ftypheic", Format::Unsupported("a HEIC picture")),
            (b"\0\0\0\x18ftypavif", Format::Unsupported("an AVIF picture")),
            (b"\0\0\0\x18ftypisom", Format::Unsupported("a video (MP4)")),
            (b"RIFF\0\0\0\0AVI LIST", Format::Unsupported("a video (AVI)")),
            (b"%PDF-1.7", Format::Unsupported("a PDF document")),
            (b"  <svg xmlns='x'>", Format::Unsupported("an SVG drawing")),
            (b"<?xml version='1.0'?>\n<svg>", Format::Unsupported("an SVG drawing")),
            (b"\xef\xbb\xbf<!DOCTYPE html><svg>", Format::Unsupported("a web page")),
            (b"{\"url\": 1}", Format::Unsupported("JSON text")),
            (b"this is not a picture", Format::Unsupported("text")),
            (b"BMW is a make of cars", Format::Unsupported("text")),
            (b"\0\x01\x02", Format::Unsupported("no known picture")),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::detect(bytes), format, "{}", String::from_utf8_lossy(bytes));
        }
        bitmap[14] = 200;
        assert_eq!(Format::detect(&bitmap), Format::Unsupported("no known picture"));
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(is_picture_name("a/B.JPEG".as_ref()) && is_picture_name("x.mpo".as_ref()));
        assert!(!is_picture_name("notes.txt".as_ref()) && !is_picture_name("png".as_ref()));
    }
}
