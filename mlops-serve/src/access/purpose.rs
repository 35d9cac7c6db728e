//! What a request is for. A route says it, method by method, where it is added; no path is ever guessed at.
//!
//! Invariant: a route that says nothing is for reading when its method reads, and for managing when it does not, so what
//! is forgotten is closed rather than open.

/// Kinds of requests, from the one that needs least to the one that needs most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Asks whether the server lives, as probes do: no credentials needed, and no limit counts it.
    Health,
    /// Asks a model; whether that one may be asked is decided where its name is known.
    Predict,
    /// Reads what is served and how it does.
    Read,
    /// Changes what is served: loads, unloads, chooses versions.
    Manage,
}

impl Purpose {
    /// Of a route that does not say.
    pub(crate) fn of_method(method: &str) -> Self {
        match method {
            "get" | "options" => Self::Read,
            _ => Self::Manage,
        }
    }
}
