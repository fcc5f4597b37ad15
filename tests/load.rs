//! The load driver: its parts that need no server, and its figures against a server that serves the demo model.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "load/mod.rs"]
mod load;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use image::ImageFormat;

use load::caller::{Caller, End, Failure, read_answer};
use load::drive::{Outcome, closed_loop, open_loop, plan, poisson_moments};
use load::process::{ServerProcess, Usage, Watch};
use load::report::{Percentiles, Report, Row, Window};
use load::traffic::{Ask, Kind, Mix, PICTURE_SIZES, Traffic};
use support::random::Random;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Few pictures: drawing them takes a test longer than sending them.
fn traffic() -> Arc<Traffic> {
    Arc::new(Traffic::draw(Mix::Default, 2, 7))
}

async fn demo_server() -> ServerProcess {
    let binary = Path::new(env!("CARGO_BIN_EXE_serve-florence-2"));
    ServerProcess::start(binary, &["--model", "demo", "--device", "cpu"]).await.unwrap()
}

#[test]
fn percentiles_are_measured_values() {
    let percentiles = |values: &[u64]| Percentiles::of(values.iter().copied().map(ms));
    assert_eq!(percentiles(&[]), None);
    assert_eq!(percentiles(&[7]), Some(Percentiles { p50: 7., p90: 7., p99: 7., max: 7. }));
    assert_eq!(percentiles(&[4, 1, 3, 2]), Some(Percentiles { p50: 2., p90: 4., p99: 4., max: 4. }));
    let hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(percentiles(&hundred), Some(Percentiles { p50: 50., p90: 90., p99: 99., max: 100. }));
}

#[test]
fn a_mix_keeps_its_shares() {
    let mut random = Random::new(3);
    for mix in [Mix::Default, Mix::Od, Mix::Grounding, Mix::Cascade] {
        assert_eq!(mix.shares_percent().iter().map(|(_, share)| share).sum::<usize>(), 100);
        let picked: Vec<Kind> = (0..20_000).map(|_| mix.pick(&mut random)).collect();
        for (kind, share) in mix.shares_percent() {
            let found = picked.iter().filter(|picked| **picked == kind).count() as f64 / 200.;
            assert!((found - share as f64).abs() < 1.5, "{mix:?}: {found} % {kind:?}, not {share} %");
        }
    }
}

#[test]
fn arrivals_are_a_poisson_process() {
    let moments = poisson_moments(50., Duration::from_secs(400), &mut Random::new(1));
    assert!(moments.is_sorted() && moments.last().unwrap().as_secs() < 400);
    assert!((moments.len() as f64 / 20_000. - 1.).abs() < 0.02, "{} arrivals", moments.len());
    let gaps_s: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let mean = gaps_s.iter().sum::<f64>() / gaps_s.len() as f64;
    assert!((mean * 50. - 1.).abs() < 0.02, "mean gap {mean} s");
    // The deviation of an exponential distribution is its mean: requests come in clusters, not like clockwork.
    let variance = gaps_s.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps_s.len() as f64;
    assert!((variance.sqrt() / mean - 1.).abs() < 0.05, "deviation {} of mean {mean}", variance.sqrt());
}

#[test]
fn bodies_hold_pictures_and_phrases() {
    let traffic = traffic();
    let first = plan(&traffic, 100., Duration::from_secs(5), 4);
    let second = plan(&traffic, 100., Duration::from_secs(5), 4);
    let same = |(a, b): (&load::drive::Arrival, &load::drive::Arrival)| a.due == b.due && Arc::ptr_eq(&a.ask, &b.ask);
    assert!(first.len() > 300 && first.len() == second.len() && first.iter().zip(&second).all(same));

    for size in PICTURE_SIZES {
        let share = first.iter().filter(|arrival| arrival.ask.size == size).count() as f64 / first.len() as f64;
        assert!((0.4..0.6).contains(&share), "{share} of the pictures are {size:?}");
    }
    let ask = &first.iter().find(|arrival| arrival.ask.kind == Kind::Grounding).unwrap().ask;
    let start = ask.body.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let end = ask.body.windows(4).position(|bytes| bytes == b"\r\n--").unwrap();
    let picture = image::load_from_memory_with_format(&ask.body[start..end], ImageFormat::Jpeg).unwrap();
    assert_eq!([picture.width(), picture.height()], ask.size);
    let settings = format!("{{\"settings\":{{\"text\":\"{}\"}}}}", ask.phrase);
    assert!(String::from_utf8_lossy(&ask.body[end..]).contains(&settings), "{settings}");
}

#[test]
fn an_answer_about_another_picture_is_wrong() {
    let ask = Ask { kind: Kind::Detection, size: [640, 480], phrase: String::new(), body: Bytes::new() };
    let read = |text: &'static str| read_answer(&Bytes::from_static(text.as_bytes()), &ask);
    let good =
        r#"{"annotation": {"size": {"height": 480, "width": 640}, "objects": [{"classTitle": "a"}]}, "data": {}}"#;
    assert_eq!(read(good), End::Answered { boxes: 1 });
    assert_eq!(read(r#"{"annotation": {"size": {"height": 640, "width": 480}, "objects": []}}"#), End::Wrong);
    assert_eq!(read(r#"{"annotation": {"size"#), End::Wrong);
}

#[test]
fn a_row_counts_what_was_due_and_rates_what_ended() {
    let outcome = |due_ms: u64, ended_ms: u64, end: End| Outcome {
        kind: Kind::Detection,
        due: ms(due_ms),
        sent: ms(due_ms),
        ended: ms(ended_ms),
        end,
    };
    let outcomes = [
        // Due in the warm-up, ended in the window.
        outcome(900, 1500, End::Answered { boxes: 1 }),
        outcome(1000, 1010, End::Answered { boxes: 2 }),
        outcome(1200, 1900, End::Answered { boxes: 0 }),
        outcome(1300, 1301, End::Refused { retry_after_s: Some(1) }),
        outcome(1300, 1303, End::Refused { retry_after_s: None }),
        outcome(1400, 1500, End::Status(400)),
        outcome(1400, 1500, End::Status(503)),
        outcome(1500, 1600, End::Wrong),
        outcome(1500, 2400, End::Failed(Failure::TimedOut)),
        outcome(1500, 1600, End::Dropped),
        // Due in the window, ended after it.
        outcome(2900, 4000, End::Answered { boxes: 1 }),
        // Due after the window.
        outcome(3000, 3001, End::Answered { boxes: 1 }),
    ];
    let row = Row::count("all", &outcomes, Window { from: ms(1000), to: ms(3000), goal: Some(ms(600)) });
    assert_eq!((row.sent, row.answered, row.with_boxes, row.wrong, row.dropped), (10, 3, 2, 1, 1));
    assert_eq!((row.refused_429, row.refused_with_retry_after, row.other_4xx, row.status_5xx), (2, 1, 1, 1));
    assert_eq!(row.transport_errors.into_iter().collect::<Vec<_>>(), [("timed_out", 1)]);
    assert_eq!((row.throughput_per_s, row.goodput_per_s), (4., 1.));
    assert_eq!(row.latency_ms, Some(Percentiles { p50: 700., p90: 1100., p99: 1100., max: 1100. }));
    assert_eq!(row.refusal_ms.unwrap().max, 3.);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_low_rate_every_request_is_answered() {
    let (server, traffic) = (demo_server().await, traffic());
    let caller = Caller::new(server.url()).unwrap();
    let length = Duration::from_secs(5);
    let plan = plan(&traffic, 3., length, 5);
    let planned = plan.len();
    assert!(planned > 5, "{planned} requests");

    let watch = Watch::start(server.id());
    let outcomes = open_loop(&caller, plan).await;
    let samples = watch.finish().await;
    let window = Window { from: Duration::ZERO, to: length, goal: None };
    let mut report = Report::count("3 requests/s".to_owned(), &outcomes, window);
    report.note_use(&samples, &[], None);
    let (table, total) = (report.table(), &report.total);
    assert_eq!((total.sent, total.answered), (planned, planned), "{table}");
    assert_eq!(report.kinds.iter().map(|row| row.answered).sum::<usize>(), planned, "{table}");
    // The model is not perfect, but it sees the shapes.
    assert!(total.with_boxes * 10 >= planned * 7, "{table}");
    let times = total.latency_ms.unwrap();
    assert!(0. < times.p50 && times.p50 <= times.p99 && times.p99 <= times.max, "{table}");
    if Usage::of(std::process::id()).is_some() {
        let server_use = report.server.as_ref().unwrap();
        assert!(server_use.cpu_s > 0. && server_use.most_rss_kib > 10_000 && server_use.most_threads > 1, "{table}");
    }
    eprintln!("{table}");
    assert!(serde_json::to_string(&report).unwrap().contains("\"total\":{\"name\":\"total\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_wait_are_answered_and_those_that_hang_up_are_told_apart() {
    let (server, traffic) = (demo_server().await, traffic());
    let caller = Caller::new(server.url()).unwrap();

    let outcomes = closed_loop(&caller, &traffic, 2, Duration::from_secs(2), 1).await;
    assert!(outcomes.len() >= 2, "{}", outcomes.len());
    assert!(outcomes.iter().all(|outcome| matches!(outcome.end, End::Answered { .. })), "{outcomes:?}");

    // One that waits, and one that hangs up before any model could have answered.
    let mut arrivals = plan(&traffic, 100., Duration::from_secs(1), 2);
    arrivals.truncate(2);
    arrivals[1].patience = Some(ms(1));
    let outcomes = open_loop(&caller, arrivals).await;
    assert!(matches!(outcomes[0].end, End::Answered { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1].end, End::Dropped);

    let url = server.url().to_owned();
    drop(server);
    let ask = traffic.pick(&mut Random::new(1));
    assert_eq!(Caller::new(&url).unwrap().ask(&ask).await, End::Failed(Failure::NotConnected));
}
