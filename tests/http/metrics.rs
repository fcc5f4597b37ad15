//! `/metrics` as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode, header};
use serde_json::json;

use crate::client::{TestServer, json_request};

/// A scrape, read strictly.
#[derive(Debug, Default)]
struct Scrape {
    /// Metrics with their types.
    types: BTreeMap<String, String>,
    /// Series, their labels in order, with their values.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads a page, which may do nothing that the format leaves open.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut scrape = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty() && !scrape.types.contains_key(name), "{line}");
                current = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, current, "the type stands behind the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} is there twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                scrape.read_sample(line, &current);
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn read_sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        let kind = self.types.get(family).unwrap_or_else(|| panic!("{line} comes before its type"));
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let belongs = suffixes.iter().any(|suffix| name == format!("{family}{suffix}"));
        assert!(belongs, "{line} stands below {family}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).unwrap();
            let mut names = BTreeSet::new();
            for label in labels.split(',') {
                let (name, value) = label.split_once('=').unwrap();
                assert!(names.insert(name), "{line}");
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
                assert!(!value.contains(['"', '\\', '\n']), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line} is no number"));
        assert!(value.is_finite() && value >= 0., "{line}");
        assert!(self.samples.insert(series.to_owned(), value).is_none(), "{line} is there twice");
    }

    /// Buckets grow, the last one holds all.
    fn check_histograms(&self) {
        for name in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, value) in &self.samples {
                let Some(rest) = series.strip_prefix(&format!("{name}_bucket{{")) else { continue };
                let (labels, bound) = rest.trim_end_matches('}').rsplit_once("le=\"").unwrap();
                let bound = bound.trim_end_matches('"').parse().unwrap();
                buckets.entry(labels.trim_end_matches(',').to_owned()).or_default().push((bound, *value));
            }
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name} {labels}: {buckets:?}");
                let (bound, count) = *buckets.last().unwrap();
                assert!(bound == f64::INFINITY, "{name} {labels}");
                let of = |suffix: &str| match labels.as_str() {
                    "" => self.get(&format!("{name}{suffix}")),
                    labels => self.get(&format!("{name}{suffix}{{{labels}}}")),
                };
                assert_eq!(of("_count"), count, "{name} {labels}");
                of("_sum");
            }
        }
    }

    fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }
}

async fn scrape(server: &TestServer) -> Scrape {
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    Scrape::parse(&String::from_utf8(answer.bytes).unwrap())
}

#[tokio::test]
async fn every_series_has_its_type_and_comes_once() {
    let server = TestServer::start();
    let first = scrape(&server).await;
    assert_eq!(first.get("florence_http_requests_in_flight"), 1., "this one");
    assert_eq!(first.get("florence_runs"), 0.);
    assert!(first.types.len() > 25, "{:?}", first.types);

    server.infer(json!({"text": "car"})).await;
    server.infer(json!({"text": 5})).await;
    for path in ["/secret-one", "/secret-two?token=x", "/inference_image/secret"] {
        server.get(path).await;
    }
    server.send(json_request(Method::from_bytes(b"BREW").unwrap(), "/livez", String::new())).await;
    server.send(json_request(Method::GET, "/inference_image", String::new())).await;

    let second = scrape(&server).await;
    let responses = |route: &str, method: &str, code: u16| {
        let labels = format!("route=\"{route}\",method=\"{method}\",code=\"{code}\"");
        second.get(&format!("florence_http_responses_total{{{labels}}}"))
    };
    assert_eq!(responses("/inference_image", "POST", 200), 1.);
    assert_eq!(responses("/inference_image", "POST", 400), 1.);
    assert_eq!(responses("/inference_image", "GET", 405), 1.);
    assert_eq!(responses("/livez", "other", 405), 1.);
    assert_eq!(responses("other", "GET", 404), 3.);
    assert_eq!(responses("/metrics", "GET", 200), 1.);
    assert_eq!(second.get("florence_http_errors_total{code=\"405\"}"), 2.);
    assert_eq!(second.get("florence_http_request_seconds_count{route=\"/inference_image\",method=\"POST\"}"), 2.);
    assert_eq!(second.get("florence_stage_seconds_count{stage=\"decoding\"}"), 1., "the other was refused before");
    assert_eq!(second.get("florence_http_requests_in_flight"), 1.);
    assert!(second.samples.keys().all(|series| !series.contains("secret")), "{:?}", second.samples.keys());
}

#[tokio::test]
async fn the_last_answers_are_told_to_the_page() {
    let server = TestServer::start();
    let latency = async || server.get("/api/status").await.json()["latency_ms"].clone();
    assert!(latency().await.is_null());
    server.infer(json!({"text": 5})).await;
    assert!(latency().await.is_null(), "an error is no answer");
    server.infer(json!({"text": "car"})).await;
    server.infer(json!({"text": "car", "fake_delay": 0.2})).await;
    let latency = latency().await;
    assert_eq!(latency["count"], 2, "{latency}");
    assert!(latency["p95"].as_u64() >= Some(200) && latency["median"].as_u64() <= latency["p95"].as_u64(), "{latency}");
}
