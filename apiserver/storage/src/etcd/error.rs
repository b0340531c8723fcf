//! What can go wrong with etcd, by what it means for a write.

use std::path::PathBuf;

/// Why etcd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("{}: this is no address of an etcd member", url)]
    Endpoint { url: String },
    #[error("{} could not be read", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("TLS to etcd can't be set up")]
    Tls(#[source] tonic::transport::Error),
    /// Nothing was sent.
    #[error("etcd can't be reached")]
    Unreachable(#[source] tonic::Status),
    /// Whether a write happened is not known.
    #[error("the connection to etcd broke")]
    Broken(#[source] tonic::Status),
    /// Whether a write happened is not known.
    #[error("etcdserver: request timed out")]
    TimedOut,
    /// etcd's own words. Whether a write happened is not known where they are of a member that lost its leader.
    #[error("{}", .0.message())]
    Refused(tonic::Status),
    /// This process's copy of the state does not keep up: what it holds may be old.
    #[error("the watch of etcd is behind: it has come to revision {reached} of {wanted}")]
    Behind { reached: u64, wanted: u64 },
    /// etcd lost what this process has seen.
    #[error(
        "etcd is at revision {told} and was at {known} before: it was restored, and this server must be started again"
    )]
    WentBack { known: u64, told: u64 },
    #[error("the value of {key} can't be read: {why}")]
    Value { key: String, why: String },
    #[error("etcd answered with a message that makes no sense")]
    Nonsense,
    /// A defect; where it is says the log.
    #[error("asking etcd ended with a panic")]
    Panic,
}

impl EtcdError {
    /// Whether another member, or this one a moment later, may well do it, and nothing is left of this try.
    pub(super) fn was_not_done(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // The check comes before the request is looked at: it is asked for with each.
            Self::Refused(status) => status.message() == NO_LEADER,
            _ => false,
        }
    }

    /// Whether the member is to be left for another; a moment later it may answer.
    pub fn is_of_the_member(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::TimedOut => true,
            Self::Refused(status) => {
                matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
            }
            _ => false,
        }
    }

    /// Whether etcd does not know who asks, or not any more. Then it did nothing.
    pub(super) fn wants_token(&self) -> bool {
        match self {
            Self::Refused(status) => {
                status.code() == tonic::Code::Unauthenticated
                    || [NO_NAME, OLD_USERS].contains(&status.message())
            }
            _ => false,
        }
    }

    /// Whether the history that was asked for is gone.
    pub(super) fn is_compacted(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == tonic::Code::OutOfRange)
    }

    /// The error and its causes, in one line.
    pub fn chain(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

/// What a member says that was told to refuse what needs a leader.
const NO_LEADER: &str = "etcdserver: no leader";

/// What is said to who sends no token where etcd has users.
const NO_NAME: &str = "etcdserver: user name is empty";

/// What is said to a token that is older than a change of etcd's users.
const OLD_USERS: &str = "etcdserver: revision of auth store is old";

impl From<tonic::Status> for EtcdError {
    fn from(status: tonic::Status) -> Self {
        // What etcd said itself has no cause in this process.
        let first: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&status);
        let mut causes = std::iter::successors(first, |error| error.source()).peekable();
        let broken = causes.peek().is_some();
        // Then nothing was sent.
        let unreachable = causes.any(|error| error.is::<tonic::ConnectError>());
        match (unreachable, broken) {
            (true, _) => Self::Unreachable(status),
            (false, true) => Self::Broken(status),
            (false, false) => Self::Refused(status),
        }
    }
}
