//! Doing something with many, and with fewer where that fails.

use crate::engine::EngineError;
use crate::engine::assistant::contain;

/// Does `work` with all items together. Where that fails, or panics, half of them are tried at a time, down to single ones:
/// what is wrong with one, or does not fit into the device's memory together, is not the others' fault. `before_retry` is
/// told each failure that is followed by another try, and of how many items.
pub fn in_halves<T, R>(
    items: &mut [T],
    work: &mut impl FnMut(&mut [T]) -> Result<Vec<R>, EngineError>,
    before_retry: &mut impl FnMut(&EngineError, usize),
) -> Vec<Result<R, EngineError>> {
    if items.is_empty() {
        return vec![];
    }
    match contain(|| work(items)) {
        Ok(results) => results.into_iter().map(Ok).collect(),
        Err(error) if items.len() < 2 => vec![Err(error)],
        Err(error) => {
            tracing::warn!("{} at a time failed, trying halves: {error}", items.len());
            before_retry(&error, items.len());
            let (left, right) = items.split_at_mut(items.len() / 2);
            let mut results = in_halves(left, work, before_retry);
            results.extend(in_halves(right, work, before_retry));
            results
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_item_fails_alone() {
        let mut tries = vec![];
        let mut work = |items: &mut [i32]| {
            tries.push(items.len());
            if items.contains(&3) {
                return Err(EngineError::OutOfMemory);
            }
            assert!(!items.contains(&5), "a panic");
            Ok(items.iter().map(|item| item * 10).collect())
        };
        let mut retries = 0;
        let results = in_halves(&mut [1, 2, 3, 4, 5, 6], &mut work, &mut |_, _| retries += 1);
        let values: Vec<_> = results.iter().map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(values, [Some(10), Some(20), None, Some(40), None, Some(60)]);
        assert_eq!(results[2], Err(EngineError::OutOfMemory));
        assert!(matches!(&results[4], Err(EngineError::Internal(_))));
        assert!(in_halves(&mut [0; 0], &mut work, &mut |_, _| ()).is_empty());
        assert_eq!((tries, retries), (vec![6, 3, 1, 2, 1, 1, 3, 1, 2, 1, 1], 5));
    }
}
