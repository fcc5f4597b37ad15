//! What server and engine do, for Prometheus to read. No label holds anything that a caller sent.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::super::exposition::{CONTENT_TYPE, Page};
use super::super::state::AppState;
use super::super::traffic::RouteTraffic;
use crate::engine::{Gpu, Stats, look_at_gpus};
use crate::telemetry::{peak_resident_bytes, resident_bytes};

/// `GET /metrics`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Health",
    summary = "Metrics for Prometheus",
    responses((status = 200, description = "In Prometheus' text format.", body = String, content_type = "text/plain"))
)]
pub(in crate::server) async fn show(State(app): State<AppState>) -> impl IntoResponse {
    let mut page = Page::default();
    write_engine(&mut page, &app.session.engine_stats(), app.is_deployed());
    page.gauge("florence_runs", "Inference runs that are under way.").value(app.session.queue().running_count());
    write_traffic(&mut page, &app.traffic.snapshot(), app.traffic.in_flight());
    write_process(&mut page, look_at_gpus().await);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.into_text())
}

fn write_engine(page: &mut Page, stats: &Stats, is_ready: bool) {
    page.gauge("florence_ready", "1 if a model answers.").value(u8::from(is_ready));
    let requests = [
        ("answered", stats.answered),
        ("failed", stats.failed),
        ("given_up", stats.given_up),
        ("refused", stats.refused),
    ];
    let mut family = page.counter("florence_requests_total", "Requests by how they ended.");
    requests.iter().for_each(|(outcome, count)| family.series(&[("outcome", outcome)], count));
    let mut family = page.gauge("florence_pictures_held", "Pictures that wait or are worked on.");
    family.series(&[("kind", "single")], stats.singles);
    family.series(&[("kind", "run")], stats.run_pictures);
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
        page.counter(name, help).value(value);
    }
    let busy_s = stats.busy_micros as f64 / 1e6;
    page.counter("florence_busy_seconds_total", "Time that replicas were at work, all together.").value(busy_s);
    page.gauge("florence_answers_writing", "Answers that are being written.").value(stats.writing);
    page.gauge("florence_feature_cache_bytes", "Image features that are kept.").value(stats.feature_bytes);
    let mut family = page.histogram("florence_stage_seconds", "Time that requests stay in a stage.");
    stats.stage_times.iter().for_each(|(stage, times)| family.distribution(&[("stage", stage)], times));
    let mut family =
        page.histogram("florence_batch_size", "Pictures, prompts and answers that are worked on together.");
    stats.batches.iter().for_each(|(of, sizes)| family.distribution(&[("of", of)], sizes));
}

fn write_traffic(page: &mut Page, routes: &[RouteTraffic], in_flight: u64) {
    page.gauge("florence_http_requests_in_flight", "Requests that are being answered.").value(in_flight);
    let mut family = page.histogram("florence_http_request_seconds", "Time from a request to its answer.");
    for RouteTraffic { route, method, latency, .. } in routes {
        family.distribution(&[("route", route), ("method", method)], latency);
    }
    let mut errors: BTreeMap<u16, u64> = BTreeMap::new();
    let mut family =
        page.counter("florence_http_responses_total", "Answers by their code, 499 where the client had gone.");
    for RouteTraffic { route, method, codes, .. } in routes {
        for (code, count) in codes {
            family.series(&[("route", route), ("method", method), ("code", &code.to_string())], count);
            if *code >= 400 {
                *errors.entry(*code).or_default() += count;
            }
        }
    }
    let mut family = page.counter("florence_http_errors_total", "Answers that are errors, all routes together.");
    errors.iter().for_each(|(code, count)| family.series(&[("code", &code.to_string())], count));
}

fn write_process(page: &mut Page, gpus: Vec<Gpu>) {
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of the process.").value(bytes);
    }
    if let Some(bytes) = peak_resident_bytes() {
        page.gauge("florence_peak_resident_memory_bytes", "The most that it ever was.").value(bytes);
    }
    let mut family = page.gauge("florence_gpu_memory_used_bytes", "Memory of each GPU that anybody uses.");
    for gpu in gpus {
        if let Some(memory) = gpu.memory {
            family.series(&[("gpu", &gpu.index.to_string())], memory.used_bytes);
        }
    }
    let labels =
        [("version", env!("CARGO_PKG_VERSION")), ("cuda", if cfg!(feature = "cuda") { "true" } else { "false" })];
    page.gauge("florence_build_info", "What this program is.").series(&labels, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_names() {
        let mut page = Page::default();
        write_engine(&mut page, &Stats { answered: 7, steps: 40, ..Stats::default() }, true);
        let text = page.into_text();
        assert!(text.contains("florence_requests_total{outcome=\"answered\"} 7\n"));
        assert!(text.contains("# TYPE florence_decoder_steps_total counter\nflorence_decoder_steps_total 40\n"));
        assert!(text.starts_with(
            "# HELP florence_ready 1 if a model answers.\n# TYPE florence_ready gauge\nflorence_ready 1\n"
        ));
    }
}
