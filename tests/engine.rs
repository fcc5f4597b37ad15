//! The engine with the demo model: what it answers does not depend on company, nothing is lost under load, failures stay with
//! their request, and models come and go under requests.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are told")]

mod support;

mod engine {
    mod bounds;
    #[cfg(feature = "fault-points")]
    mod containment;
    mod fairness;
    mod invariance;
    mod lifecycle;
    mod requests;
    mod sharing;
}
