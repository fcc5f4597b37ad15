//! Image features that were computed before: a picture is encoded once, for all prompts, for each step of a cascade, and for
//! whoever asks about the same pixels again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::stats::Counters;
use crate::florence::image::Digest;

/// Features of the pictures asked about last, on one device, bounded by their bytes.
///
/// The assistants look whether a picture is here before they resize it; tensors go in and out on the replica's thread.
pub(super) struct FeatureCache {
    kept: Mutex<Kept>,
    max_bytes: usize,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Kept {
    /// The one that was used last stands last.
    features: VecDeque<(Digest, Tensor)>,
    bytes: usize,
}

impl FeatureCache {
    /// An empty cache of at most that many bytes.
    pub fn new(max_bytes: usize, counters: Arc<Counters>) -> Self {
        Self { kept: Mutex::default(), max_bytes, counters }
    }

    /// Whether the picture's features are here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.with(|kept| kept.features.iter().any(|(known, _)| known == digest))
    }

    /// The picture's features `[1, positions, d_model]`.
    pub fn get(&self, digest: &Digest) -> Option<Tensor> {
        self.with(|kept| {
            let place = kept.features.iter().position(|(known, _)| known == digest)?;
            let entry = kept.features.remove(place)?;
            let features = entry.1.clone();
            kept.features.push_back(entry);
            Some(features)
        })
    }

    /// Keeps features; those that were not used for longest make room.
    pub fn put(&self, digest: Digest, features: &Tensor) {
        let bytes = bytes_of(features);
        if bytes > self.max_bytes || self.contains(&digest) {
            return;
        }
        self.with(|kept| {
            while kept.bytes + bytes > self.max_bytes {
                let Some((_, oldest)) = kept.features.pop_front() else { break };
                kept.bytes -= bytes_of(&oldest);
                self.counters.feature_bytes.sub(bytes_of(&oldest));
            }
            kept.features.push_back((digest, features.clone()));
            kept.bytes += bytes;
            self.counters.feature_bytes.add(bytes);
        });
    }

    /// Lets go of all features, because their memory is needed.
    pub fn clear(&self) {
        self.with(|kept| {
            self.counters.feature_bytes.sub(kept.bytes);
            *kept = Kept::default();
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FeatureCache {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bytes_of(features: &Tensor) -> usize {
    features.elem_count() * features.dtype().size_in_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::florence::image::Picture;
    use candle_core::{DType, Device};

    fn digest(value: u8) -> Digest {
        Picture::new(1, 1, vec![value; 3]).unwrap().digest()
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let counters = Arc::new(Counters::default());
        let features = Tensor::zeros((1, 5, 5), DType::F32, &Device::Cpu).unwrap();
        let cache = FeatureCache::new(250, Arc::clone(&counters));
        cache.put(digest(1), &features);
        cache.put(digest(1), &features);
        cache.put(digest(2), &features);
        assert_eq!(counters.feature_bytes.get(), 200, "the same picture is kept once");
        assert!(cache.get(&digest(1)).is_some());
        cache.put(digest(3), &features);
        assert_eq!([1, 2, 3].map(|value| cache.contains(&digest(value))), [true, false, true]);
        cache.clear();
        assert!(cache.get(&digest(1)).is_none());
        assert_eq!(counters.feature_bytes.get(), 0);
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let cache = FeatureCache::new(0, Arc::default());
        cache.put(digest(1), &Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        assert!(!cache.contains(&digest(1)));
    }
}
