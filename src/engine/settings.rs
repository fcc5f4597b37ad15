//! What an engine is told when it starts, and when it is given a model.

use super::device::{DeviceChoice, Precision};
use super::faults::Faults;
use super::places::PlaceLimits;
use super::policy::Limits;
use crate::models::{ModelFolders, ModelSource};

/// Limits of an engine, whatever model it serves.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How much may be with the engine at a time.
    pub places: PlaceLimits,
    /// Image features that are kept, in bytes, on each device.
    pub feature_cache_bytes: usize,
    /// Threads that compute on the CPU; as many as there are cores unless given.
    pub threads: Option<usize>,
    /// Changes to what a replica does at a time, for tests.
    pub limits: Option<Limits>,
    /// Where models are looked for.
    pub folders: ModelFolders,
    /// Failures to be made at certain points.
    pub faults: Faults,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            places: PlaceLimits::default(),
            feature_cache_bytes: 256 << 20,
            threads: None,
            limits: None,
            folders: ModelFolders::default(),
            faults: Default::default(),
        }
    }
}

/// A model to serve, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlan {
    /// The model.
    pub source: ModelSource,
    /// The devices.
    pub devices: DeviceChoice,
    /// The type to compute in.
    pub precision: Precision,
    /// Whether the hub is asked for newer files although there are some on this machine.
    pub update: bool,
}
