// SPDX-License-Identifier: GPL-3.0-or-later
//! What only pods have: logs, commands run in them, connections to their ports.

use hyper::Method;
use hyper_util::rt::TokioIo;

use super::exchange::{MAX_PATH, empty};
use super::{
    Client, ClientError, ExecInput, ExecOptions, ExecOutput, Io, LogStream, ObjectRef, Query, exec,
};
use crate::exec::{EXEC_PROTOCOL, ExecCommand};
use crate::forward::FORWARD_PROTOCOL;
use crate::resource::Kind;

/// Which lines of a pod's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as lines come.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines younger than this.
    pub since_seconds: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// The lines of the run before the last restart.
    pub previous: bool,
}

impl Client {
    /// A pod's log.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: &LogOptions,
    ) -> Result<LogStream, ClientError> {
        let mut query = Query::new(ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/log")
            .flag("follow", options.follow)
            .flag("timestamps", options.timestamps)
            .flag("previous", options.previous);
        if let Some(lines) = options.tail_lines {
            query = query.set("tailLines", lines.to_string());
        }
        if let Some(seconds) = options.since_seconds {
            query = query.set("sinceSeconds", seconds.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())?).await?.0;
        Ok(LogStream::new(response.into_body()))
    }

    /// Runs a command in a pod. One that is too long for the query goes into the body.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        options: &ExecOptions,
    ) -> Result<(ExecInput, ExecOutput), ClientError> {
        let path = |in_query: &[String]| {
            let path = ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/exec";
            let mut query = Query::new(path)
                .flag("stdin", options.stdin)
                .flag("tty", options.terminal.is_some());
            for word in in_query {
                query = query.set("command", word);
            }
            if let Some((columns, rows)) = options.terminal {
                query = query.set("columns", columns.to_string()).set("rows", rows.to_string());
            }
            query.into_path()
        };
        let short = path(&options.command);
        let (path, content) = match short.len() <= MAX_PATH {
            true => (short, None),
            false => (path(&[]), Some(ExecCommand { command: options.command.clone() })),
        };
        let upgraded = self.upgrade(&path, content.as_ref(), EXEC_PROTOCOL).await?;
        Ok(exec::session(upgraded))
    }

    /// Opens a connection to a TCP port of a pod, from inside it.
    ///
    /// # Errors
    /// `Conflict` when nothing in the pod takes it.
    pub async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<Box<dyn Io>, ClientError> {
        let path = ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/portforward";
        let query = Query::new(path).set("port", port.to_string());
        let upgraded = self.upgrade(&query.into_path(), None::<&()>, FORWARD_PROTOCOL).await?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}
