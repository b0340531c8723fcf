//! Errors of a reconcile and what the queue does about them.

use std::time::Duration;

/// Why a reconcile did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Kube(Box<kube::Error>),
    /// A value could not be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Trying again without a change of the object is of no use.
    #[error("{0}")]
    Terminal(String),
    /// Something outside is not as it has to be; try again with growing delay.
    #[error("{0}")]
    Transient(String),
    /// Not yet; try again after a known time.
    #[error("{reason}")]
    After {
        /// What is being waited for.
        reason: String,
        /// How long.
        duration: Duration,
    },
}

/// What the queue does with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Wait for a change of the object.
    Terminal,
    /// Again with growing delay.
    Transient,
    /// Again at once when the cache has caught up: somebody else wrote.
    Conflict,
    /// Again after this time.
    After(Duration),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Error::Kube(Box::new(error))
    }
}

impl Error {
    /// The class of this error.
    pub fn class(&self) -> Class {
        match self {
            Error::Kube(_) if self.is_code(409) => Class::Conflict,
            Error::Kube(_) | Error::Transient(_) => Class::Transient,
            Error::Json(_) | Error::Terminal(_) => Class::Terminal,
            Error::After { duration, .. } => Class::After(*duration),
        }
    }

    /// True if the API server answered this HTTP status.
    pub fn is_code(&self, code: u16) -> bool {
        matches!(self, Error::Kube(error) if matches!(&**error, kube::Error::Api(status) if status.code == code))
    }

    /// True if the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is_code(404)
    }

    /// True if the API server knows no object of this name, which may have its namespace in front: `default/web`.
    pub fn misses(&self, object: &str) -> bool {
        let name = object.rsplit('/').next();
        let details = match self {
            Error::Kube(error) => match &**error {
                kube::Error::Api(status) if status.code == 404 => status.details.as_ref(),
                _ => None,
            },
            _ => None,
        };
        details.is_some_and(|details| Some(details.name.as_str()) == name)
    }

    /// True if the object is there already (and not merely changed by somebody else).
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Kube(error) if matches!(&**error, kube::Error::Api(status) if status.reason == "AlreadyExists"))
    }

    /// The sentence of the API server, or of the error itself.
    pub fn sentence(&self) -> String {
        match self {
            Error::Kube(error) => match &**error {
                kube::Error::Api(status) => status.message.clone(),
                other => root_cause(other).to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// `Ok(None)` where the object was gone already.
pub fn gone_is_fine<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the rest was caused by: `Connection refused`, not that a service failed.
fn root_cause(error: &dyn std::error::Error) -> &dyn std::error::Error {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::{Status, StatusDetails};

    #[test]
    fn an_object_that_is_gone_is_told_from_another() {
        let answer = |code, name: &str| {
            let details = StatusDetails {
                name: name.into(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
                retry_after_seconds: 0,
            };
            let status = Status::failure("", "").with_code(code).with_details(details);
            Error::from(kube::Error::Api(Box::new(status)))
        };
        for (error, object, is_gone) in [
            (answer(404, "web"), "default/web", true),
            (answer(404, "node-1"), "node-1", true),
            (answer(404, "web"), "default/api", false),
            (answer(404, ""), "default/web", false),
            (answer(500, "web"), "default/web", false),
            (Error::Transient("web".into()), "default/web", false),
        ] {
            assert_eq!(error.misses(object), is_gone, "{object}: {error:?}");
        }
    }
}
