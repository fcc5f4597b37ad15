//! Pages of other sites must not press our buttons in a user's browser, which tells where a request comes from. Programs tell
//! nothing and are let through: whoever reaches the server may use it.

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// The browsers' header.
const FETCH_SITE: &str = "sec-fetch-site";

/// Refuses what a page of another site sends.
pub(super) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    let is_foreign = request.headers().get(FETCH_SITE).is_some_and(|site| site == "cross-site");
    if is_foreign && request.method() != Method::GET {
        return ApiError::forbidden("A page of another site cannot do this").into_response();
    }
    next.run(request).await
}
