//! The handlers, by what they answer.

pub(super) mod app;
pub(super) mod assistance;
pub(super) mod deploy;
pub(super) mod docs;
pub(super) mod inference;
pub(super) mod info;
pub(super) mod metrics;
pub(super) mod page;
pub(super) mod page_api;
pub(super) mod probes;
pub(super) mod queue;
pub(super) mod status;
