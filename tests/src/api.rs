// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's API by `curl`, which knows nothing of netlab.

use std::path::Path;

use serde_json::Value;

use crate::command::{command, run, run_with_input};

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, `null` when it is none.
    pub body: Value,
}

impl Response {
    /// Asserts this status and returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Asserts an error with this status and reason, and returns its message.
    #[track_caller]
    pub fn error(self, status: u16, reason: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.body["reason"], reason, "{}", self.text);
        self.body["message"].as_str().expect("an error has a message").to_owned()
    }
}

/// Sends a request. The body's type is merge-patch for PATCH, else JSON.
#[track_caller]
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Response {
    let socket = socket.display().to_string();
    let url = format!("http://netlab{path}");
    let mut words = vec!["curl", "-sS", "-X", method, "--max-time", "60"];
    words.extend(["--unix-socket", &socket, "-w", "\n%{http_code}", &url]);
    let kind = match method {
        "PATCH" => "Content-Type: application/merge-patch+json",
        _ => "Content-Type: application/json",
    };
    let output = match body {
        Some(body) => {
            words.extend(["-H", kind, "--data-binary", "@-"]);
            run_with_input(&mut command(&words), body.to_string().as_bytes())
        }
        None => run(&mut command(&words)),
    };
    let (text, status) = output.stdout.rsplit_once('\n').unwrap_or(("", "0"));
    Response {
        status: status.parse().unwrap_or(0),
        body: serde_json::from_str(text).unwrap_or(Value::Null),
        text: if text.is_empty() { output.stderr } else { text.to_owned() },
    }
}
