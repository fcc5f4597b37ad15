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
    /// Image features that are kept, in bytes, by each replica.
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

impl ModelPlan {
    /// Whether loading by this plan loads what the other one would.
    pub fn comes_to(&self, other: &Self) -> bool {
        let is_same_place =
            self.devices == other.devices || (self.devices == DeviceChoice::Auto && other.devices.is_only_one());
        is_same_place && Self { devices: self.devices.clone(), ..other.clone() } == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_comes_to_the_only_device() {
        let plan =
            |devices| ModelPlan { source: ModelSource::Demo, devices, precision: Precision::Auto, update: false };
        let auto = plan(DeviceChoice::Auto);
        let has_gpu = !super::super::gpus::list_gpus().is_empty();
        assert!(auto.comes_to(&auto));
        assert_eq!(auto.comes_to(&plan(DeviceChoice::Cpu)), !has_gpu);
        assert!(!auto.comes_to(&plan(DeviceChoice::AllCuda)) && !plan(DeviceChoice::Cpu).comes_to(&auto));
        assert!(!auto.comes_to(&ModelPlan { precision: Precision::F32, ..auto.clone() }));
    }
}
