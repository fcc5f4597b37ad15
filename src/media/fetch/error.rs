//! Why nothing was fetched. No text holds more of the address than where it leads: the rest may be secret.

use thiserror::Error;

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// It is no address that could be fetched from.
    #[error("the address cannot be fetched: {reason}")]
    InvalidUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// It leads where strangers may not go, or nowhere; which of the two is not told.
    #[error("{origin} cannot be fetched: it is not a public address")]
    Closed {
        /// Scheme, host and port.
        origin: String,
    },
    /// The connection failed or broke.
    #[error("{origin} cannot be fetched: there is no answer")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
    },
    /// It answered with something else than a file.
    #[error("{origin} cannot be fetched: the server answered {status}")]
    Status {
        /// Scheme, host and port.
        origin: String,
        /// HTTP status.
        status: u16,
    },
    /// More bytes than are fetched.
    #[error("the file has more than {most} bytes")]
    TooLarge {
        /// Most bytes.
        most: usize,
    },
    /// It led on and on.
    #[error("there are more than {most} redirects")]
    TooManyRedirects {
        /// Most redirects.
        most: usize,
    },
    /// It took too long.
    #[error("fetching took more than {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
}
