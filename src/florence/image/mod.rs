//! From an RGB picture to the model's pixels, to the last bit as Pillow and the original processor do it.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod picture;
mod resize;
mod taps;

pub use picture::{Digest, Picture, PictureError};
pub use resize::resize_bicubic;

/// Channels of a pixel.
const CHANNELS: usize = 3;

/// What each byte of each channel becomes when pixels are rescaled and normalised.
///
/// As in the reference, `value * rescale_factor` is computed in f64 and stored in f32, then `(x - mean) / std` in f32.
pub fn normalized_bytes(mean: [f32; CHANNELS], std: [f32; CHANNELS], rescale_factor: f64) -> [[f32; 256]; CHANNELS] {
    #[allow(clippy::cast_possible_truncation, reason = "the reference stores the product in f32")]
    let of_channel =
        |(mean, std): (f32, f32)| std::array::from_fn(|value| ((value as f64 * rescale_factor) as f32 - mean) / std);
    let [[a, b, c], [d, e, f]] = [mean, std];
    [(a, d), (b, e), (c, f)].map(of_channel)
}

/// Rescales and normalises the pixels of a picture: all reds row by row, then all greens, then all blues.
pub fn normalize(picture: &Picture, mean: [f32; CHANNELS], std: [f32; CHANNELS], rescale_factor: f64) -> Vec<f32> {
    let pixels = picture.pixels();
    let mut values = vec![0.0; pixels.len() * CHANNELS];
    // A picture has at least one pixel, so the chunks are not empty.
    let planes = values.chunks_exact_mut(pixels.len().max(1));
    for (channel, (plane, table)) in planes.zip(normalized_bytes(mean, std, rescale_factor)).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(pixels) {
            let byte = pixel.get(channel).copied().unwrap_or_default();
            *value = table.get(usize::from(byte)).copied().unwrap_or_default();
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_one_after_the_other() {
        let picture = Picture::new(2, 1, vec![0, 51, 255, 102, 0, 0]).unwrap();
        let values = normalize(&picture, [0.0, 0.5, 0.0], [1.0, 0.5, 2.0], 1.0 / 255.0);
        assert_eq!(values, [0.0, 0.4, -0.6, -1.0, 0.5, 0.0]);
    }
}
