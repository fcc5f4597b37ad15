//! Recognising a file by its first bytes, whatever its name says.

use image::ImageFormat;

/// For messages.
pub const SUPPORTED_FORMATS: &str = "jpg (jfif, mpo), png, webp, bmp, tiff and gif";

/// File name extensions of supported pictures.
const EXTENSIONS: [&str; 11] = ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "bmp", "tif", "tiff", "gif"];

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

/// First bytes of what people upload by mistake, and what to call it. The number is the offset.
const UNSUPPORTED: [(usize, &[u8], &str); 17] = [
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"RIFF", "a RIFF file that is no WebP picture"),
    (0, b"\x93NUMPY", "a NumPy array"),
];

impl Format {
    /// Looks at the first bytes.
    pub fn detect(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"\xff\xd8") {
            return Self::Jpeg;
        }
        match image::guess_format(bytes) {
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
pub fn is_picture_name(path: &std::path::Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

fn name_unsupported(bytes: &[u8]) -> &'static str {
    let starts =
        |(offset, magic, _): &&(usize, &[u8], &str)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, name)) = UNSUPPORTED.iter().find(starts) {
        return name;
    }
    let text = bytes.get(..bytes.len().min(256)).map(String::from_utf8_lossy).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if text.contains("<svg") {
        "an SVG drawing"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "a web page"
    } else if !text.is_empty() && text.chars().all(|character| !character.is_control() || character.is_whitespace()) {
        "text"
    } else {
        "no known picture"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_bytes() {
        let cases: [(&[u8], Format); 8] = [
            (b"\xff\xd8\xff\xe0", Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Format::Raster(ImageFormat::Png)),
            (b"\0\0\0\x18ftypheic", Format::Unsupported("HEIC")),
            (b"\0\0\0\x18ftypisom", Format::Unsupported("a video")),
            (b"%PDF-1.7", Format::Unsupported("a PDF document")),
            (b"  <svg xmlns='x'>", Format::Unsupported("an SVG drawing")),
            (b"this is not a picture", Format::Unsupported("text")),
            (b"\0\x01\x02", Format::Unsupported("no known picture")),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::detect(bytes), format);
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(is_picture_name("a/B.JPEG".as_ref()) && is_picture_name("x.mpo".as_ref()));
        assert!(!is_picture_name("notes.txt".as_ref()) && !is_picture_name("png".as_ref()));
    }
}
