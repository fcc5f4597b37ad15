//! What the engine does, for Prometheus to read. No label holds anything that a caller sent.

use std::fmt::{Display, Write as _};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::super::state::AppState;
use crate::engine::Stats;
use crate::telemetry::resident_bytes;

/// The text format's own media type.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(in crate::server) async fn show(State(app): State<AppState>) -> impl IntoResponse {
    let text = render(&app.session.engine_stats(), app.is_deployed());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

fn render(stats: &Stats, is_ready: bool) -> String {
    let mut page = Page(String::new());
    page.one("florence_ready", "gauge", "1 if a model answers.", u8::from(is_ready));
    let requests = [
        ("answered", stats.answered),
        ("failed", stats.failed),
        ("given_up", stats.given_up),
        ("refused", stats.refused),
    ];
    page.several("florence_requests_total", "counter", "Requests by how they ended.", ("outcome", &requests));
    let held = [("single", stats.singles), ("run", stats.run_pictures)];
    page.several("florence_pictures_held", "gauge", "Pictures that wait or are worked on.", ("kind", &held));
    let counters = [
        ("florence_vision_passes_total", "Passes of the vision tower.", stats.vision_passes),
        ("florence_vision_pictures_total", "Pictures in them.", stats.pictures),
        ("florence_feature_hits_total", "Requests whose picture was encoded before.", stats.feature_hits),
        ("florence_encoder_passes_total", "Passes of the text encoder.", stats.encoder_passes),
        ("florence_encoder_prompts_total", "Prompts in them.", stats.prompts),
        ("florence_decoder_steps_total", "Steps of the decoder.", stats.steps),
        ("florence_decoder_step_answers_total", "Answers in them, over all steps.", stats.step_answers),
        ("florence_run_actions_total", "Passes and steps for runs alone.", stats.run_actions),
        ("florence_tokens_total", "Tokens of the answers handed over.", stats.tokens),
        ("florence_model_loads_total", "Models that were loaded.", stats.loads),
        ("florence_model_load_failures_total", "Models that could not be loaded.", stats.failed_loads),
        ("florence_retries_total", "Passes and steps that were tried again in halves.", stats.retries),
    ];
    for (name, help, value) in counters {
        page.one(name, "counter", help, value);
    }
    let busy_s = stats.busy_micros as f64 / 1e6;
    page.one("florence_busy_seconds_total", "counter", "Time that replicas were at work, all together.", busy_s);
    page.one("florence_answers_writing", "gauge", "Answers that are being written.", stats.writing);
    page.one("florence_feature_cache_bytes", "gauge", "Image features that are kept.", stats.feature_bytes);
    if let Some(bytes) = resident_bytes() {
        page.one("process_resident_memory_bytes", "gauge", "Memory of the process.", bytes);
    }
    page.0
}

/// The text format, line by line.
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn several(&mut self, name: &str, kind: &str, help: &str, (label, values): (&str, &[(&str, u64)])) {
        self.head(name, kind, help);
        for (of, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_type_and_no_name_comes_twice() {
        let text = render(&Stats { answered: 7, steps: 40, ..Stats::default() }, true);
        assert!(text.contains("florence_requests_total{outcome=\"answered\"} 7\n"));
        assert!(text.contains("# TYPE florence_decoder_steps_total counter\nflorence_decoder_steps_total 40\n"));
        assert!(text.starts_with(
            "# HELP florence_ready 1 if a model answers.\n# TYPE florence_ready gauge\nflorence_ready 1\n"
        ));
        let mut types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = types.len();
        types.dedup();
        assert_eq!(types.len(), count);
    }
}
