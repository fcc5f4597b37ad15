//! Florence-2 inference server for Supervisely.
//!
//! A picture comes in over HTTP or as a file on the command line, goes through the model, and leaves as a Supervisely
//! annotation. Each module uses only what stands below it in this list: `server`, `session`, `supervisely`, `media`,
//! `engine`, `models`, `florence`; `config` and `telemetry` may be used by all.

pub mod engine;
pub mod florence;
pub mod media;
pub mod models;
