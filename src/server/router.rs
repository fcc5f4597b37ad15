//! Every route, and what stands around them.

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::limits::{MAX_FORM_BYTES, MAX_JSON_BYTES};
use super::request_log::log_request;
use super::routes::{inference, info, metrics, page, probes};
use super::state::AppState;

/// The server as a service.
pub fn router(state: AppState) -> Router {
    let uploads = Router::new()
        .route("/inference_image", post(inference::infer_image))
        .route("/inference_batch", post(inference::infer_batch))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES));

    Router::new()
        .merge(uploads)
        .route("/get_session_info", post(info::session_info))
        .route("/get_output_classes_and_tags", post(info::model_meta))
        .route("/get_model_meta", post(info::model_meta))
        .route("/get_custom_inference_settings", post(info::inference_settings))
        .route("/get_deploy_info", post(info::deploy_info))
        .route("/is_deployed", post(info::is_deployed))
        .route("/livez", get(probes::is_alive))
        .route("/is_alive", get(probes::is_alive))
        .route("/is_running", post(probes::is_alive))
        .route("/readyz", get(probes::is_ready))
        .route("/is_ready", get(probes::is_ready).post(probes::is_ready))
        .route("/metrics", get(metrics::show))
        .route("/", get(page::show))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        // From the inside out: a panic becomes an answer, and every answer is logged.
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(from_fn(log_request))
        .with_state(state)
}

/// A bug in one request must not end the others.
fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    ApiError::internal(format!("panic: {cause}")).into_response()
}
