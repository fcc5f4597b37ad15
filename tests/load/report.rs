//! Counts outcomes: shares, rates and percentiles, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::caller::End;
use super::drive::Outcome;
use super::process::Usage;
use super::traffic::Kind;

/// The part of a run that counts, in time from the start. What was due in it makes up counts and latencies; what ended in
/// it makes up rates, so that neither the warm-up nor the emptying of the queue flatters them.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Duration,
    pub to: Duration,
    /// Answers that take longer are of no use to anybody; without it all answers are.
    pub goal: Option<Duration>,
}

/// Percentiles in milliseconds, none without a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// By nearest rank: each percentile is a value that was measured.
    pub fn of(values: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut values: Vec<Duration> = values.collect();
        values.sort_unstable();
        let rank = |percent: usize| {
            let place = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(place).map(|value| (value.as_secs_f64() * 1e5).round() / 100.)
        };
        Some(Self { p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// What became of one kind of requests, or of all.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub sent: usize,
    /// 2xx with an annotation of the right picture.
    pub answered: usize,
    /// Those among them with at least one box.
    pub with_boxes: usize,
    /// 2xx with anything else.
    pub wrong: usize,
    pub refused_429: usize,
    pub refused_with_retry_after: usize,
    pub other_4xx: usize,
    pub status_5xx: usize,
    /// By kind of failure.
    pub transport_errors: BTreeMap<&'static str, usize>,
    /// Hung up by the driver, as planned.
    pub dropped: usize,
    /// Answers of any status that ended in the window.
    pub throughput_per_s: f64,
    /// Answers of use among them: 2xx of the right picture, within the goal.
    pub goodput_per_s: f64,
    /// Of the answered ones.
    pub latency_ms: Option<Percentiles>,
    /// Of the refused ones.
    pub refusal_ms: Option<Percentiles>,
}

impl Row {
    /// Counts outcomes, whatever kind they are.
    pub fn count(name: &'static str, outcomes: &[Outcome], window: Window) -> Self {
        let is_inside = |moment: Duration| (window.from..window.to).contains(&moment);
        let due: Vec<&Outcome> = outcomes.iter().filter(|outcome| is_inside(outcome.due)).collect();
        let count = |test: &dyn Fn(End) -> bool| due.iter().filter(|outcome| test(outcome.end)).count();
        let latencies = |test: fn(End) -> bool| {
            Percentiles::of(due.iter().filter(|outcome| test(outcome.end)).map(|outcome| outcome.latency()))
        };
        let per_second = |test: &dyn Fn(&Outcome) -> bool| {
            let ended = outcomes.iter().filter(|outcome| is_inside(outcome.ended) && test(outcome)).count();
            ended as f64 / (window.to - window.from).as_secs_f64()
        };
        let is_of_use =
            |outcome: &Outcome| is_answered(outcome.end) && window.goal.is_none_or(|goal| outcome.latency() <= goal);
        Self {
            name,
            sent: due.len(),
            answered: count(&is_answered),
            with_boxes: count(&|end| matches!(end, End::Answered { boxes: 1.. })),
            wrong: count(&|end| end == End::Wrong),
            refused_429: count(&is_refused),
            refused_with_retry_after: count(&|end| matches!(end, End::Refused { retry_after_s: Some(_) })),
            other_4xx: count(&|end| matches!(end, End::Status(..500))),
            status_5xx: count(&|end| matches!(end, End::Status(500..))),
            transport_errors: transport_errors(&due),
            dropped: count(&|end| end == End::Dropped),
            throughput_per_s: per_second(&|outcome| !matches!(outcome.end, End::Failed(_) | End::Dropped)),
            goodput_per_s: per_second(&is_of_use),
            latency_ms: latencies(is_answered),
            refusal_ms: latencies(is_refused),
        }
    }
}

fn is_answered(end: End) -> bool {
    matches!(end, End::Answered { .. })
}

fn is_refused(end: End) -> bool {
    matches!(end, End::Refused { .. })
}

fn transport_errors(outcomes: &[&Outcome]) -> BTreeMap<&'static str, usize> {
    let mut errors = BTreeMap::new();
    for outcome in outcomes {
        if let End::Failed(failure) = outcome.end {
            *errors.entry(failure.name()).or_default() += 1;
        }
    }
    errors
}

/// What a process took while load ran.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessUse {
    pub before: Usage,
    pub after: Usage,
    pub most_rss_kib: u64,
    pub most_threads: u64,
    pub most_descriptors: u64,
    /// Processor time of the whole run.
    pub cpu_s: f64,
}

impl ProcessUse {
    /// Sums up what a watch saw; `None` if that was nothing.
    pub fn of(samples: &[Usage]) -> Option<Self> {
        let (before, after) = (*samples.first()?, *samples.last()?);
        let most = |field: fn(&Usage) -> u64| samples.iter().map(field).max().unwrap_or_default();
        Some(Self {
            before,
            after,
            most_rss_kib: most(|usage| usage.rss_kib),
            most_threads: most(|usage| usage.threads),
            most_descriptors: most(|usage| usage.descriptors),
            cpu_s: after.cpu_s - before.cpu_s,
        })
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was driven, in words.
    pub load: String,
    /// Length of the window.
    pub measured_s: f64,
    pub goal_ms: Option<u128>,
    pub total: Row,
    pub kinds: Vec<Row>,
    /// How late the driver sent: much more than the timer's own millisecond means that it, not the server, was the
    /// bottleneck.
    pub sent_late_ms: Option<Percentiles>,
    /// The server, if its process is known.
    pub server: Option<ProcessUse>,
    /// This program.
    pub driver: Option<ProcessUse>,
    /// Processor time that the rest of the machine took meanwhile: with much of it the figures say little. The kernel
    /// samples the whole in ticks but measures processes, so this is off by a few percent of the whole and may be below
    /// 0; it is left so, because a 0 would look like proof of a quiet machine.
    pub others_cpu_s: Option<f64>,
}

impl Report {
    /// Counts outcomes by kind and in total.
    pub fn count(load: String, outcomes: &[Outcome], window: Window) -> Self {
        let kinds = Kind::ALL.into_iter().filter_map(|kind| {
            let of_kind: Vec<Outcome> = outcomes.iter().filter(|outcome| outcome.kind == kind).copied().collect();
            (!of_kind.is_empty()).then(|| Row::count(kind.name(), &of_kind, window))
        });
        Self {
            load,
            measured_s: (window.to - window.from).as_secs_f64(),
            goal_ms: window.goal.map(|goal| goal.as_millis()),
            total: Row::count("total", outcomes, window),
            kinds: kinds.collect(),
            sent_late_ms: Percentiles::of(outcomes.iter().map(|outcome| outcome.sent.saturating_sub(outcome.due))),
            server: None,
            driver: None,
            others_cpu_s: None,
        }
    }

    /// Notes what the processes took, and what is left for others of the processor time of the whole machine.
    pub fn note_use(&mut self, server: &[Usage], driver: &[Usage], machine_cpu_s: Option<f64>) {
        self.server = ProcessUse::of(server);
        self.driver = ProcessUse::of(driver);
        if let (Some(server), Some(driver), Some(machine)) = (&self.server, &self.driver, machine_cpu_s) {
            self.others_cpu_s = Some(machine - server.cpu_s - driver.cpu_s);
        }
    }

    /// For people, some 100 columns wide.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n\n", self.load);
        let _ = writeln!(
            text,
            "{:<10}{:>7}{:>7}{:>6}{:>6}{:>6}{:>7}{:>7}{:>8}{:>10}{:>8}{:>9}{:>8}{:>8}{:>8}",
            "",
            "sent",
            "2xx",
            "429",
            "4xx",
            "5xx",
            "wrong",
            "failed",
            "dropped",
            "answers/s",
            "good/s",
            "p50 ms",
            "p90",
            "p99",
            "max"
        );
        for row in self.kinds.iter().chain([&self.total]) {
            write_row(&mut text, row);
        }
        text.push('\n');
        self.write_notes(&mut text);
        text
    }

    fn write_notes(&self, text: &mut String) {
        let total = &self.total;
        if let Some(times) = total.refusal_ms {
            let (with, all) = (total.refused_with_retry_after, total.refused_429);
            let _ = writeln!(
                text,
                "429 after p50 {} ms, p99 {} ms; {with} of {all} with Retry-After",
                times.p50, times.p99
            );
        }
        for (name, count) in &total.transport_errors {
            let _ = writeln!(text, "failed, {}: {count}", name.replace('_', " "));
        }
        let _ = writeln!(text, "answers with boxes: {} of {}", total.with_boxes, total.answered);
        if let Some(goal_ms) = self.goal_ms {
            let _ = writeln!(text, "good/s counts answers within {goal_ms} ms");
        }
        if let Some(late) = self.sent_late_ms {
            let _ = writeln!(text, "sent late by p50 {} ms, p99 {} ms, at most {} ms", late.p50, late.p99, late.max);
        }
        for (name, process) in [("server", &self.server), ("driver", &self.driver)] {
            if let Some(process) = process {
                write_process(text, name, process);
            }
        }
        if let Some(others_cpu_s) = self.others_cpu_s {
            let _ = writeln!(text, "others on this machine: {others_cpu_s:.1} s, give or take a few percent of all");
        }
    }
}

fn write_row(text: &mut String, row: &Row) {
    let failed: usize = row.transport_errors.values().sum();
    let _ = write!(
        text,
        "{:<10}{:>7}{:>7}{:>6}{:>6}{:>6}{:>7}{:>7}{:>8}{:>10.2}{:>8.2}",
        row.name,
        row.sent,
        row.answered,
        row.refused_429,
        row.other_4xx,
        row.status_5xx,
        row.wrong,
        failed,
        row.dropped,
        row.throughput_per_s,
        row.goodput_per_s
    );
    let _ = match row.latency_ms {
        Some(Percentiles { p50, p90, p99, max }) => writeln!(text, "{p50:>9.1}{p90:>8.1}{p99:>8.1}{max:>8.1}"),
        None => writeln!(text, "{:>9}{:>8}{:>8}{:>8}", "-", "-", "-", "-"),
    };
}

fn write_process(text: &mut String, name: &str, process: &ProcessUse) {
    let ProcessUse { before, after, most_rss_kib, most_threads, most_descriptors, cpu_s } = process;
    let mib = |kib: u64| kib as f64 / 1024.;
    let _ = writeln!(
        text,
        "{name}: {:.1} MiB before, {:.1} at most, {:.1} after; {} threads, {most_threads} at most; {} descriptors, \
         {most_descriptors} at most; {cpu_s:.1} s of processor time",
        mib(before.rss_kib),
        mib(*most_rss_kib),
        mib(after.rss_kib),
        after.threads,
        after.descriptors,
    );
}
