//! Places in the queue: how many pictures, and how many bytes of them, may be with the engine at a time.
//!
//! A caller takes a place before it decodes a picture and keeps it until the picture's last answer, so that what cannot be
//! served is refused before it costs anything. Single pictures and runs have places of their own: however many runs wait,
//! whoever asks about one picture finds room.
//!
//! On a slow device fewer wait than there are places: whoever would have to wait too long, judging by how the others got on,
//! is better told so at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EngineError;
use super::running::RunningModel;

/// Single pictures that may wait on the slowest device.
const LEAST_SINGLES: usize = 4;

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
    /// Longest that a single picture is let wait, as far as that can be foreseen.
    pub wait: Duration,
}

impl Default for PlaceLimits {
    fn default() -> Self {
        Self { pictures: 256, run_pictures: 64, bytes: 1 << 30, wait: Duration::from_secs(60) }
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
    /// How quickly places of single pictures become free.
    pace: Arc<Pace>,
    wait: Duration,
    next_run: AtomicU64,
    refused: AtomicU64,
}

/// A place in the queue, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    lane: Lane,
    /// The model that answered first: whatever else is asked about the picture goes to the same.
    model: OnceLock<Arc<RunningModel>>,
    /// Told when it is free again, with the number of places that there are.
    pace: Option<(Arc<Pace>, usize)>,
    picture: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Weight of the latest place in the mean.
const PACE_WEIGHT: f64 = 0.1;

/// How quickly places become free while others are taken, as a running mean.
#[derive(Debug, Default)]
struct Pace(Mutex<PaceState>);

#[derive(Debug, Default)]
struct PaceState {
    /// Seconds from one place to the next.
    mean_s: Option<f64>,
    /// When the last one became free, if others were taken still.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Room {
    pictures: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    total: usize,
    units: u32,
}

impl Pace {
    /// A place becomes free at `now`, while others are taken or not.
    fn note(&self, now: Instant, others_are_taken: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last {
            let gap_s = now.saturating_duration_since(last).as_secs_f64();
            state.mean_s = Some(state.mean_s.map_or(gap_s, |mean| mean + PACE_WEIGHT * (gap_s - mean)));
        }
        // What comes after an idle time says nothing about the pace.
        state.last = others_are_taken.then_some(now);
    }

    /// Time until so many places have become free; none while nothing is known.
    fn wait_behind(&self, places: usize) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state.mean_s.unwrap_or(0.) * places as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((pace, places)) = &self.pace {
            // Its own permit is still out.
            let others_are_taken = self.picture.semaphore().available_permits() + 1 < *places;
            pace.note(Instant::now(), others_are_taken);
        }
    }
}

impl Place {
    /// Where the place is.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// The model that has answered about this picture before.
    pub(super) fn model(&self) -> Option<&Arc<RunningModel>> {
        self.model.get()
    }

    /// From now on this model answers about the picture, unless another has before.
    pub(super) fn bind(&self, model: &Arc<RunningModel>) {
        // The first one stays.
        let _ = self.model.set(Arc::clone(model));
    }
}

impl Places {
    /// As many places as the limits say, at least one of each kind.
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            singles: Room::new(limits.pictures, limits.bytes),
            runs: Room::new(limits.run_pictures, limits.bytes),
            pace: Arc::default(),
            wait: limits.wait,
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
    /// [`EngineError::Overloaded`] when there is none, or when the wait would be too long.
    pub fn take_single(&self, bytes: u64) -> Result<Arc<Place>, EngineError> {
        // Some may always wait: a mean that a large picture has spoilt is mended by the next ones.
        let taken = self.singles.taken();
        if taken >= LEAST_SINGLES && self.pace.wait_behind(taken) > self.wait {
            return Err(self.refuse());
        }
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
        Ok(Arc::new(Place { lane: Lane::Run(run), model: OnceLock::new(), pace: None, picture, _bytes: bytes }))
    }

    /// Pictures of one run that should have a place at a time, so that several runs get on.
    pub fn share_of_run(&self) -> usize {
        self.runs.total.div_ceil(4)
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
        let (picture, bytes) = place.ok_or_else(|| self.refuse())?;
        let pace = (lane == Lane::Single).then(|| (Arc::clone(&self.pace), room.total));
        Ok(Arc::new(Place { lane, model: OnceLock::new(), pace, picture, _bytes: bytes }))
    }

    fn refuse(&self) -> EngineError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        EngineError::Overloaded
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
        Places::new(PlaceLimits { pictures: 2, run_pictures: 1, bytes: 4 * UNIT_BYTES, ..Default::default() })
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

    #[test]
    fn nobody_is_let_wait_too_long() {
        let limits = PlaceLimits { pictures: 100, wait: Duration::from_secs(10), ..Default::default() };
        let places = Places::new(limits);
        let held: Vec<_> = (0..20).map(|_| places.take_single(1).unwrap()).collect();
        // One every two seconds: the twenty before it would take forty.
        let start = Instant::now();
        (0..5).for_each(|n| places.pace.note(start + Duration::from_secs(2 * n), true));
        assert_eq!(places.pace.wait_behind(20), Duration::from_secs(40));
        assert_eq!(places.take_single(1).unwrap_err(), EngineError::Overloaded);
        // Those that leave at once show a better pace, and few may always wait.
        drop(held);
        assert!(places.pace.wait_behind(1) < Duration::from_secs(2));
        let few: Vec<_> = (0..LEAST_SINGLES).map(|_| places.take_single(1).unwrap()).collect();
        drop(few);
    }

    #[test]
    fn idle_times_do_not_count() {
        let pace = Pace::default();
        let start = Instant::now();
        pace.note(start, false);
        pace.note(start + Duration::from_secs(1000), true);
        pace.note(start + Duration::from_secs(1001), true);
        assert_eq!(pace.wait_behind(3), Duration::from_secs(3));
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
