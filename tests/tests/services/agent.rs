// SPDX-License-Identifier: GPL-3.0-or-later
//! A client somewhere in a lab: a process that makes connections as it is told, so that a case
//! costs a line of JSON and no new process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const CLIENT: &str = include_str!("client.py");

/// Port at which services are, unless said.
pub(crate) const PORT: u16 = 80;

/// How many connections had which outcome: a server's answer, `refused`, `silence`, or an error.
pub(crate) type Outcomes = BTreeMap<String, u64>;

/// Whether an outcome is a server's answer: its name and the address that it saw.
pub(crate) fn is_answer(outcome: &str) -> bool {
    outcome.contains(' ')
}

/// Connections to be made.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) to: String,
    pub(crate) port: u16,
    pub(crate) protocol: &'static str,
    pub(crate) count: u64,
    /// Seconds until silence counts as such.
    pub(crate) timeout: f64,
    /// Port of the client, where it matters.
    pub(crate) source: Option<u16>,
}

impl Ask {
    /// One connection over TCP to port 80, for which there is time.
    pub(crate) fn tcp(to: &str) -> Ask {
        let (to, port, protocol) = (to.to_owned(), PORT, "tcp");
        Ask { to, port, protocol, count: 1, timeout: 5.0, source: None }
    }

    /// The same over UDP.
    pub(crate) fn udp(to: &str) -> Ask {
        Ask { protocol: "udp", ..Ask::tcp(to) }
    }

    pub(crate) fn at(self, port: u16) -> Ask {
        Ask { port, ..self }
    }

    pub(crate) fn times(self, count: u64) -> Ask {
        Ask { count, ..self }
    }

    fn json(&self) -> Value {
        let Ask { to, port, protocol, count, timeout, source } = self;
        let mut request = json!({ "to": to, "port": port, "protocol": protocol, "count": count });
        request["timeout"] = json!(timeout);
        if let Some(source) = source {
            request["source"] = json!(source);
        }
        request
    }
}

/// A client somewhere. It ends on drop.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    tags: u64,
}

impl Agent {
    /// Starts one; `enter` makes a command of the host to run in a network namespace.
    #[track_caller]
    pub(crate) fn start(enter: impl Fn(&[&str]) -> Command) -> Agent {
        let mut command = enter(&["python3", "-c", CLIENT]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Agent { child, stdin, stdout, tags: 0 }
    }

    /// Makes connections of several kinds at once; the outcomes of each, in order.
    #[track_caller]
    pub(crate) fn ask_all(&mut self, asks: &[Ask]) -> Vec<Outcomes> {
        let requests = asks.iter().map(|ask| with(ask.json(), "ask")).collect();
        self.tell(requests).iter().map(outcomes).collect()
    }

    /// Makes connections.
    #[track_caller]
    pub(crate) fn ask(&mut self, ask: &Ask) -> Outcomes {
        self.ask_all(std::slice::from_ref(ask)).remove(0)
    }

    /// Opens a connection and keeps it, under this name; what the server answered.
    #[track_caller]
    pub(crate) fn open(&mut self, name: &str, ask: &Ask) -> String {
        let mut request = with(ask.json(), "open");
        request["name"] = json!(name);
        only(&self.one(request))
    }

    /// Sends a word over a connection that is kept, and returns what comes back.
    #[track_caller]
    pub(crate) fn talk(&mut self, name: &str, word: &str) -> String {
        only(&self.one(json!({ "do": "talk", "name": name, "word": word })))
    }

    /// Ends a connection that is kept.
    #[track_caller]
    pub(crate) fn close(&mut self, name: &str) {
        self.one(json!({ "do": "close", "name": name }));
    }

    /// Begins to make so many connections a second, under this name.
    #[track_caller]
    pub(crate) fn load(&mut self, name: &str, ask: &Ask, rate: u32) {
        let mut request = with(ask.json(), "load");
        request["name"] = json!(name);
        request["rate"] = json!(rate);
        self.one(request);
    }

    /// The outcomes of a load until now.
    #[track_caller]
    pub(crate) fn progress(&mut self, name: &str) -> Outcomes {
        outcomes(&self.one(json!({ "do": "progress", "name": name })))
    }

    /// Ends a load; its outcomes, and all that is known of them.
    #[track_caller]
    pub(crate) fn rest(&mut self, name: &str) -> (Outcomes, Value) {
        let answer = self.one(json!({ "do": "rest", "name": name }));
        (outcomes(&answer), answer)
    }

    #[track_caller]
    fn one(&mut self, request: Value) -> Value {
        self.tell(vec![request]).remove(0)
    }

    #[track_caller]
    fn tell(&mut self, requests: Vec<Value>) -> Vec<Value> {
        let first = self.tags;
        let stdin = self.stdin.as_mut().expect("it is open until the drop");
        let mut text = String::new();
        for mut request in requests {
            request["tag"] = json!(self.tags);
            self.tags += 1;
            text.push_str(&format!("{request}\n"));
        }
        stdin.write_all(text.as_bytes()).expect("the client reads");
        let mut answers = BTreeMap::new();
        while (answers.len() as u64) < self.tags - first {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("the client writes text");
            assert!(!line.is_empty(), "the client ended");
            let answer: Value = serde_json::from_str(&line).expect("the client writes JSON");
            answers.insert(answer["tag"].as_u64().expect("the tag of a request"), answer);
        }
        answers.into_values().collect()
    }
}

fn with(mut request: Value, deed: &str) -> Value {
    request["do"] = json!(deed);
    request
}

fn outcomes(answer: &Value) -> Outcomes {
    let found = answer["found"].as_object().expect("outcomes");
    found.iter().map(|(what, count)| (what.clone(), count.as_u64().unwrap())).collect()
}

#[track_caller]
fn only(answer: &Value) -> String {
    let found = outcomes(answer);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_keys().next().unwrap()
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It ends by itself at the end of its input, unless it hangs.
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
