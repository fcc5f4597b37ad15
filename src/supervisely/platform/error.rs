//! Why the platform did not do what it was asked.

use reqwest::StatusCode;
use thiserror::Error;

/// Why a call to the platform failed. No variant holds a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlatformError {
    /// No address is known.
    #[error("no platform is configured: set SERVER_ADDRESS")]
    NoAddress,
    /// Neither the caller nor the environment has a token.
    #[error("the request has no api_token, and this server has none of its own (API_TOKEN)")]
    NoToken,
    /// It answered with an error that asking again does not help against, or did so to the last.
    #[error("{method}: the platform answered {status}: {message}")]
    Refused {
        /// The call, such as `images.info`.
        method: &'static str,
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// It could not be reached, or did not answer in time.
    #[error("{method}: the platform cannot be reached: {reason}")]
    Unreachable {
        /// The call.
        method: &'static str,
        /// What happened.
        reason: String,
    },
    /// It answered something that the call does not mean.
    #[error("{method}: the platform's answer makes no sense: {reason}")]
    Nonsense {
        /// The call.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is larger than what is read.
    #[error("{method}: the file has more than {most} bytes")]
    TooLarge {
        /// The call.
        method: &'static str,
        /// Most bytes.
        most: u64,
    },
}

impl PlatformError {
    /// Whether it says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether it says that a name is taken.
    pub(super) fn is_name_taken(&self) -> bool {
        self.status() == Some(StatusCode::BAD_REQUEST)
    }

    /// Whether whoever asks may not: a wrong token, or no right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }

    /// Whether it says that the request makes no sense to it.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
    }

    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => StatusCode::from_u16(*status).ok(),
            _ => None,
        }
    }
}
