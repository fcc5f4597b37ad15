//! From `tracing` to records.

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::level::OWN_TARGET;
use super::output;
use super::record::{FieldVisitor, Record};

/// Writes every event that comes through.
pub(super) struct RecordLayer;

impl<S: Subscriber> Layer<S> for RecordLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = Record::new((*metadata.level()).into(), String::new());
        let is_own = metadata.target().starts_with(OWN_TARGET);
        event.record(&mut FieldVisitor { record: &mut record, is_own });
        output::write(record);
    }
}
