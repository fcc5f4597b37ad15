//! The platform's REST interface, as far as a serving app needs it.
//!
//! [`PlatformAccess`] decides whom to ask and on whose behalf; [`Platform`] is the result, a client for one address and one
//! token. A request's body may name a token, which is then used in place of our own; it may name an address, which is used only
//! if it is the configured one or on the list of allowed ones. So no body can make us send a token elsewhere.

mod access;
mod annotations;
mod error;
mod images;
mod names;
mod pages;
mod projects;
mod records;
mod retry;
mod tasks;
mod transport;
mod videos;

pub use access::{Address, PlatformAccess, PlatformSettings, Token};
pub use error::PlatformError;
pub use images::NewImage;
pub use names::{MAX_NAMES, free_names, number_suffix};
pub use projects::{NewDataset, NewProject};
pub use records::{DatasetRecord, ImageRecord, ProjectRecord, StoredAnnotation, VideoRecord};
pub use retry::Retries;
pub use tasks::is_truthy;
pub use transport::Platform;
pub use videos::{Figure, Notice};
