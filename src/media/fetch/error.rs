//! Why nothing was fetched.
//!
//! A message names scheme and host of the address that the caller gave and no more of it: the rest may hold secrets. Where
//! redirects led is not told, nor which address a host has: that would answer questions about the server's own network.

use std::time::Duration;

use thiserror::Error;

/// Why nothing was fetched. All but [`Self::TimedOut`] are about what the caller asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The text is no address that could be fetched from.
    #[error("the address cannot be fetched: {reason}")]
    InvalidUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// A redirect leads to something that could not be fetched from.
    #[error("{site} cannot be fetched: it redirects to another address, and {reason}")]
    InvalidRedirect {
        /// Scheme and host.
        site: String,
        /// What is wrong with the other address.
        reason: String,
    },
    /// The host has no address, or one that is not public, or the port is not a web server's; which of them is not told.
    #[error("{site} cannot be fetched: the address is not open to this server")]
    Refused {
        /// Scheme and host.
        site: String,
    },
    /// There was no connection, or it broke, or what came over it is not HTTP.
    #[error("{site} cannot be fetched")]
    Unreachable {
        /// Scheme and host.
        site: String,
    },
    /// The answer is something else than a file.
    #[error("{site} cannot be fetched: the server answered with status {status}")]
    Status {
        /// Scheme and host.
        site: String,
        /// HTTP status.
        status: u16,
    },
    /// The file is larger than what is fetched.
    #[error("{site} cannot be fetched: the file has more than {max_bytes} bytes")]
    TooLarge {
        /// Scheme and host.
        site: String,
        /// Most bytes.
        max_bytes: usize,
    },
    /// Redirects lead on and on.
    #[error("{site} cannot be fetched: it redirects more than {max_redirects} times")]
    TooManyRedirects {
        /// Scheme and host.
        site: String,
        /// Most redirects.
        max_redirects: usize,
    },
    /// Everything together took too long.
    #[error("{site} cannot be fetched: it took longer than {limit:?}")]
    TimedOut {
        /// Scheme and host.
        site: String,
        /// Longest time.
        limit: Duration,
    },
}
