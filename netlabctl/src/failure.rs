// SPDX-License-Identifier: GPL-3.0-or-later
//! How a command ends when it does not end well: an exit code, and words as kubectl has them.

use std::error::Error;

use netlab_api::Reason;
use netlab_api::client::ClientError;

use crate::output;

/// Failed.
pub(crate) const FAILED: i32 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: i32 = 2;
/// There is no such object.
pub(crate) const NOT_FOUND: i32 = 3;
/// It did not happen in the time given.
pub(crate) const TIMED_OUT: i32 = 4;
/// Ctrl-C, as a shell reports it.
pub(crate) const INTERRUPTED: i32 = 130;

/// Why a command ends with another code than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: i32,
    /// What goes to stderr; empty when everything is said already.
    pub(crate) message: String,
    /// What to do, a line each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn failed(message: impl std::fmt::Display) -> Failure {
        Failure::new(FAILED, format!("error: {message}"))
    }

    pub(crate) fn usage(message: impl std::fmt::Display) -> Failure {
        Failure::new(USAGE, format!("error: {message}"))
    }

    pub(crate) fn timed_out(message: impl std::fmt::Display) -> Failure {
        Failure::new(TIMED_OUT, format!("error: {message}"))
    }

    /// Ends with a code; what there was to say has been said.
    pub(crate) fn silent(code: i32) -> Failure {
        Failure::new(code, "")
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) {
        if !self.message.is_empty() {
            output::note(&self.message);
        }
        for hint in &self.hints {
            output::note(&format!("hint: {hint}"));
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let error = match error {
            ClientError::Api(error) => error,
            ClientError::NoAnswer { .. } => return Failure::timed_out(chain(&error)),
            error => return Failure::failed(chain(&error)),
        };
        let code = match error.reason {
            Reason::NotFound => NOT_FOUND,
            Reason::Timeout => TIMED_OUT,
            _ => FAILED,
        };
        let mut message = format!("Error from server ({}): ", error.reason);
        // `pod/web`, unless the message has it as `Pod "web"`.
        let names = |object: &str| {
            let name = object.rsplit_once('/').map_or(object, |(_, name)| name);
            error.message.contains(object) || error.message.contains(&format!("\"{name}\""))
        };
        if let (Reason::Invalid, Some(object)) = (error.reason, &error.object)
            && !names(object)
        {
            message += &format!("{object}: ");
        }
        if let Some(field) = &error.field
            && !error.message.contains(field.as_str())
        {
            message += &format!("{field}: ");
        }
        message += &error.message;
        let mut failure = Failure::new(code, message);
        failure.hints.extend(error.hint);
        failure
    }
}

/// An error with all its causes: a cause that the message already tells is not told twice.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use netlab_api::ApiError;

    use super::*;

    #[test]
    fn a_missing_object_reads_as_in_kubectl_and_exits_with_3() {
        let failure = Failure::from(ClientError::Api(ApiError::not_found("pods", "x")));
        assert_eq!(failure.message, "Error from server (NotFound): pods \"x\" not found");
        assert_eq!(failure.code, NOT_FOUND);
    }

    #[test]
    fn a_refused_field_is_named_and_the_hint_stands_apart() {
        let error = ApiError::new(Reason::Invalid, "must be 1 to 65535")
            .with_object("pod/web")
            .with_field("spec.ports[0].containerPort")
            .with_hint("write a number");
        let failure = Failure::from(ClientError::Api(error));
        assert_eq!(
            failure.message,
            "Error from server (Invalid): pod/web: spec.ports[0].containerPort: must be 1 to 65535"
        );
        assert_eq!((failure.code, failure.hints), (FAILED, vec!["write a number".to_owned()]));
    }
    #[test]
    fn an_object_that_the_message_names_is_not_named_twice() {
        let error = ApiError::new(Reason::Invalid, "Pod \"web\" is invalid: spec: is wrong")
            .with_object("pod/web")
            .with_field("spec");
        assert_eq!(
            Failure::from(ClientError::Api(error)).message,
            "Error from server (Invalid): Pod \"web\" is invalid: spec: is wrong"
        );
    }
}
