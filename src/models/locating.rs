//! How a model's files are looked for.

use tokio_util::sync::CancellationToken;

use super::folders::ModelFolders;

/// How far looking for a model's files, or fetching them, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocateStep {
    /// The disk is looked at, and the hub is asked.
    Searching,
    /// Another process fetches the same files.
    Waiting,
    /// The hub sends them.
    Downloading {
        /// Bytes that are here.
        done_bytes: u64,
        /// Bytes of all files.
        total_bytes: u64,
    },
    /// What came is compared with the hub's hashes.
    Checking,
}

/// How to look.
#[derive(Clone, Copy)]
pub struct Locating<'a> {
    /// Where.
    pub folders: &'a ModelFolders,
    /// Whether the hub is asked for a newer state although there is one here.
    pub update: bool,
    /// Told how far it is.
    pub tell: &'a (dyn Fn(LocateStep) + Sync),
    /// Breaks it off.
    pub cancel: &'a CancellationToken,
}
