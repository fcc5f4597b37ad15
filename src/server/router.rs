//! Every route, and what stands around them.

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::limits::MAX_FORM_BYTES;
use super::request_log::note_request;
use super::routes::{app, assistance, deploy, inference, info, metrics, page, page_api, probes, queue, status};
use super::same_site::refuse_other_sites;
use super::state::AppState;

/// The platform's variable for a path below which every route lies.
const PREFIX_VARIABLE: &str = "SUPERVISELY_SERVER_PATH_PREFIX";

/// The path below which the platform wants every route, as [`router`] takes it.
pub fn path_prefix() -> Option<String> {
    let prefix = std::env::var(PREFIX_VARIABLE).ok()?;
    let prefix = prefix.trim().trim_matches('/');
    // Braces have a meaning in routes, and no path of the platform has them.
    (!prefix.is_empty() && !prefix.contains(['{', '}', '*'])).then(|| format!("/{prefix}"))
}

/// The server as a service. With a prefix such as `/app` every route lies below it; probes are there without it as well.
pub fn router(state: AppState, prefix: Option<&str>) -> Router {
    let routes = uploads().merge(videos()).merge(information()).merge(page()).merge(runs()).merge(probes());
    let routes = match prefix {
        // The page is also where its address ends with a slash.
        Some(prefix) => {
            Router::new().nest(prefix, routes).route(&format!("{prefix}/"), get(page::show)).merge(probes())
        }
        None => routes,
    };
    routes
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        // From the inside out: a panic becomes an answer, and every answer is logged and counted.
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(from_fn_with_state(state.clone(), note_request))
        .with_state(state)
}

fn uploads() -> Router<AppState> {
    Router::new()
        .route("/inference_image", post(inference::infer_image))
        .route("/inference_batch", post(inference::infer_batch))
        .route("/inference_batch_async", post(inference::start_batch))
        .route("/smart_cache_files", post(assistance::keep_files))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

fn videos() -> Router<AppState> {
    Router::new()
        .route("/inference_video_async", post(inference::start_video_upload))
        // The form counts the bytes of its video itself.
        .layer(DefaultBodyLimit::disable())
}

/// Routes that take an envelope or nothing; the envelope counts its bytes itself.
fn information() -> Router<AppState> {
    Router::new()
        .route("/get_session_info", post(info::session_info))
        .route("/get_output_classes_and_tags", post(info::model_meta))
        .route("/get_model_meta", post(info::model_meta))
        .route("/get_custom_inference_settings", post(info::inference_settings))
        .route("/get_tracking_settings", post(info::tracking_settings))
        .route("/get_deploy_info", post(info::deploy_info))
        .route("/is_deployed", post(info::is_deployed))
        .route("/get_deploy_settings", post(deploy::settings))
        .route("/deploy_from_api", post(deploy::deploy))
        .route("/list_pretrained_models", post(deploy::list_models))
        .route("/list_pretrained_model_infos", post(deploy::list_model_infos))
        .route("/get_status", post(status::status))
        .route("/freeze_model", post(status::freeze))
        .route("/get_prompt_instructions", post(assistance::prompt_instructions))
        .route("/metrics", get(metrics::show))
        .route("/sly/session-info", post(app::session_info))
        .route("/sly/state", post(app::nothing))
        .route("/sly/data", post(app::nothing))
}

/// The page, what it asks, and what else only its own site may.
fn page() -> Router<AppState> {
    Router::new()
        .route("/", get(page::show))
        .route("/page/{name}", get(page::file))
        .route("/api/status", get(page_api::status))
        .route("/api/models", get(page_api::models))
        .route("/api/devices", get(page_api::devices))
        .route("/api/log", get(page_api::log))
        .route("/api/serve", post(page_api::serve))
        .route("/api/cancel", post(page_api::cancel))
        .route("/api/stop", post(page_api::stop))
        .route("/sly/shutdown", post(app::shut_down))
        .route_layer(from_fn(refuse_other_sites))
}

fn runs() -> Router<AppState> {
    Router::new()
        .route("/inference_image_id", post(inference::infer_image_id))
        .route("/inference_batch_ids", post(inference::infer_image_ids))
        .route("/inference_image_url", post(inference::infer_url))
        .route("/inference_image_id_async", post(inference::start_image_ids))
        .route("/inference_batch_ids_async", post(inference::start_image_ids))
        .route("/inference_project_id_async", post(inference::start_project))
        .route("/run_speedtest", post(inference::start_speed_test))
        .route("/inference_video_id", post(inference::infer_video))
        .route("/inference_video_id_async", post(inference::start_video))
        .route("/get_inference_progress", post(queue::progress))
        .route("/pop_inference_results", post(queue::take_results))
        .route("/get_inference_result", post(queue::final_result))
        .route("/get_preparing_progress", post(queue::preparing_progress))
        .route("/get_inference_status", post(queue::status))
        .route("/stop_inference", post(queue::stop))
        .route("/clear_inference_request", post(queue::clear))
        .route("/visual_question_answering", post(assistance::answer_question))
        .route("/tracking_by_detection", post(assistance::start_tracking))
        .route("/smart_cache", post(assistance::start_caching))
}

fn probes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(probes::is_alive))
        .route("/is_alive", get(probes::is_alive))
        .route("/is_running", post(probes::is_alive))
        .route("/readyz", get(probes::is_ready))
        .route("/is_ready", get(probes::is_ready).post(probes::is_ready))
}

/// A bug in one request must not end the others.
fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    ApiError::internal(format!("panic: {cause}")).into_response()
}
