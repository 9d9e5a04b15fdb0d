// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's API over one connection that stays open, as a controller has it: what is measured
//! is the daemon and not the start of a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An open connection.
pub(crate) struct Api {
    stream: BufReader<UnixStream>,
}

impl Api {
    /// Connects to a daemon's socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Api> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("failed to connect to `{}`", socket.display()))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Api { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection ends, or the daemon refuses.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: netlab\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, text) = self.answer().with_context(|| format!("{method} {path}"))?;
        ensure!((200..300).contains(&status), "{method} {path}: {status}: {text}");
        Ok(text)
    }

    /// The same with an answer in JSON.
    ///
    /// # Errors
    /// As [`Api::ask`], and when it is none.
    pub(crate) fn json(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ask(method, path, body)?)?)
    }

    /// Waits until the kernel has everything up to a revision.
    ///
    /// # Errors
    /// When it does not get there.
    pub(crate) fn programmed(&mut self, revision: u64) -> anyhow::Result<()> {
        self.ask("GET", &format!("/v1/programmed?revision={revision}&timeoutSeconds=60"), "")
            .map(drop)
    }

    fn answer(&mut self) -> anyhow::Result<(u16, String)> {
        let head = self.line()?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("`{head}` is no answer"))?;
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.line()?.to_lowercase();
            match line.split_once(": ") {
                None if line.is_empty() => break,
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
                _ => {}
            }
        }
        let mut body = Vec::new();
        if !is_chunked {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        }
        while is_chunked {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            self.line()?;
            is_chunked = size > 0;
        }
        Ok((status, String::from_utf8(body)?))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the daemon ended the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The revision that an answer about an object has.
///
/// # Errors
/// When it has none.
pub(crate) fn revision(answer: &Value) -> anyhow::Result<u64> {
    let of_many = answer["revision"].as_u64();
    let of_one = || answer["metadata"]["resourceVersion"].as_str()?.parse().ok();
    of_many.or_else(of_one).with_context(|| format!("there is no revision in `{answer}`"))
}
