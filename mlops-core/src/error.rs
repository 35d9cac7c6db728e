//! The one error type of the SDK and its translation into protocol codes.
//!
//! A kind exists only where a caller would act differently. Message text is for people and may
//! change; [`ErrorKind`] and the keys of [`Error::context`] are API. Messages are lower case, name
//! the thing, what was expected and what was found, and never carry a secret or a row's value.

use std::{error::Error as StdError, fmt};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong, in the vocabulary of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already and is different from what was asked for.
    AlreadyExists,
    /// The request is wrong whatever the state of the system.
    InvalidArgument,
    /// The request is right but the system is not in a state to perform it.
    FailedPrecondition,
    /// Another writer was faster; read again and retry (gRPC `ABORTED`).
    Conflict,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// A quota, queue, memory or disk limit was reached.
    ResourceExhausted,
    /// The deadline passed before the work was done.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// A dependency is unreachable for now.
    Unavailable,
    /// Stored data is damaged or missing.
    DataLoss,
    /// This back end does not offer the operation.
    Unimplemented,
    /// A broken invariant: a defect in this software.
    Internal,
}

/// Every kind, with its HTTP status, gRPC code, and MLflow `error_code`.
const CODES: [(ErrorKind, u16, i32, &str); 14] = [
    (ErrorKind::NotFound, 404, 5, "RESOURCE_DOES_NOT_EXIST"),
    (ErrorKind::AlreadyExists, 409, 6, "RESOURCE_ALREADY_EXISTS"),
    (ErrorKind::InvalidArgument, 400, 3, "INVALID_PARAMETER_VALUE"),
    (ErrorKind::FailedPrecondition, 400, 9, "INVALID_STATE"),
    (ErrorKind::Conflict, 409, 10, "RESOURCE_CONFLICT"),
    (ErrorKind::PermissionDenied, 403, 7, "PERMISSION_DENIED"),
    (ErrorKind::Unauthenticated, 401, 16, "UNAUTHENTICATED"),
    (ErrorKind::ResourceExhausted, 429, 8, "RESOURCE_EXHAUSTED"),
    (ErrorKind::DeadlineExceeded, 504, 4, "DEADLINE_EXCEEDED"),
    (ErrorKind::Cancelled, 499, 1, "CANCELLED"),
    (ErrorKind::Unavailable, 503, 14, "TEMPORARILY_UNAVAILABLE"),
    (ErrorKind::DataLoss, 500, 15, "DATA_LOSS"),
    (ErrorKind::Unimplemented, 501, 12, "NOT_IMPLEMENTED"),
    (ErrorKind::Internal, 500, 13, "INTERNAL_ERROR"),
];

impl ErrorKind {
    fn row(self) -> (u16, i32, &'static str) {
        let row = CODES.iter().find(|row| row.0 == self);
        row.map_or((500, 13, "INTERNAL_ERROR"), |row| (row.1, row.2, row.3))
    }

    /// The HTTP status that a REST adapter answers with.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.row().0
    }

    /// The numeric gRPC status code.
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        self.row().1
    }

    /// The `error_code` of MLflow's REST API.
    #[must_use]
    pub fn mlflow_code(self) -> &'static str {
        self.row().2
    }

    /// The kind that an `error_code` of MLflow's REST API stands for; none when the code is unknown here.
    #[must_use]
    pub fn from_mlflow_code(code: &str) -> Option<Self> {
        match code {
            "ABORTED" => Some(Self::Conflict),
            "NOT_FOUND" | "ENDPOINT_NOT_FOUND" => Some(Self::NotFound),
            "ALREADY_EXISTS" => Some(Self::AlreadyExists),
            _ => CODES.iter().find(|row| row.3 == code).map(|row| row.0),
        }
    }

    /// The kind that a numeric gRPC status code stands for; none for 0, which is success, and for codes that no kind has.
    #[must_use]
    pub fn from_grpc_code(code: i32) -> Option<Self> {
        CODES.iter().find(|row| row.2 == code).map(|row| row.0)
    }

    /// The kind that an HTTP status of a remote peer stands for.
    #[must_use]
    pub fn from_http_status(status: u16) -> Self {
        let row = CODES.iter().find(|row| row.1 == status);
        match row {
            Some(row) => row.0,
            None if (400..500).contains(&status) => Self::InvalidArgument,
            None => Self::Unavailable,
        }
    }

    /// The kind of an error that PostgreSQL reports by its SQLSTATE code (PostgreSQL documentation, appendix A).
    #[must_use]
    pub fn from_sqlstate(code: &str) -> Self {
        match code {
            // A row, a table or the type of its rows, some of which another transaction made at the same moment.
            "23505" | "42P07" | "42710" => Self::AlreadyExists,
            // Also a lock that was not had in the time that the server is set to.
            "40001" | "40P01" | "55P03" => Self::Conflict,
            // The database is gone.
            "57P04" => Self::FailedPrecondition,
            // A constraint; or the server or a transaction of it takes no writes.
            "23503" | "23514" | "25006" => Self::FailedPrecondition,
            "53100" | "53200" => Self::ResourceExhausted,
            "42501" | "28000" | "28P01" => Self::PermissionDenied,
            "XX001" | "XX002" => Self::DataLoss,
            // Too many connections, and a statement that took too long.
            "53300" | "57014" => Self::Unavailable,
            // The connection broke; the server stops or starts, or has ended this connection.
            code if code.starts_with("08") || code.starts_with("57P") => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether calling again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// The same call fails the same way.
    Never,
    /// Read the state again, then repeat.
    Same,
    /// Wait, then repeat.
    AfterBackoff,
}

/// What failed, why, and whether to try again. One word wide.
///
/// ```
/// use mlops_core::{Error, ErrorKind};
///
/// let error = Error::not_found("model \"churn\" has no version 7").with("model", "churn");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.kind().http_status(), 404);
/// assert_eq!(error.to_string(), "model \"churn\" has no version 7");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<BoxError>,
}

macro_rules! kind_constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(
            #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
            #[must_use]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            }
        )*
    };
}

impl Error {
    /// An error of `kind`; prefer the constructor named after the kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), source: None }))
    }

    kind_constructors! {
        not_found => NotFound,
        already_exists => AlreadyExists,
        invalid_argument => InvalidArgument,
        failed_precondition => FailedPrecondition,
        conflict => Conflict,
        permission_denied => PermissionDenied,
        unauthenticated => Unauthenticated,
        resource_exhausted => ResourceExhausted,
        deadline_exceeded => DeadlineExceeded,
        cancelled => Cancelled,
        unavailable => Unavailable,
        data_loss => DataLoss,
        unimplemented => Unimplemented,
        internal => Internal,
    }

    /// Adds a context pair. Keys are stable (`model`, `version`, `path`, `run_id`...).
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a program should branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether calling again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.0.kind {
            ErrorKind::Conflict => Retry::Same,
            ErrorKind::Unavailable | ErrorKind::ResourceExhausted | ErrorKind::DeadlineExceeded => Retry::AfterBackoff,
            _ => Retry::Never,
        }
    }

    /// The message without sources or context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The context pairs, outermost last.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// The message followed by those of all its causes, for a log line or a terminal.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.chain())?;
        for (key, value) in &self.0.context {
            write!(f, " [{key}={value}]")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        use arrow_schema::ArrowError as Arrow;
        let kind = match error {
            Arrow::MemoryError(_) => ErrorKind::ResourceExhausted,
            Arrow::NotYetImplemented(_) => ErrorKind::Unimplemented,
            _ => ErrorKind::InvalidArgument,
        };
        Self::new(kind, format!("columnar data: {error}")).with_source(error)
    }
}

/// Adds what was being attempted to an error on its way up.
pub trait ResultExt<T> {
    /// Replaces the message by `attempt: message`, keeping kind, context and source.
    ///
    /// # Errors
    /// The error it was called on, with the longer message.
    fn context(self, attempt: impl fmt::Display) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context(self, attempt: impl fmt::Display) -> Result<T> {
        self.map_err(|mut error| {
            error.0.message = format!("{attempt}: {}", error.0.message);
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn every_kind_has_one_row_and_round_trips_where_http_can_tell() {
        for (kind, status, _, _) in CODES {
            assert_eq!(kind.http_status(), status);
        }
        assert_eq!(ErrorKind::from_http_status(404), ErrorKind::NotFound);
        assert_eq!(ErrorKind::from_http_status(418), ErrorKind::InvalidArgument);
        assert_eq!(ErrorKind::from_http_status(599), ErrorKind::Unavailable);
    }

    #[test]
    fn what_postgresql_reports_has_a_kind() {
        for (code, kind) in [
            ("23505", ErrorKind::AlreadyExists),
            ("42710", ErrorKind::AlreadyExists),
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("55P03", ErrorKind::Conflict),
            ("23503", ErrorKind::FailedPrecondition),
            ("57P04", ErrorKind::FailedPrecondition),
            ("53100", ErrorKind::ResourceExhausted),
            ("28P01", ErrorKind::PermissionDenied),
            ("XX001", ErrorKind::DataLoss),
            ("53300", ErrorKind::Unavailable),
            ("25006", ErrorKind::FailedPrecondition),
            ("57014", ErrorKind::Unavailable),
            ("57P03", ErrorKind::Unavailable),
            ("08006", ErrorKind::Unavailable),
            ("42601", ErrorKind::Internal),
            ("", ErrorKind::Internal),
        ] {
            assert_eq!(ErrorKind::from_sqlstate(code), kind, "{code}");
        }
    }

    #[test]
    fn chain_and_context_keep_the_cause() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::data_loss("blob unreadable").with("digest", "ab").with_source(cause);
        let error = Err::<(), _>(error).context("loading model").unwrap_err();
        assert_eq!(error.chain(), "loading model: blob unreadable: disk on fire");
        assert_eq!(format!("{error:?}"), "DataLoss: loading model: blob unreadable: disk on fire [digest=ab]");
        assert_eq!(error.retry(), Retry::Never);
    }
}
