// SPDX-License-Identifier: GPL-3.0-or-later
//! A client that hides nothing: one connection a request, and a broken one is an error.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// No request here takes longer, unless the daemon hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Talks to one daemon's socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    timeout: Duration,
}

/// A status and what came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that must be a success.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "status {}: {}", self.status, self.body);
        self.body
    }
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned(), timeout: TIMEOUT }
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call("POST", path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> io::Result<Answer> {
        self.call("DELETE", path, None)
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: netlab\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(stream)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let mut stream = self.send(method, path, body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// Starts a watch of which the caller reads as much as it likes.
    pub(crate) fn watch(&self, path: &str) -> io::Result<BufReader<UnixStream>> {
        let mut reader = BufReader::new(self.send("GET", path, None)?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!("the watch was refused: {line}")));
        }
        Ok(reader)
    }
}

/// A whole answer; `None` when it was cut short.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let body = &answer[end + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length
        && length.parse() != Ok(body.len())
    {
        return None;
    }
    let body = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) => json!(String::from_utf8_lossy(body)),
    };
    Some(Answer { status, body })
}
