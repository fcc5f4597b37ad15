//! Options of `serve`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::super::error::{CliError, CliResult};
use super::{ModelArgs, parse_count};
use crate::engine::{EngineSettings, Faults, PlaceLimits};
use crate::lifecycle::LifecycleSettings;
use crate::media::AllowedHost;
use crate::models::ModelFolders;
use crate::session::SessionSettings;
use crate::supervisely::Address;

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Seconds after which a caller that waits for an answer is told 504
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    deadline: u64,
    /// Single pictures that may wait or be worked on; one more is told 429
    #[arg(long, value_name = "PICTURES", default_value_t = 256, value_parser = parse_count)]
    queue: usize,
    /// Memory that decoded single pictures in the queue may take, in MiB, and as much again for runs
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    queue_mib: u32,
    /// Memory for image features, so that the next question about the same picture need not encode it again, in MiB for each replica
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    feature_cache_mib: u32,
    /// Threads that compute on the CPU [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    threads: Option<usize>,
    /// Platform beside SERVER_ADDRESS that a request may name, with a token of its own; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    allow_platform: Vec<Address>,
    /// Host, or host:port, that /inference_image_url may fetch from although its address is not public; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_fetch: Vec<AllowedHost>,
    /// Folder whose pictures /visual_question_answering may be asked about by image_path
    #[arg(long, value_name = "DIR")]
    picture_folder: Option<PathBuf>,
    /// Folder of checkpoints of your own, a folder each, which the page offers
    #[arg(long, value_name = "DIR")]
    models_folder: Option<PathBuf>,
    /// Seconds without a request after which the model leaves its device until the next one; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = LifecycleSettings::DEFAULT_IDLE_FREEZE.as_secs())]
    idle_freeze: u64,
}

impl ServeArgs {
    /// Limits of the engine.
    pub fn engine_settings(&self) -> EngineSettings {
        let defaults = EngineSettings::default();
        EngineSettings {
            places: PlaceLimits {
                pictures: self.queue,
                bytes: u64::from(self.queue_mib) << 20,
                // Time for the answer itself has to be left.
                wait: self.deadline() / 2,
                // A quarter of the queue, or what is usual where that is less.
                run_pictures: defaults.places.run_pictures.min(self.queue.div_ceil(4)),
            },
            feature_cache_bytes: (self.feature_cache_mib as usize) << 20,
            threads: self.threads,
            folders: ModelFolders::from_env(),
            faults: Faults::from_env(),
            ..defaults
        }
    }

    /// Limits of the session, and whom it talks to. The platform's own variables tell the rest.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn session_settings(&self, task_id: Option<i64>) -> CliResult<SessionSettings> {
        if let Some(folder) = &self.picture_folder {
            check_folder(folder)?;
        }
        let mut settings = SessionSettings::from_env();
        settings.deadline = self.deadline();
        settings.task_id = task_id;
        settings.platform.allowed.clone_from(&self.allow_platform);
        settings.fetch.allowed_hosts.clone_from(&self.allow_fetch);
        settings.picture_folder.clone_from(&self.picture_folder);
        Ok(settings)
    }

    /// How models are deployed.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn lifecycle_settings(&self, task_id: Option<i64>) -> CliResult<LifecycleSettings> {
        if let Some(folder) = &self.models_folder {
            check_folder(folder)?;
        }
        Ok(LifecycleSettings {
            devices: self.model.device.clone(),
            precision: self.model.precision,
            folders: ModelFolders::from_env(),
            models_folder: self.models_folder.clone(),
            weights: self.model.folder(),
            idle_freeze: Some(Duration::from_secs(self.idle_freeze)).filter(|limit| !limit.is_zero()),
            task_id,
        })
    }

    /// How long a caller is let wait.
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

fn check_folder(folder: &Path) -> CliResult<()> {
    std::fs::read_dir(folder)
        .map(drop)
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", folder.display())))
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| format!("{text:?} is no address of a server"))
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use crate::engine::DeviceChoice;
    use clap::Parser;

    #[test]
    fn limits_become_the_engines_settings() {
        let line =
            "x serve --queue 8 --queue-mib 2 --feature-cache-mib 0 --threads 3 --deadline 7 --device cuda:0,cuda:1";
        let Command::Serve(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { unreachable!() };
        let settings = args.engine_settings();
        assert_eq!(
            settings.places,
            PlaceLimits { pictures: 8, run_pictures: 2, bytes: 2 << 20, wait: Duration::from_millis(3500) }
        );
        assert_eq!((settings.feature_cache_bytes, settings.threads), (0, Some(3)));
        assert_eq!(args.deadline(), Duration::from_secs(7));
        assert_eq!(args.model.device, DeviceChoice::Cuda(vec![0, 1]));
        for wrong in
            ["x serve --queue 0", "x serve --threads 0", "x serve --deadline 0", "x serve --device cuda:1,cuda:1"]
        {
            assert!(Cli::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
