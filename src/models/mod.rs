//! Which models there are and where their files lie.

mod catalog;
mod demo;
mod error;
mod folders;
mod hub;
mod locating;
mod random;
mod source;

pub use catalog::{Catalog, CatalogEntry, DEFAULT_MODEL};
pub use demo::DEMO_MODEL;
pub use error::ModelError;
pub use folders::{HubSettings, ModelFolders};
pub use hub::{DownloadRecord, FileRecord, sha256_of};
pub use locating::{LocateStep, Locating};
pub use random::RandomSize;
pub use source::{Location, ModelFiles, ModelSource};
