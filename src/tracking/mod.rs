//! Placeholder.
#![allow(missing_docs)]
use crate::florence::image::Picture;
use serde_json::{Map, Value};
use thiserror::Error;
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TrackerSettingsError(pub String);
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct TrackerSettings {}
impl TrackerSettings {
    pub fn from_json(_: &Map<String, Value>) -> Result<Self, TrackerSettingsError> {
        Ok(Self {})
    }
}
#[derive(Debug, Clone)]
pub struct GreyFrame;
impl GreyFrame {
    pub fn of(_: &Picture) -> Self {
        Self
    }
}
pub struct Detection {
    pub corners: [f64; 4],
    pub score: f64,
    pub class: String,
}
pub struct Tracker;
impl Tracker {
    pub fn new(_: TrackerSettings, _: f64) -> Self {
        Self
    }
    pub fn update(&mut self, d: &[Detection], _: Option<&GreyFrame>) -> Vec<Option<u64>> {
        (1..=d.len() as u64).map(Some).collect()
    }
}
