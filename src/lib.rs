//! Florence-2 inference server for Supervisely.
//!
//! A picture comes in over HTTP or as a file on the command line, goes through the model, and leaves as a Supervisely
//! annotation. Each module uses only what stands below it in this list: `server`, `lifecycle`, `session`, `supervisely`, `tracking`, `media`,
//! `engine`, `models`, `florence`; `telemetry` and `outgoing` may be used by all, and `cli` uses them all.

pub mod cli;
pub mod engine;
pub mod florence;
pub mod lifecycle;
pub mod media;
pub mod models;
pub mod outgoing;
pub mod server;
pub mod session;
pub mod supervisely;
pub mod telemetry;
pub mod tracking;
