//! Places in the queue: how many pictures, and how many bytes of them, may be with the engine at a time.
//!
//! A caller takes a place before it decodes a picture and keeps it until the picture's last answer, so that what cannot be
//! served is refused before it costs anything. Single pictures and runs have places of their own: however many runs wait,
//! whoever asks about one picture finds room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EngineError;

/// Bytes are counted in units of this size, because a semaphore's count is limited.
const UNIT_BYTES: u64 = 1 << 12;

/// How much may be with the engine at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Single pictures.
    pub pictures: usize,
    /// Pictures of runs, all runs together.
    pub run_pictures: usize,
    /// Bytes of decoded single pictures, and as many of runs.
    pub bytes: u64,
}

impl Default for PlaceLimits {
    fn default() -> Self {
        Self { pictures: 256, run_pictures: 64, bytes: 1 << 30 }
    }
}

/// Who a picture stands in the queue for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for this one picture.
    Single,
    /// It is one of the pictures of a run.
    Run(Run),
}

/// Many pictures that one caller asks about. Runs take turns, picture by picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run(u64);

/// The places that there are.
#[derive(Debug)]
pub struct Places {
    singles: Room,
    runs: Room,
    next_run: AtomicU64,
    refused: AtomicU64,
}

/// A place in the queue, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    lane: Lane,
    _picture: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Room {
    pictures: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    total: usize,
    units: u32,
}

impl Place {
    /// Where the place is.
    pub const fn lane(&self) -> Lane {
        self.lane
    }
}

impl Places {
    /// As many places as the limits say, at least one of each kind.
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            singles: Room::new(limits.pictures, limits.bytes),
            runs: Room::new(limits.run_pictures, limits.bytes),
            next_run: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// A new run.
    pub fn open_run(&self) -> Run {
        Run(self.next_run.fetch_add(1, Ordering::Relaxed))
    }

    /// A place for a single picture of that many bytes.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] when there is none.
    pub fn take_single(&self, bytes: u64) -> Result<Arc<Place>, EngineError> {
        self.take(&self.singles, Lane::Single, bytes)
    }

    /// A place for the first picture of a run whose caller waits for the answers.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] when there is none.
    pub fn take_in_run(&self, run: Run, bytes: u64) -> Result<Arc<Place>, EngineError> {
        self.take(&self.runs, Lane::Run(run), bytes)
    }

    /// Waits for a place for a picture of a run. Whoever has waited longest comes first.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`] when there will never be one.
    pub async fn wait_in_run(&self, run: Run, bytes: u64) -> Result<Arc<Place>, EngineError> {
        let room = &self.runs;
        let closed = |_| EngineError::ShuttingDown;
        let picture = Arc::clone(&room.pictures).acquire_owned().await.map_err(closed)?;
        let bytes = Arc::clone(&room.bytes).acquire_many_owned(room.units_of(bytes)).await.map_err(closed)?;
        Ok(Arc::new(Place { lane: Lane::Run(run), _picture: picture, _bytes: bytes }))
    }

    /// Requests that found no place so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Pictures that have a place: single ones, and those of runs.
    pub fn taken(&self) -> (usize, usize) {
        (self.singles.taken(), self.runs.taken())
    }

    fn take(&self, room: &Room, lane: Lane, bytes: u64) -> Result<Arc<Place>, EngineError> {
        let place = room.try_take(bytes);
        let Some((picture, bytes)) = place else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(EngineError::Overloaded);
        };
        Ok(Arc::new(Place { lane, _picture: picture, _bytes: bytes }))
    }
}

impl Room {
    fn new(pictures: usize, bytes: u64) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        let total = pictures.clamp(1, Semaphore::MAX_PERMITS);
        let pictures = Arc::new(Semaphore::new(total));
        Self { pictures, bytes: Arc::new(Semaphore::new(units as usize)), total, units }
    }

    fn try_take(&self, bytes: u64) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let picture = Arc::clone(&self.pictures).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.units_of(bytes)).ok()?;
        Some((picture, bytes))
    }

    /// A picture larger than all of the room takes all of it.
    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units)
    }

    fn taken(&self) -> usize {
        self.total.saturating_sub(self.pictures.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new(PlaceLimits { pictures: 2, run_pictures: 1, bytes: 4 * UNIT_BYTES })
    }

    #[test]
    fn single_pictures_are_refused_past_the_limits() {
        let places = places();
        let first = places.take_single(1).unwrap();
        let second = places.take_single(1).unwrap();
        assert_eq!(places.take_single(1).unwrap_err(), EngineError::Overloaded);
        assert_eq!((places.refused(), places.taken()), (1, (2, 0)));
        drop(first);
        assert_eq!(places.take_single(4 * UNIT_BYTES).unwrap_err(), EngineError::Overloaded, "three units are left");
        drop(second);
        let all = places.take_single(u64::MAX).unwrap();
        assert!(places.take_single(1).is_err(), "it takes all bytes");
        assert_eq!(all.lane(), Lane::Single);
    }

    #[tokio::test]
    async fn runs_wait_and_leave_room_for_single_pictures() {
        let places = Arc::new(places());
        let run = places.open_run();
        assert_ne!(run, places.open_run());
        let first = places.take_in_run(run, 1).unwrap();
        assert!(places.take_in_run(run, 1).is_err());
        assert!(places.take_single(1).is_ok());
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.wait_in_run(run, u64::MAX).await.map(|place| place.lane()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(Lane::Run(run)));
    }
}
