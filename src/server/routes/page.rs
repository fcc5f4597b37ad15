//! The page: one picture, one question, the boxes drawn.

use axum::Json;
use axum::extract::RawQuery;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

const PAGE: &str = include_str!("../page/index.html");

/// The page's own style and script, pictures that the user opens, and this server: nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// `GET /`. The platform asks with `?ping=true` whether somebody is there.
pub(in crate::server) async fn show(RawQuery(query): RawQuery) -> Response {
    if is_ping(query.as_deref().unwrap_or_default()) {
        return Json(json!({ "message": "App is running" })).into_response();
    }
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE)).into_response()
}

pub(in crate::server) fn is_ping(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "ping=true" | "ping=True" | "ping=1"))
}
