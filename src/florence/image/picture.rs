//! An upright picture in 8-bit RGB.

use std::sync::OnceLock;

use thiserror::Error;

use super::CHANNELS;

/// Rows of pixels from the top, each from the left, each pixel as red, green and blue.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    /// Computed when it is first asked for.
    digest: OnceLock<Digest>,
}

/// Equal for pictures of the same size and pixels, and for no others that anybody could find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; blake3::OUT_LEN]);

/// Why bytes are no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PictureError {
    /// A side is zero.
    #[error("a picture of {width}x{height} pixels is empty")]
    Empty {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// The bytes are not three for each pixel.
    #[error("{found} bytes are not three for each of {width}x{height} pixels")]
    Length {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// Bytes given.
        found: usize,
    },
}

impl Picture {
    /// Wraps three bytes a pixel.
    ///
    /// # Errors
    /// A side that is zero, or another number of bytes.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }
        let wanted = u128::from(width) * u128::from(height) * CHANNELS as u128;
        if wanted != rgb.len() as u128 {
            return Err(PictureError::Length { width, height, found: rgb.len() });
        }
        Ok(Self { width, height, rgb, digest: OnceLock::new() })
    }

    /// Wraps what the resize made: as many bytes as the size needs, and neither side zero.
    pub(super) fn from_resize(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        debug_assert_eq!(rgb.len(), width as usize * height as usize * CHANNELS);
        Self { width, height, rgb, digest: OnceLock::new() }
    }

    /// Pixels in a row.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Three bytes a pixel.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The same, pixel by pixel.
    pub(super) fn pixels(&self) -> &[[u8; CHANNELS]] {
        self.rgb.as_chunks().0
    }

    /// Three bytes a pixel.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// The digest of the picture's size and pixels.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.width.to_le_bytes()).update(&self.height.to_le_bytes()).update(&self.rgb);
            Digest(*hasher.finalize().as_bytes())
        })
    }

    /// The part of `width` x `height` pixels whose upper left corner is at `x`, `y`; `None` if it is empty or not wholly
    /// inside.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Option<Self> {
        let fits = |start: u32, length: u32, side: u32| start.checked_add(length).is_some_and(|end| end <= side);
        if !fits(x, width, self.width) || !fits(y, height, self.height) {
            return None;
        }
        let row_bytes = self.width as usize * CHANNELS;
        let (from, to) = (x as usize * CHANNELS, (x + width) as usize * CHANNELS);
        let mut rgb = Vec::with_capacity((to - from) * height as usize);
        for row in self.rgb.chunks_exact(row_bytes).skip(y as usize).take(height as usize) {
            rgb.extend_from_slice(row.get(from..to)?);
        }
        Self::new(width, height, rgb).ok()
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, &self.rgb) == (other.width, other.height, &other.rgb)
    }
}

impl Eq for Picture {}

impl std::fmt::Debug for Picture {
    /// Its size; nobody wants to read its pixels.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Picture({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_the_size() {
        assert!(Picture::new(0, 3, vec![]).is_err());
        assert!(Picture::new(1, 1, vec![0; 4]).is_err());
        assert!(Picture::new(u32::MAX, u32::MAX, vec![]).is_err());
        assert!(Picture::new(2, 1, vec![0; 6]).is_ok());
    }

    #[test]
    fn the_digest_tells_pictures_apart() {
        let digest = |width, height, rgb: &[u8]| Picture::new(width, height, rgb.to_vec()).unwrap().digest();
        assert_eq!(digest(2, 1, &[7; 6]), digest(2, 1, &[7; 6]));
        assert_ne!(digest(2, 1, &[7; 6]), digest(1, 2, &[7; 6]));
        assert_ne!(digest(1, 1, &[7, 7, 7]), digest(1, 1, &[7, 7, 8]));
    }

    #[test]
    fn a_crop_lies_inside() {
        let picture = Picture::new(3, 2, (0..18).collect()).unwrap();
        assert_eq!(picture.crop(1, 1, 2, 1).unwrap().rgb(), [12, 13, 14, 15, 16, 17]);
        assert_eq!(picture.crop(0, 0, 3, 2), Some(picture.clone()));
        for (x, y, width, height) in [(1, 0, 3, 1), (0, 1, 1, 2), (0, 0, 0, 1), (u32::MAX, 0, 2, 1)] {
            assert_eq!(picture.crop(x, y, width, height), None);
        }
    }
}
