//! Time on the wall and time on the processor.

use std::time::{Duration, Instant};

use crate::cli::error::CliResult;
use crate::telemetry::page_faults;

/// How long something took, over several calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Median, in milliseconds.
    pub median_ms: f64,
    /// Least, in milliseconds.
    pub min_ms: f64,
    /// Mean time of all processors, in milliseconds; not a number where the system does not tell.
    pub cpu_ms: f64,
    /// Median of the pages of memory that were touched for the first time; 0 where the system does not tell.
    pub page_faults: u64,
}

/// Collects how long calls took.
#[derive(Debug, Default)]
pub struct Clock {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    page_faults: Vec<u64>,
}

impl Clock {
    /// Runs `work` and notes its times.
    ///
    /// # Errors
    /// What `work` says.
    pub fn time<T>(&mut self, work: impl FnOnce() -> CliResult<T>) -> CliResult<T> {
        let faults = page_faults().unwrap_or(0);
        let (wall, cpu) = (Instant::now(), process_cpu());
        let result = work()?;
        let cpu = cpu.zip(process_cpu()).map(|(from, to)| to.saturating_sub(from));
        self.wall_ms.push(milliseconds(wall.elapsed()));
        self.cpu_ms.push(cpu.map_or(f64::NAN, milliseconds));
        self.page_faults.push(page_faults().unwrap_or(0).saturating_sub(faults));
        Ok(result)
    }

    /// What was noted; not a number without a call.
    pub fn timing(mut self) -> Timing {
        self.wall_ms.sort_by(f64::total_cmp);
        self.page_faults.sort_unstable();
        let page_faults = self.page_faults.get(self.page_faults.len() / 2).copied().unwrap_or(0);
        let middle = |offset: usize| self.wall_ms.get((self.wall_ms.len() - offset) / 2).copied();
        let median_ms = match self.wall_ms.len() {
            0 => f64::NAN,
            _ => (middle(0).unwrap_or(f64::NAN) + middle(1).unwrap_or(f64::NAN)) / 2.,
        };
        let min_ms = self.wall_ms.first().copied().unwrap_or(f64::NAN);
        Timing { median_ms, min_ms, cpu_ms: self.cpu_ms.iter().sum::<f64>() / self.cpu_ms.len() as f64, page_faults }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.
}

/// Time that all threads of the process have spent.
#[cfg(unix)]
fn process_cpu() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
const fn process_cpu() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let timing = |wall_ms: &[f64]| {
            Clock { wall_ms: wall_ms.to_vec(), cpu_ms: vec![1., 3.], page_faults: vec![5, 9, 7] }.timing()
        };
        assert_eq!(timing(&[3., 1., 2.]), Timing { median_ms: 2., min_ms: 1., cpu_ms: 2., page_faults: 7 });
        assert_eq!(timing(&[4., 1., 2., 3.]).median_ms, 2.5);
        assert_eq!(timing(&[7.]).median_ms, 7.);
        assert!(timing(&[]).median_ms.is_nan());
    }

    #[cfg(unix)]
    #[test]
    fn work_takes_processor_time_and_sleep_does_not() {
        let mut clock = Clock::default();
        let sleep = || {
            std::thread::sleep(Duration::from_millis(60));
            Ok(())
        };
        clock.time(sleep).unwrap();
        let slept = clock.timing();
        assert!(slept.min_ms >= 60. && slept.cpu_ms >= 0., "{slept:?}");
        let mut clock = Clock::default();
        let sum = clock.time(|| Ok((0..20_000_000u64).fold(1, |sum, n| std::hint::black_box(sum ^ n)))).unwrap();
        assert!(clock.timing().cpu_ms > 0. && sum > 0);
    }
}
