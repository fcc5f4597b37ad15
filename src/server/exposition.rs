//! Prometheus' text format, family by family.

use std::fmt::{Display, Write as _};

use crate::telemetry::HistogramSnapshot;

/// The text format's own media type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// A metric with all of its series. Name and help stand first, whatever follows.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'a str,
}

/// Names and values that tell the series of a family apart.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// A metric that only grows.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "counter", help)
    }

    /// A metric that goes up and down.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "gauge", help)
    }

    /// A distribution.
    pub fn histogram<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "histogram", help)
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.0
    }

    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name }
    }
}

impl Family<'_> {
    /// Adds the one series of a metric without labels.
    pub fn value(&mut self, value: impl Display) {
        self.series(&[], value);
    }

    /// Adds a series.
    pub fn series(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample("", labels, value);
    }

    /// Adds the series of a distribution.
    pub fn distribution(&mut self, labels: Labels<'_>, of: &HistogramSnapshot) {
        let mut bucket = |bound: &str, count| {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            self.sample("_bucket", &labels, count);
        };
        of.cumulative.iter().for_each(|(bound, count)| bucket(&bound.to_string(), *count));
        bucket("+Inf", of.count);
        self.sample("_sum", labels, of.sum);
        self.sample("_count", labels, of.count);
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) {
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let shown = if shown.is_empty() { String::new() } else { format!("{{{}}}", shown.join(",")) };
        let _ = writeln!(self.page, "{}{suffix}{shown} {value}", self.name);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_a_line_for_each_bucket() {
        let mut page = Page::default();
        let of = HistogramSnapshot { cumulative: vec![(0.5, 1), (1., 1)], count: 3, sum: 4.25 };
        page.histogram("wait_seconds", "A wait.").distribution(&[("route", "a\"b")], &of);
        page.gauge("up", "Up.").value(1);
        let expected = "# HELP wait_seconds A wait.\n# TYPE wait_seconds histogram\n\
            wait_seconds_bucket{route=\"a\\\"b\",le=\"0.5\"} 1\nwait_seconds_bucket{route=\"a\\\"b\",le=\"1\"} 1\n\
            wait_seconds_bucket{route=\"a\\\"b\",le=\"+Inf\"} 3\nwait_seconds_sum{route=\"a\\\"b\"} 4.25\n\
            wait_seconds_count{route=\"a\\\"b\"} 3\n# HELP up Up.\n# TYPE up gauge\nup 1\n";
        assert_eq!(page.into_text(), expected);
    }
}
