//! Image features that were computed before: one picture is encoded once, for all prompts and for each step of a cascade.

use std::sync::{Arc, Weak};

use candle_core::Tensor;

use crate::florence::FlorenceError;
use crate::florence::image::Picture;

/// Pictures whose features are kept.
const MAX_PICTURES: usize = 16;

/// Features of the pictures asked about last, for as long as somebody holds the picture.
#[derive(Debug, Default)]
pub(super) struct FeatureCache {
    kept: Vec<(Weak<Picture>, Tensor)>,
}

impl FeatureCache {
    /// Features `[1, positions, d_model]` of this picture, computed by `encode` if they are not here.
    pub fn get_or_encode(
        &mut self,
        picture: &Arc<Picture>,
        encode: impl FnOnce() -> Result<Tensor, FlorenceError>,
    ) -> Result<Tensor, FlorenceError> {
        self.kept.retain(|(kept, _)| kept.strong_count() > 0);
        if let Some((_, features)) = self.kept.iter().find(|(kept, _)| kept.as_ptr() == Arc::as_ptr(picture)) {
            return Ok(features.clone());
        }
        let features = encode()?;
        if self.kept.len() >= MAX_PICTURES {
            self.kept.remove(0);
        }
        self.kept.push((Arc::downgrade(picture), features.clone()));
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::cell::Cell;

    #[test]
    fn a_picture_is_encoded_once_while_it_is_held() {
        let mut cache = FeatureCache::default();
        let encoded = Cell::new(0);
        let mut ask = |picture: &Arc<Picture>| {
            let encode = || {
                encoded.set(encoded.get() + 1);
                Ok(Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu)?)
            };
            cache.get_or_encode(picture, encode).unwrap();
        };
        let picture = || Arc::new(Picture::new(1, 1, vec![0; 3]).unwrap());
        let held = picture();
        ask(&held);
        ask(&held);
        ask(&Arc::clone(&held));
        assert_eq!(encoded.get(), 1);
        // Equal pixels in another picture are another picture, and one that was dropped is forgotten.
        (0..3).for_each(|_| ask(&picture()));
        assert_eq!(encoded.get(), 4);
        ask(&held);
        assert_eq!(encoded.get(), 4);
    }
}
