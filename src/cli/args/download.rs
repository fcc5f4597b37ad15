//! Options of `download` and `verify`.

use std::path::PathBuf;

use clap::Args;

/// Options of `download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Name of a published model, or all
    pub model: String,
    /// Ask the hub for newer files although there are some here
    #[arg(long)]
    pub update: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of a checkpoint
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
