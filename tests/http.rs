//! The server from outside: the real router over an engine that answers by fixed rules.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod fake_engine;

#[path = "http/client.rs"]
mod client;
#[path = "http/connections.rs"]
mod connections;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/openapi.rs"]
mod openapi;
#[path = "http/recordings.rs"]
mod recordings;
#[path = "http/refusals.rs"]
mod refusals;
#[path = "http/routes.rs"]
mod routes;
