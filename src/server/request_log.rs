//! One line in the log for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// Routes that are asked every few seconds by machines; their lines would bury the others.
const PROBES: [&str; 5] = ["/livez", "/is_alive", "/is_running", "/readyz", "/is_ready"];

/// Logs the request when it is answered, or when its client has gone away.
pub(super) async fn log_request(request: Request, next: Next) -> Response {
    let mut line = Line {
        method: request.method().clone(),
        // Without the query, which may hold anything.
        path: request.uri().path().to_owned(),
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
    started: Instant,
    status: Option<StatusCode>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { method, path, .. } = self;
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let probe = PROBES.iter().any(|probe| path.ends_with(probe));
        match self.status.map(|status| status.as_u16()) {
            None => tracing::info!(%method, ?path, elapsed_ms, "client went away"),
            Some(status) if probe => tracing::debug!(%method, ?path, status, elapsed_ms, "request"),
            Some(status) => tracing::info!(%method, ?path, status, elapsed_ms, "request"),
        }
    }
}
