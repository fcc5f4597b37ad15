//! Which models there are and where their files lie.

mod catalog;
mod demo;
mod error;
mod hub;
mod locating;
mod random;
mod source;

pub use catalog::{Catalog, CatalogEntry, DEFAULT_MODEL};
pub use demo::DEMO_MODEL;
pub use error::ModelError;
pub use locating::{LocateStep, Locating, ModelFolders};
pub use random::RandomSize;
pub use source::{ModelFiles, ModelSource};
