//! What callers asked, counted and timed by route.
//!
//! A route is known by its template, never by the path that a caller sent: what callers make up must not become a label.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::telemetry::{Histogram, HistogramSnapshot};

/// Stands for every path without a route, and for methods that HTTP does not know.
const OTHER: &str = "other";

/// Code of a request whose client went away before its answer.
const GIVEN_UP_CODE: u16 = 499;

/// The counts of a server.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    in_flight: AtomicU64,
    routes: Mutex<BTreeMap<String, BTreeMap<&'static str, RouteCounts>>>,
}

#[derive(Debug)]
struct RouteCounts {
    latency: Histogram,
    codes: BTreeMap<u16, u64>,
}

/// The counts of a route and method at a moment.
#[derive(Debug, Clone)]
pub(super) struct RouteTraffic {
    pub route: String,
    pub method: &'static str,
    /// Time to the answer, in seconds.
    pub latency: HistogramSnapshot,
    /// Answers by their code.
    pub codes: BTreeMap<u16, u64>,
}

impl Traffic {
    /// A request has come.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered, or given up by its client, after this time.
    pub fn end(&self, route: Option<&str>, method: &Method, status: Option<StatusCode>, time: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let (route, method) = (route.unwrap_or(OTHER), known(method));
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), BTreeMap::new());
        }
        let Some(methods) = routes.get_mut(route) else { return };
        let counts = methods.entry(method).or_insert_with(RouteCounts::new);
        *counts.codes.entry(status.map_or(GIVEN_UP_CODE, |status| status.as_u16())).or_default() += 1;
        if status.is_some() {
            counts.latency.observe(time);
        }
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What was counted so far, by route and method.
    pub fn snapshot(&self) -> Vec<RouteTraffic> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = |(route, methods): (&String, &BTreeMap<&'static str, RouteCounts>)| {
            let route = route.clone();
            let all = methods.iter().map(move |(method, counts)| RouteTraffic {
                route: route.clone(),
                method,
                latency: counts.latency.snapshot(),
                codes: counts.codes.clone(),
            });
            all.collect::<Vec<_>>()
        };
        routes.iter().flat_map(of_route).collect()
    }
}

impl RouteCounts {
    fn new() -> Self {
        Self { latency: Histogram::of_seconds(), codes: BTreeMap::new() }
    }
}

/// The method's name, if it is one of HTTP's own.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_make_up_is_one_and_the_same() {
        let traffic = Traffic::default();
        for name in ["BREW", "WHEN"] {
            traffic.begin();
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            traffic.end(None, &method, Some(StatusCode::NOT_FOUND), Duration::ZERO);
        }
        traffic.begin();
        traffic.end(Some("/livez"), &Method::GET, None, Duration::ZERO);
        let counted = traffic.snapshot();
        assert_eq!(counted.len(), 2);
        assert_eq!((counted[1].route.as_str(), counted[1].method, counted[1].latency.count), ("other", "other", 2));
        assert_eq!((counted[0].codes[&GIVEN_UP_CODE], counted[0].latency.count), (1, 0));
        assert_eq!(traffic.in_flight(), 0);
    }
}
