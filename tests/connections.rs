//! The server over real connections, with clients that do not behave.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "connections/answers.rs"]
mod answers;
#[path = "connections/bodies.rs"]
mod bodies;
#[path = "connections/heads.rs"]
mod heads;
#[path = "connections/server.rs"]
mod server;
#[path = "connections/stopping.rs"]
mod stopping;
