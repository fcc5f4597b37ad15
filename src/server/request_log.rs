//! One line in the log for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::routes::page::is_ping;

/// Routes that machines, or an open page, ask every few seconds; their lines would bury the others.
const PROBES: [&str; 8] =
    ["/livez", "/is_alive", "/is_running", "/readyz", "/is_ready", "/metrics", "/api/status", "/api/log"];

/// Longest path that is shown.
const MAX_PATH_BYTES: usize = 512;

/// Logs the request when it is answered, or when its client has gone away.
pub(super) async fn log_request(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let mut line = Line {
        method: request.method().clone(),
        // Without the query, which may hold anything.
        path: shortened(uri.path()),
        is_probe: is_probe(uri.path(), uri.query().unwrap_or_default()),
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
    is_probe: bool,
    started: Instant,
    status: Option<StatusCode>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { method, path, is_probe, .. } = self;
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.status.map(|status| status.as_u16()) {
            None => tracing::info!(responseTime = elapsed_ms, "{method} {path} was given up by its client"),
            Some(status) if *is_probe => tracing::debug!(responseTime = elapsed_ms, "{method} {path} {status}"),
            Some(status) => tracing::info!(responseTime = elapsed_ms, "{method} {path} {status}"),
        }
    }
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
