//! The HTTP face of a session: routes, the platform's envelope and upload form, error bodies, the page.
//!
//! Nothing here decides anything about pictures or models: a handler parses, calls the session, and renders.

mod budget;
mod envelope;
mod error;
mod exposition;
mod form;
mod latency;
mod limits;
mod openapi;
mod request_log;
mod router;
mod routes;
mod same_site;
mod serve;
mod state;
mod traffic;
mod video_form;

pub use error::ApiError;
pub use latency::{LatencySummary, LatencyWindow};
pub use openapi::openapi_json;
pub use router::{path_prefix, router};
pub use serve::{BodyError, ConnectionLimits, serve, serve_with};
pub use state::{AppState, Identity};
