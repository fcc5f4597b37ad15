//! The server under more load than it can bear, and for longer than a moment. What is asserted holds on any machine; times and
//! rates are printed.
//!
//! `SOAK_SECONDS=1800 cargo test --release --test under_load soak -- --nocapture` is the long form (`tests/full/soak`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are told")]

#[path = "load/mod.rs"]
mod load;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use load::caller::{Caller, End};
use load::drive::{Outcome, closed_loop, open_loop, plan};
use load::process::{ServerProcess, Usage, Watch};
use load::report::{Report, Row, Window};
use load::traffic::{Mix, Traffic};

/// Length of the soak where nothing else is asked for.
const SOAK_SECONDS: u64 = 60;
/// Length of the overload.
const OVERLOAD: Duration = Duration::from_secs(60);
/// How long capacity is measured.
const CAPACITY: Duration = Duration::from_secs(8);
/// Clients that keep the server busy, and places that it has in the overload: some five seconds' work.
const CLIENTS: usize = 8;
const QUEUE: &str = "64";

/// One server at a time: they would measure each other.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

async fn demo_server(arguments: &[&str]) -> ServerProcess {
    let binary = Path::new(env!("CARGO_BIN_EXE_serve-florence-2"));
    let arguments = [&["--model", "demo", "--device", "cpu"], arguments].concat();
    ServerProcess::start(binary, &arguments).await.unwrap()
}

/// Answers a second when the server is always busy.
async fn capacity(caller: &Caller, traffic: &Arc<Traffic>) -> f64 {
    let outcomes = closed_loop(caller, traffic, CLIENTS, CAPACITY, 1).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome.end, End::Answered { .. })), "{outcomes:?}");
    outcomes.len() as f64 / CAPACITY.as_secs_f64()
}

/// The whole of a run.
fn row(outcomes: &[Outcome], length: Duration) -> Row {
    Row::count("all", outcomes, Window { from: Duration::ZERO, to: length, goal: None })
}

/// Whatever was asked was answered or refused as it should be.
fn assert_nothing_broke(row: &Row, table: &str) {
    assert_eq!((row.wrong, row.other_4xx, row.status_5xx), (0, 0, 0), "{table}");
    assert!(row.transport_errors.is_empty(), "{table}");
    assert_eq!(row.answered + row.refused_429 + row.dropped, row.sent, "{table}");
    assert_eq!(row.refused_with_retry_after, row.refused_429, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_times_the_capacity_is_answered_or_refused_and_soon_forgotten() {
    let _turn = turn().await;
    let server = demo_server(&["--queue", QUEUE]).await;
    let traffic = Arc::new(Traffic::draw(Mix::Default, 16, 7));
    let caller = Caller::new(server.url()).unwrap();
    let capacity = capacity(&caller, &traffic).await;
    let before = row(&closed_loop(&caller, &traffic, 1, CAPACITY / 2, 2).await, CAPACITY / 2);

    let watch = Watch::start(server.id());
    let outcomes = open_loop(&caller, plan(&traffic, 4. * capacity, OVERLOAD, 3)).await;
    let window = Window { from: Duration::ZERO, to: OVERLOAD, goal: None };
    let mut report = Report::count(format!("four times the {capacity:.1} answers/s of capacity"), &outcomes, window);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = row(&closed_loop(&caller, &traffic, 1, CAPACITY / 2, 4).await, CAPACITY / 2);
    report.note_use(&watch.finish().await, &[], None);

    let table = report.table();
    println!("{table}");
    let goodput = report.total.goodput_per_s / capacity * 100.;
    println!(
        "goodput {goodput:.0} % of capacity; one client before: {:?}, 5 s after: {:?}",
        before.latency_ms, after.latency_ms
    );
    assert_nothing_broke(&report.total, &table);
    assert!(report.total.refused_429 > report.total.sent / 4, "that was no overload\n{table}");
    assert!(goodput > 50., "it was busy with refusing\n{table}");
    for quiet in [&before, &after] {
        assert_eq!((quiet.answered, quiet.refused_429), (quiet.sent, 0), "{table}");
    }
    // 64 decoded pictures of 1920x1080 are 400 MB.
    if let Some(server_use) = &report.server {
        assert!(server_use.most_rss_kib < 1_000_000, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let _turn = turn().await;
    let seconds = std::env::var("SOAK_SECONDS").map_or(SOAK_SECONDS, |text| text.parse().unwrap());
    let length = Duration::from_secs(seconds);
    let server = demo_server(&[]).await;
    let traffic = Arc::new(Traffic::draw(Mix::Default, 16, 8));
    let caller = Caller::new(server.url()).unwrap();
    let capacity = capacity(&caller, &traffic).await;
    let mut plan = plan(&traffic, 0.5 * capacity, length, 5);
    // Some hang up before they are answered.
    plan.iter_mut().step_by(20).for_each(|arrival| arrival.patience = Some(Duration::from_millis(15)));

    let watch = Watch::start(server.id());
    let outcomes = open_loop(&caller, plan).await;
    let samples = watch.finish().await;
    let window = Window { from: Duration::ZERO, to: length, goal: None };
    let mut report = Report::count(format!("{seconds} s at half of {capacity:.1} answers/s"), &outcomes, window);
    report.note_use(&samples, &[], None);
    let table = report.table();
    println!("{table}");
    assert_nothing_broke(&report.total, &table);
    assert_eq!(report.total.refused_429, 0, "{table}");
    if samples.is_empty() {
        println!("SKIPPED memory, threads and descriptors: this system has no /proc");
        return;
    }
    assert_flat(&samples, &table);
}

/// Once warm, a server that loses nothing holds the same from one quarter of the time to the next.
fn assert_flat(samples: &[Usage], table: &str) {
    let quarter = samples.len() / 4;
    let mean =
        |samples: &[Usage], of: fn(&Usage) -> u64| samples.iter().map(of).sum::<u64>() as f64 / samples.len() as f64;
    let (warm, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let change = |of| (mean(warm, of), mean(last, of));
    let (rss, later_rss) = change(|usage| usage.rss_kib);
    let (threads, later_threads) = change(|usage| usage.threads);
    let (descriptors, later_descriptors) = change(|usage| usage.descriptors);
    println!(
        "second quarter to last: {rss:.0} to {later_rss:.0} KiB, {threads:.1} to {later_threads:.1} threads, {descriptors:.1} to {later_descriptors:.1} descriptors"
    );
    // A picture more or less that is being decoded moves these; a leak moves them on and on.
    assert!(later_rss < 1.15 * rss + 8192., "{table}");
    assert!(later_threads < threads + 4., "{table}");
    assert!(later_descriptors < 1.5 * descriptors + 8., "{table}");
}
