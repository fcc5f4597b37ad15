//! Failures on demand, for tests: with the feature `fault-points` a rule may make any of these points fail. Without it there is
//! no rule, and passing a point costs nothing.

use super::EngineError;

/// Where a failure can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Preparing a request on the CPU.
    Prepare,
    /// The vision tower's pass.
    See,
    /// The encoder's pass.
    Begin,
    /// A step of the decoder.
    Step,
    /// Reading the answers.
    Read,
    /// The check whether the device still works.
    Canary,
}

#[cfg(feature = "fault-points")]
pub use rules::{Fault, Faults};

/// The rule in force: none.
#[cfg(not(feature = "fault-points"))]
#[derive(Debug, Clone, Default)]
pub struct Faults;

#[cfg(not(feature = "fault-points"))]
impl Faults {
    /// None, whatever the environment says.
    pub const fn from_env() -> Self {
        Self
    }

    /// Nothing fails.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(super) const fn pass<'a, P: Iterator<Item = &'a str>>(&self, _: Point, _: &P) -> Result<(), EngineError> {
        Ok(())
    }
}

#[cfg(feature = "fault-points")]
mod rules {
    use std::fmt;
    use std::sync::{Arc, PoisonError, RwLock};
    use std::time::{Duration, Instant};

    use super::{EngineError, Point};

    /// What happens at a point.
    #[derive(Debug, Clone)]
    pub enum Fault {
        /// A panic.
        Panic,
        /// This error.
        Error(EngineError),
    }

    /// For tests of the whole program.
    const DEVICE_LOST_VARIABLE: &str = "FAULT_DEVICE_LOST_AFTER_MS";
    const PANIC_VARIABLE: &str = "FAULT_PANIC_PROMPT";

    type Rule = dyn Fn(Point, &[&str]) -> Option<Fault> + Send + Sync;

    /// The rule in force; a clone is the same one.
    #[derive(Clone, Default)]
    pub struct Faults(Arc<RwLock<Option<Arc<Rule>>>>);

    impl Faults {
        /// From now on this decides what fails, by the point and the prompts that are part of what is done there.
        pub fn set(&self, rule: impl Fn(Point, &[&str]) -> Option<Fault> + Send + Sync + 'static) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rule));
        }

        /// The rule that the environment asks for, if any: `FAULT_DEVICE_LOST_AFTER_MS` is when the device stops working,
        /// `FAULT_PANIC_PROMPT` a text whose prompts make the encoder panic.
        pub fn from_env() -> Self {
            let faults = Self::default();
            let after_ms = std::env::var(DEVICE_LOST_VARIABLE).ok().and_then(|text| text.parse().ok());
            if let Some(after) = after_ms.map(Duration::from_millis) {
                let start = Instant::now();
                let lost = Fault::Error(EngineError::Internal("lost on demand".to_owned()));
                faults.set(move |point, _| {
                    let is_lost = matches!(point, Point::Step | Point::Canary) && start.elapsed() > after;
                    is_lost.then(|| lost.clone())
                });
            } else if let Ok(text) = std::env::var(PANIC_VARIABLE) {
                faults.set(move |point, prompts| {
                    let is_meant = point == Point::Begin && prompts.iter().any(|prompt| prompt.contains(&text));
                    is_meant.then_some(Fault::Panic)
                });
            }
            faults
        }

        /// Fails if the rule says so.
        pub(in super::super) fn pass<'a>(
            &self,
            point: Point,
            prompts: &(impl Iterator<Item = &'a str> + Clone),
        ) -> Result<(), EngineError> {
            let rule = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            let prompts: Vec<&str> = prompts.clone().collect();
            match rule.and_then(|rule| rule(point, &prompts)) {
                None => Ok(()),
                Some(Fault::Error(error)) => Err(error),
                #[allow(clippy::panic, reason = "that is what was asked for")]
                Some(Fault::Panic) => panic!("a panic on demand at {point:?}"),
            }
        }
    }

    impl fmt::Debug for Faults {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("Faults")
        }
    }
}
