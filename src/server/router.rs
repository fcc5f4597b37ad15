//! Every route, and what stands around them.

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::limits::MAX_FORM_BYTES;
use super::request_log::note_request;
use super::routes::{app, assistance, deploy, docs, inference, info, metrics, page, page_api, probes, queue, status};
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
    let routes = Router::from(described_routes());
    let routes = match prefix {
        // The page is also where its address ends with a slash.
        Some(prefix) => Router::new()
            .nest(prefix, routes)
            .route(&format!("{prefix}/"), get(page::show))
            .merge(Router::from(probes())),
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

/// Every route with its description.
pub(super) fn described_routes() -> OpenApiRouter<AppState> {
    uploads().merge(videos()).merge(information()).merge(page()).merge(runs()).merge(probes())
}

fn uploads() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(inference::infer_image))
        .routes(routes!(inference::infer_batch))
        .routes(routes!(inference::start_batch))
        .routes(routes!(assistance::keep_files))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

fn videos() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(inference::start_video_upload))
        // The form counts the bytes of its video itself.
        .layer(DefaultBodyLimit::disable())
}

/// Routes that take an envelope or nothing; the envelope counts its bytes itself.
fn information() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(info::session_info))
        .routes(routes!(info::output_classes_and_tags))
        .routes(routes!(info::model_meta))
        .routes(routes!(info::inference_settings))
        .routes(routes!(info::tracking_settings))
        .routes(routes!(info::deploy_info))
        .routes(routes!(info::is_deployed))
        .routes(routes!(deploy::settings))
        .routes(routes!(deploy::deploy))
        .routes(routes!(deploy::list_models))
        .routes(routes!(deploy::list_model_infos))
        .routes(routes!(status::status))
        .routes(routes!(assistance::prompt_instructions))
        .routes(routes!(metrics::show))
        .routes(routes!(app::session_info))
        .routes(routes!(app::state))
        .routes(routes!(app::data))
}

/// The page, what it asks, and what else only its own site may.
fn page() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page::show))
        .routes(routes!(page::file))
        .routes(routes!(docs::show))
        .routes(routes!(docs::document))
        .routes(routes!(page_api::status))
        .routes(routes!(page_api::models))
        .routes(routes!(page_api::devices))
        .routes(routes!(page_api::log))
        .routes(routes!(page_api::serve))
        .routes(routes!(page_api::cancel))
        .routes(routes!(page_api::stop))
        .routes(routes!(status::freeze))
        .routes(routes!(app::shut_down))
        .route_layer(from_fn(refuse_other_sites))
}

fn runs() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(inference::infer_image_id))
        .routes(routes!(inference::infer_image_ids))
        .routes(routes!(inference::infer_url))
        .routes(routes!(inference::start_image_ids))
        .routes(routes!(inference::start_batch_ids))
        .routes(routes!(inference::start_project))
        .routes(routes!(inference::start_speed_test))
        .routes(routes!(inference::infer_video))
        .routes(routes!(inference::start_video))
        .routes(routes!(queue::progress))
        .routes(routes!(queue::take_results))
        .routes(routes!(queue::final_result))
        .routes(routes!(queue::preparing_progress))
        .routes(routes!(queue::status))
        .routes(routes!(queue::stop))
        .routes(routes!(queue::clear))
        .routes(routes!(assistance::answer_question))
        .routes(routes!(assistance::start_tracking))
        .routes(routes!(assistance::start_caching))
}

fn probes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(probes::livez))
        .routes(routes!(probes::is_alive))
        .routes(routes!(probes::is_running))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::is_ready))
}

/// A bug in one request must not end the others.
fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    ApiError::internal(format!("panic: {cause}")).into_response()
}
