//! One line in the log for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// Routes that are asked every few seconds by machines; their lines would bury the others.
const POLLED: [&str; 10] = [
    "/livez",
    "/is_alive",
    "/is_running",
    "/readyz",
    "/is_ready",
    "/metrics",
    "/api/status",
    "/api/log",
    "/get_inference_progress",
    "/get_inference_status",
];

/// Logs the request when it is answered, or when its client has gone away.
pub(super) async fn log_request(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ping = request.uri().query().is_some_and(|query| query.contains("ping="));
    let mut line = Line {
        method: request.method().clone(),
        // Without the query, which may hold anything.
        path: path.to_owned(),
        is_polled: is_ping || POLLED.iter().any(|polled| path.ends_with(polled)),
        started: Instant::now(),
        status: None,
    };
    let response = next.run(request).await;
    line.status = Some(response.status());
    response
}

/// Written when dropped, which is also what happens to a request whose client is gone.
struct Line {
    method: Method,
    path: String,
    is_polled: bool,
    started: Instant,
    status: Option<StatusCode>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { method, path, .. } = self;
        // Milliseconds, by the platform's name for them.
        #[expect(non_snake_case, reason = "the platform's name for it")]
        let responseTime = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.status.map(|status| status.as_u16()) {
            None => tracing::info!(responseTime, "{method} {path}: the client went away"),
            Some(status) if self.is_polled => tracing::debug!(responseTime, "{method} {path} {status}"),
            Some(status) => tracing::info!(responseTime, "{method} {path} {status}"),
        }
    }
}
