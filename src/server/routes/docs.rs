//! The description of the routes, for programs and for people.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::super::openapi::openapi_json;
use super::page;

/// The page that shows the description.
const PAGE: &str = "docs.html";

/// `GET /openapi.json`.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "App",
    summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1.", body = Map<String, Value>))
)]
pub(in crate::server) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], openapi_json())
}

/// `GET /docs`.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "App",
    summary = "This description as a page",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(in crate::server) async fn show(headers: HeaderMap) -> Response {
    page::send(PAGE, &headers)
}
