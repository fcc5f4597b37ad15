//! The handlers, by what they answer.

pub(super) mod inference;
pub(super) mod info;
pub(super) mod metrics;
pub(super) mod page;
pub(super) mod probes;
