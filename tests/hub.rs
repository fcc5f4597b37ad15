//! Fetching a published checkpoint from a hub on loopback that serves a tiny one under its name, and everything that
//! may go wrong on the way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "hub/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serve_florence_2::models::{
    DownloadRecord, HubSettings, LocateStep, Locating, Location, ModelError, ModelFolders, ModelSource,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use server::{Faults, Hub, REPOSITORY};

const NAME: &str = "Florence-2-base";
const PATIENCE: Duration = Duration::from_secs(60);
/// A file of the tiny checkpoint that the hub serves as a large one.
const LARGE_FILE: &str = "pytorch_model.bin";

/// A machine with nothing on it.
struct Machine {
    folder: TempDir,
    folders: ModelFolders,
}

impl Machine {
    fn new(hub: &Hub) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = HubSettings {
            endpoint: hub.endpoint.clone(),
            token: Some("hf_a-token".to_owned()),
            cache: folder.path().join("hub"),
            is_offline: false,
        };
        let folders =
            ModelFolders { downloads: folder.path().join("downloads"), image: vec![folder.path().join("image")], hub };
        Self { folder, folders }
    }

    fn locate(&self) -> Result<PathBuf, ModelError> {
        self.locate_with(false, &CancellationToken::new(), &|_| {})
    }

    fn update(&self) -> Result<PathBuf, ModelError> {
        self.locate_with(true, &CancellationToken::new(), &|_| {})
    }

    /// The folder, and why it is not the newest.
    fn update_with_reason(&self) -> (PathBuf, Option<String>) {
        let cancel = CancellationToken::new();
        let how = Locating { folders: &self.folders, update: true, tell: &|_| {}, cancel: &cancel };
        let found = source().locate(&how).unwrap();
        (PathBuf::from(found.files.location()), found.stale)
    }

    fn locate_with(
        &self,
        update: bool,
        cancel: &CancellationToken,
        tell: &(dyn Fn(LocateStep) + Sync),
    ) -> Result<PathBuf, ModelError> {
        let found = source().locate(&Locating { folders: &self.folders, update, tell, cancel })?;
        Ok(PathBuf::from(found.files.location()))
    }

    fn downloaded(&self) -> PathBuf {
        self.folders.downloads.join(NAME)
    }

    fn partial(&self) -> PathBuf {
        self.folders.downloads.join(format!(".{NAME}.partial"))
    }
}

fn source() -> ModelSource {
    ModelSource::choose(Some(NAME), None).unwrap()
}

fn copy_checkpoint(target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for file in std::fs::read_dir(server::checkpoint()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), target.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_checkpoint_is_fetched_once_and_found_again() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    assert_eq!(source().location(&machine.folders), Location::Hub);
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    assert_eq!(hub.take_sent_bytes(), hub.total_bytes());
    let record = DownloadRecord::read(&machine.downloaded()).unwrap();
    assert_eq!((record.repository.as_str(), record.files.len()), (REPOSITORY, 4));
    assert_eq!(record.check(&machine.downloaded()), None);
    assert!(!machine.partial().exists());

    let asked = hub.asked().len();
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    assert_eq!(source().location(&machine.folders), Location::Disk);
    assert_eq!(hub.asked().len(), asked, "nobody was asked");
}

#[test]
fn the_token_is_for_the_hub_and_not_for_where_it_leads() {
    let hub = Hub::start(Faults::default());
    Machine::new(&hub).locate().unwrap();
    let asked = hub.asked();
    let elsewhere: Vec<_> = asked.iter().filter(|asked| asked.line.contains("/store/")).collect();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|asked| !asked.has_token));
    assert!(asked.iter().filter(|asked| !asked.line.contains("/store/")).all(|asked| asked.has_token));
}

#[test]
fn downloads_go_before_the_image_and_that_before_the_hubs_own_cache() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    let cached = machine.folder.path().join("hub/models--microsoft--Florence-2-base");
    copy_checkpoint(&cached.join("snapshots/abc"));
    std::fs::create_dir(cached.join("refs")).unwrap();
    std::fs::write(cached.join("refs/main"), "abc").unwrap();
    assert_eq!(machine.locate(), Ok(cached.join("snapshots/abc")));
    let image = machine.folder.path().join("image").join(NAME);
    copy_checkpoint(&image);
    assert_eq!(machine.locate(), Ok(image.clone()));
    assert_eq!(source().location(&machine.folders), Location::Image);
    copy_checkpoint(&machine.downloaded());
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    std::fs::remove_file(machine.downloaded().join("tokenizer.json")).unwrap();
    assert_eq!(machine.locate(), Ok(image), "a folder without a file is none");
    assert!(hub.asked().is_empty());
}

#[test]
fn a_connection_that_breaks_costs_what_it_had_not_sent() {
    let hub = Hub::start(Faults { cuts: (3, 64 << 10), refusals: 2, ..Faults::default() });
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    assert_eq!(hub.take_sent_bytes(), hub.total_bytes());
    assert_eq!(std::fs::read(machine.downloaded().join(LARGE_FILE)).unwrap(), hub.file(LARGE_FILE));
}

#[test]
fn what_comes_with_another_hash_is_thrown_away() {
    let hub = Hub::start(Faults { wrong_hash: true, ..Faults::default() });
    let machine = Machine::new(&hub);
    let error = machine.locate().unwrap_err().to_string();
    assert!(error.contains("SHA-256") && error.contains(NAME) && !error.contains('\n'), "{error}");
    assert!(!machine.downloaded().exists());
    hub.set_faults(Faults::default());
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
}

#[test]
fn small_files_are_checked_as_well() {
    let hub = Hub::start(Faults { spoilt: Some("tokenizer.json"), ..Faults::default() });
    let machine = Machine::new(&hub);
    let error = machine.locate().unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("SHA-1"), "{error}");
    assert!(!machine.downloaded().exists());
    hub.set_faults(Faults::default());
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
}

#[test]
fn a_file_that_is_there_is_kept_when_another_one_fails() {
    // The small ones are refused until the program gives up; the large one is here by then.
    let hub = Hub::start(Faults { refuses_small: true, ..Faults::default() });
    let machine = Machine::new(&hub);
    machine.locate().unwrap_err();
    assert!(!machine.downloaded().exists());
    assert_eq!(hub.take_sent_bytes(), hub.file(LARGE_FILE).len() as u64);
    hub.set_faults(Faults::default());
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    assert_eq!(hub.take_sent_bytes(), hub.total_bytes() - hub.file(LARGE_FILE).len() as u64);
}

#[test]
fn a_hub_that_asks_for_patience_gets_it_for_its_list_as_well() {
    let hub = Hub::start(Faults { impatience: (2, 1), ..Faults::default() });
    let machine = Machine::new(&hub);
    let start = Instant::now();
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    assert!(start.elapsed() >= Duration::from_secs(2), "it asked again too early");
    assert_eq!(hub.asked().iter().filter(|asked| asked.line.contains("/api/")).count(), 4, "two were refused");
}

#[test]
fn a_folder_of_the_users_own_is_never_replaced() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    copy_checkpoint(&machine.downloaded());
    std::fs::write(machine.downloaded().join("config.json"), "{}").unwrap();
    let (folder, stale) = machine.update_with_reason();
    assert_eq!(folder, machine.downloaded());
    assert!(stale.is_some_and(|reason| reason.contains("was not downloaded by this program")));
    assert_eq!(std::fs::read_to_string(machine.downloaded().join("config.json")).unwrap(), "{}");
    std::fs::remove_file(machine.downloaded().join("tokenizer.json")).unwrap();
    let error = machine.locate().unwrap_err().to_string();
    assert!(error.contains("move it away"), "{error}");
    assert!(machine.downloaded().join("config.json").exists());
    assert!(hub.asked().is_empty());
}

#[test]
fn a_download_of_another_revision_is_fetched_anew_and_used_if_that_fails() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    let mut record = DownloadRecord::read(&machine.downloaded()).unwrap();
    assert_eq!(record.revision.as_deref(), Some("main"));
    record.revision = Some("v0".to_owned());
    record.write(&machine.downloaded()).unwrap();
    let config = [hub.file("config.json"), b"\n".to_vec()].concat();
    hub.change("config.json", config.clone());
    let mut offline = machine.folders.clone();
    offline.hub.is_offline = true;
    let how = Locating { folders: &offline, update: false, tell: &|_| {}, cancel: &CancellationToken::new() };
    assert!(source().locate(&how).unwrap().stale.is_some());
    assert_eq!(machine.locate(), Ok(machine.downloaded()), "without an update");
    assert_eq!(std::fs::read(machine.downloaded().join("config.json")).unwrap(), config);
    assert_eq!(DownloadRecord::read(&machine.downloaded()).unwrap().revision.as_deref(), Some("main"));
}

#[test]
fn an_update_that_was_cut_between_its_steps_is_mended_at_a_look() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    let asked = hub.asked().len();
    let old = machine.folders.downloads.join(format!(".{NAME}.old"));
    std::fs::rename(machine.downloaded(), &old).unwrap();
    assert_eq!(source().location(&machine.folders), Location::Disk);
    assert!(machine.downloaded().exists() && !old.exists());
    std::fs::rename(machine.downloaded(), &old).unwrap();
    assert_eq!(machine.locate(), Ok(machine.downloaded()));
    assert_eq!(hub.asked().len(), asked, "nobody was asked");
}

#[test]
fn a_download_can_be_broken_off_and_goes_on_where_it_was() {
    let hub = Hub::start(Faults { pause: Duration::from_millis(30), ..Faults::default() });
    let machine = Machine::new(&hub);
    let cancel = CancellationToken::new();
    let total = hub.total_bytes();
    let stop = cancel.clone();
    let tell = move |step| {
        if let LocateStep::Downloading { done_bytes, total_bytes } = step {
            assert_eq!(total_bytes, total);
            if done_bytes > total / 3 {
                stop.cancel();
            }
        }
    };
    assert_eq!(machine.locate_with(false, &cancel, &tell), Err(ModelError::Cancelled));
    assert!(!machine.downloaded().exists());
    hub.take_sent_bytes();
    hub.set_faults(Faults::default());
    machine.locate().unwrap();
    assert!(hub.take_sent_bytes() < total * 4 / 5, "what was there was not sent again");
}

#[test]
fn an_update_fetches_what_has_changed() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    hub.take_sent_bytes();
    machine.update().unwrap();
    assert_eq!(hub.take_sent_bytes(), 0, "the hub has nothing newer");

    let config = [hub.file("config.json"), b"\n".to_vec()].concat();
    hub.change("config.json", config.clone());
    machine.locate().unwrap();
    assert_eq!(hub.take_sent_bytes(), 0, "nobody asked for it");
    assert_eq!(machine.update(), Ok(machine.downloaded()));
    assert_eq!(hub.take_sent_bytes(), config.len() as u64, "the other files are the same");
    assert_eq!(std::fs::read(machine.downloaded().join("config.json")).unwrap(), config);
    assert_eq!(DownloadRecord::read(&machine.downloaded()).unwrap().check(&machine.downloaded()), None);
}

#[test]
fn an_update_mends_what_is_damaged() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    hub.take_sent_bytes();
    let (weights, config) = (machine.downloaded().join("pytorch_model.bin"), machine.downloaded().join("config.json"));
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(machine.update(), Ok(machine.downloaded()));
    assert_eq!(hub.take_sent_bytes(), whole.len() as u64, "it was cut");
    assert_eq!(std::fs::read(&weights).unwrap(), whole);

    let mut changed = std::fs::read(&config).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&config, &changed).unwrap();
    machine.locate().unwrap();
    assert_eq!(hub.take_sent_bytes(), 0, "nobody asked for it");
    machine.update().unwrap();
    assert_eq!(hub.take_sent_bytes(), changed.len() as u64, "it is as long, and something else");
    assert_eq!(DownloadRecord::read(&machine.downloaded()).unwrap().check(&machine.downloaded()), None);
}

#[test]
fn without_a_hub_the_present_files_are_used() {
    let hub = Hub::start(Faults::default());
    let mut machine = Machine::new(&hub);
    machine.folders.hub.is_offline = true;
    let error = machine.locate().unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("--weights"), "{error}");
    assert!(hub.asked().is_empty());
    copy_checkpoint(&machine.downloaded());
    assert_eq!(machine.update(), Ok(machine.downloaded()));
    machine.folders.hub = HubSettings { endpoint: "http://127.0.0.1:9".to_owned(), ..HubSettings::default() };
    assert_eq!(machine.update(), Ok(machine.downloaded()));
}

fn program(machine: &Machine, hub: &Hub, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"));
    command
        .args(arguments)
        .env("HF_ENDPOINT", &hub.endpoint)
        .env("APPS_CACHE_DIR", &machine.folders.downloads)
        .env("HOME", machine.folder.path())
        .env_remove("HF_HOME")
        .env_remove("HF_HUB_OFFLINE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let hub = Hub::start(Faults { pause: Duration::from_millis(30), ..Faults::default() });
    let machine = Machine::new(&hub);
    let total = hub.total_bytes();
    let mut child = program(&machine, &hub, &["download", NAME]).spawn().unwrap();
    let bytes_here = || {
        let files = std::fs::read_dir(machine.partial()).into_iter().flatten();
        files.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum::<u64>()
    };
    wait_for(|| bytes_here() > total / 2);
    child.kill().unwrap();
    child.wait().unwrap();
    // What is on its way to the dead process still counts as sent.
    std::thread::sleep(Duration::from_millis(300));
    hub.take_sent_bytes();
    hub.set_faults(Faults::default());
    let again = end(program(&machine, &hub, &["download", "florence-2-BASE"]).spawn().unwrap());
    assert!(again.status.success(), "{again:?}");
    let sent = hub.take_sent_bytes();
    assert!(sent * 100 <= total * 55, "{sent} of {total} bytes were sent again");

    let verified = end(program(&machine, &hub, &["verify", machine.downloaded().to_str().unwrap()]).spawn().unwrap());
    assert!(verified.status.success(), "{verified:?}");
    std::fs::write(machine.downloaded().join("tokenizer.json"), "{}").unwrap();
    let broken = end(program(&machine, &hub, &["verify", machine.downloaded().to_str().unwrap()]).spawn().unwrap());
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8(broken.stderr).unwrap().contains("tokenizer.json"));
}

#[test]
fn an_update_that_could_not_be_made_is_told() {
    let hub = Hub::start(Faults::default());
    let machine = Machine::new(&hub);
    machine.locate().unwrap();
    hub.set_faults(Faults { missing: Some("config.json"), ..Faults::default() });
    hub.change("config.json", b"{}".to_vec());
    let output = end(program(&machine, &hub, &["download", NAME, "--update"]).spawn().unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stays as it was") && stderr.contains("config.json"), "{stderr}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(NAME), "where it lies is told all the same");
    let plain = end(program(&machine, &hub, &["download", NAME]).spawn().unwrap());
    assert!(plain.status.success(), "{plain:?}");
}

#[test]
fn two_processes_fetch_once() {
    let hub = Hub::start(Faults { pause: Duration::from_millis(5), ..Faults::default() });
    let machine = Machine::new(&hub);
    let children = [0, 1].map(|_| program(&machine, &hub, &["download", NAME]).spawn().unwrap());
    for child in children {
        let output = end(child);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(hub.take_sent_bytes(), hub.total_bytes());
}
