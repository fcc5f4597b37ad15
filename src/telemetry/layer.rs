//! From events to lines.

use time::OffsetDateTime;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::record::{Record, format_time, level_name};
use super::secrets::Secrets;
use super::{tail, write_line};

/// Writes each event as a line, and keeps the last ones for the page.
pub(super) struct LogLayer {
    writes_json: bool,
    is_coloured: bool,
    secrets: Secrets,
}

impl LogLayer {
    pub fn new(writes_json: bool, is_coloured: bool, secrets: Secrets) -> Self {
        Self { writes_json, is_coloured, secrets }
    }

    fn text_line(&self, level: Level, time: OffsetDateTime, summary: &str) -> String {
        let name = level_name(level).to_ascii_uppercase();
        if !self.is_coloured {
            return format!("{} {name:>5} {summary}\n", format_time(time));
        }
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG | Level::TRACE => 34,
        };
        format!("\x1b[2m{}\x1b[0m \x1b[{colour}m{name:>5}\x1b[0m {summary}\n", format_time(time))
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record::default();
        event.record(&mut record);
        let (level, time) = (*event.metadata().level(), OffsetDateTime::now_utc());
        let summary = record.summary();
        let summary = self.secrets.hide(&summary);
        let line =
            if self.writes_json { record.to_json_line(level, time) } else { self.text_line(level, time, &summary) };
        write_line(&self.secrets.hide(&line));
        tail::push(level_name(level), format_time(time), summary.into_owned());
    }
}
