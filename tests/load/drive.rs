//! Asks many times: at moments that were chosen beforehand (open loop), or each client as soon as it is answered (closed
//! loop).
//!
//! An open loop shows queueing as users feel it: requests come whether or not the server keeps up, and each one's time
//! counts from the moment it was due, not from when it could be sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::caller::{Caller, End};
use super::traffic::{Ask, Kind, Traffic};
use crate::support::random::Random;

/// Pause of a client of the closed loop after a refusal that names none, or a failure: it would ask in circles.
const PAUSE_WITHOUT_ANSWER: Duration = Duration::from_millis(100);

/// A request that is to be sent.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When, from the start.
    pub due: Duration,
    pub ask: Arc<Ask>,
    /// Hangs up after so long, counted from when it is sent.
    pub patience: Option<Duration>,
}

/// A request that has ended. Moments count from the start.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub kind: Kind,
    /// When it should have been sent.
    pub due: Duration,
    /// When it was: later only if this program lacked the time.
    pub sent: Duration,
    /// When the last byte of the answer was there.
    pub ended: Duration,
    pub end: End,
}

impl Outcome {
    /// How long a user waited, the time in which the request was due but not sent included.
    pub fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.due)
    }
}

/// Moments of a Poisson process: requests of many users who know nothing of each other.
pub fn poisson_moments(rate_per_s: f64, length: Duration, random: &mut Random) -> Vec<Duration> {
    let mut moments = vec![];
    let mut at_s = random.exponential(1. / rate_per_s);
    while at_s < length.as_secs_f64() {
        moments.push(Duration::from_secs_f64(at_s));
        at_s += random.exponential(1. / rate_per_s);
    }
    moments
}

/// What is asked when, the same for the same seed. Suites change it as they like before it is driven.
pub fn plan(traffic: &Traffic, rate_per_s: f64, length: Duration, seed: u64) -> Vec<Arrival> {
    let mut random = Random::new(seed);
    let moments = poisson_moments(rate_per_s, length, &mut random);
    moments.into_iter().map(|due| Arrival { due, ask: traffic.pick(&mut random), patience: None }).collect()
}

/// Sends every request when it is due, however many are still unanswered, and returns when the last one has ended.
pub async fn open_loop(caller: &Caller, plan: Vec<Arrival>) -> Vec<Outcome> {
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(plan.len());
    for arrival in plan {
        sleep_until(start + arrival.due).await;
        let caller = caller.clone();
        tasks.push(tokio::spawn(async move { send(&caller, start, arrival).await }));
    }
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// Keeps `clients` requests under way for `length`: each client asks again as soon as it is answered. A refused one waits
/// as long as it is told to.
pub async fn closed_loop(
    caller: &Caller,
    traffic: &Arc<Traffic>,
    clients: usize,
    length: Duration,
    seed: u64,
) -> Vec<Outcome> {
    let start = Instant::now();
    let clients = (0..clients as u64).map(|client| {
        let (caller, traffic) = (caller.clone(), Arc::clone(traffic));
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(client));
        tokio::spawn(async move {
            let mut outcomes = vec![];
            while start.elapsed() < length {
                let arrival = Arrival { due: start.elapsed(), ask: traffic.pick(&mut random), patience: None };
                let outcome = send(&caller, start, arrival).await;
                outcomes.push(outcome);
                let left = length.saturating_sub(start.elapsed());
                sleep(pause_after(outcome.end).min(left)).await;
            }
            outcomes
        })
    });
    // All are spawned before the first is waited for.
    let clients: Vec<_> = clients.collect();
    let mut outcomes = vec![];
    for client in clients {
        outcomes.extend(client.await.unwrap());
    }
    outcomes
}

async fn send(caller: &Caller, start: Instant, arrival: Arrival) -> Outcome {
    let Arrival { due, ask, patience } = arrival;
    let sent = start.elapsed();
    let end = match patience {
        Some(patience) => caller.ask_with_patience(&ask, patience).await,
        None => caller.ask(&ask).await,
    };
    Outcome { kind: ask.kind, due, sent, ended: start.elapsed(), end }
}

fn pause_after(end: End) -> Duration {
    match end {
        End::Refused { retry_after_s: Some(seconds) } => Duration::from_secs(seconds),
        End::Refused { retry_after_s: None } | End::Failed(_) => PAUSE_WITHOUT_ANSWER,
        _ => Duration::ZERO,
    }
}
