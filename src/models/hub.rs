//! Fetches published checkpoints from the model hub, or finds them in its cache on this machine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use hf_hub::{HFClient, HFError};

use crate::florence::{PICKLE_FILE, SAFETENSORS_FILE, TOKENIZER_FILE, config};

/// Files that every checkpoint needs; the weights come on top, from whichever file there is.
const FILES: [&str; 3] = [config::CONFIG_FILE, config::PREPROCESSOR_FILE, TOKENIZER_FILE];
/// Steps of a download that are worth a line.
const PROGRESS_STEPS: u64 = 50;
/// Threads of the runtime that the hub's client runs on.
const RUNTIME_THREADS: usize = 2;

/// Gives the folder that holds the repository's files, after fetching those that the cache lacks.
///
/// # Errors
/// Why not, in one line.
pub fn fetch(repository: &str, progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let (owner, name) = repository.split_once('/').ok_or_else(|| format!("{repository} is no repository"))?;
    let (sender, events) = mpsc::channel();
    std::thread::scope(|scope| {
        let download = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(RUNTIME_THREADS)
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.block_on(fetch_files(owner, name, sender)).map_err(|error| one_line(&error.to_string()))
        });
        // The channel closes when the download ends.
        for event in events {
            progress(&event);
        }
        download.join().unwrap_or_else(|_| Err("the download broke off".to_owned()))
    })
}

async fn fetch_files(owner: &str, name: &str, events: mpsc::Sender<String>) -> Result<PathBuf, HFError> {
    let client = HFClient::new()?;
    let repository = client.model(owner, name);
    let cached = async |file: &str| repository.download_file().filename(file).local_files_only(true).send().await;
    let download = async |file: &str| {
        let reporter = Reporter { file: file.to_owned(), events: events.clone(), step: AtomicU64::new(0) };
        repository.download_file().filename(file).progress(Progress::new(reporter)).send().await
    };
    // What is here already is taken in either form; a machine without a network must not ask for the other one.
    let weights = match (cached(SAFETENSORS_FILE).await, cached(PICKLE_FILE).await) {
        (Ok(path), _) | (Err(_), Ok(path)) => path,
        _ => match download(SAFETENSORS_FILE).await {
            Err(HFError::EntryNotFound { .. }) => download(PICKLE_FILE).await?,
            other => other?,
        },
    };
    for file in FILES {
        if cached(file).await.is_err() {
            download(file).await?;
        }
    }
    Ok(weights.parent().map_or_else(PathBuf::new, PathBuf::from))
}

/// Turns the hub client's events into lines.
struct Reporter {
    file: String,
    events: mpsc::Sender<String>,
    /// The last step that was told.
    step: AtomicU64,
}

impl ProgressHandler for Reporter {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        match event {
            DownloadEvent::Start { total_bytes, .. } => {
                self.tell(format!("fetching {}, {} MB", self.file, megabytes(*total_bytes)));
            }
            DownloadEvent::Progress { files } => {
                files.iter().for_each(|file| self.tell_amount(file.bytes_completed, file.total_bytes));
            }
            DownloadEvent::AggregateProgress { bytes_completed, total_bytes, .. } => {
                self.tell_amount(*bytes_completed, *total_bytes);
            }
            DownloadEvent::Complete => self.tell(format!("fetched {}", self.file)),
        }
    }
}

impl Reporter {
    /// Tells how far it is, unless that was told a moment ago.
    fn tell_amount(&self, done: u64, total: u64) {
        let step = (done * PROGRESS_STEPS).checked_div(total).unwrap_or(0);
        if self.step.fetch_max(step, Ordering::Relaxed) < step {
            self.tell(format!("fetching {}: {} of {} MB", self.file, megabytes(done), megabytes(total)));
        }
    }

    fn tell(&self, line: String) {
        // Nobody listening any more is no reason to stop.
        let _ = self.events.send(line);
    }
}

const fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
