//! One line in the log for each request, and its place in the counts.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::routes::page::is_ping;
use super::state::AppState;

/// Routes that machines, or an open page, ask every few seconds; their lines would bury the others.
const PROBES: [&str; 10] = [
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

/// Longest path that is shown.
const MAX_PATH_BYTES: usize = 512;

/// Answers that callers wait for a model for; those that only start a run do not count.
const INFERENCE_PREFIX: &str = "/inference_";
const RUN_SUFFIX: &str = "_async";

/// Logs and counts the request when it is answered, or when its client has gone away.
pub(super) async fn note_request(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    app.traffic.begin();
    let mut line = Line {
        method: request.method().clone(),
        // Without the query, which may hold anything.
        path: shortened(uri.path()),
        route: request.extensions().get().cloned(),
        is_probe: is_probe(uri.path(), uri.query().unwrap_or_default()),
        started: Instant::now(),
        status: None,
        app,
    };
    let response = next.run(request).await;
    line.status = Some(response.status());
    response
}

/// Written when dropped, which is also what happens to a request whose client is gone.
struct Line {
    method: Method,
    path: String,
    /// The route's template; none for what has no route.
    route: Option<MatchedPath>,
    is_probe: bool,
    started: Instant,
    status: Option<StatusCode>,
    app: AppState,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { method, path, is_probe, .. } = self;
        let elapsed = self.started.elapsed();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.app.traffic.end(route, method, self.status, elapsed);
        if self.status.is_some_and(|status| status.is_success()) && route.is_some_and(is_inference) {
            self.app.latency.observe(elapsed);
        }
        match self.status.map(|status| status.as_u16()) {
            None => tracing::info!(responseTime = elapsed_ms, "{method} {path} was given up by its client"),
            Some(status) if *is_probe => tracing::debug!(responseTime = elapsed_ms, "{method} {path} {status}"),
            Some(status) => tracing::info!(responseTime = elapsed_ms, "{method} {path} {status}"),
        }
    }
}

/// Below any prefix.
fn is_inference(route: &str) -> bool {
    route.contains(INFERENCE_PREFIX) && !route.ends_with(RUN_SUFFIX)
}

fn is_probe(path: &str, query: &str) -> bool {
    PROBES.iter().any(|probe| path.ends_with(probe)) || (path.ends_with('/') && is_ping(query))
}

fn shortened(path: &str) -> String {
    // A path is ASCII, except for what a careless client sends.
    match path.get(..path.floor_char_boundary(MAX_PATH_BYTES)) {
        Some(start) if start.len() < path.len() => format!("{start}\u{2026}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_ask_all_the_time_is_known_below_any_prefix() {
        assert!(is_probe("/livez", "") && is_probe("/app/api/status", "") && is_probe("/", "ping=true"));
        assert!(!is_probe("/", "") && !is_probe("/inference_image", "ping=true") && !is_probe("/api/serve", ""));
    }

    #[test]
    fn long_paths_are_cut() {
        assert_eq!(shortened("/short"), "/short");
        assert_eq!(shortened(&"/x".repeat(50_000)).len(), MAX_PATH_BYTES + '\u{2026}'.len_utf8());
    }
}
