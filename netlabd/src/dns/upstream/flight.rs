// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions on their way: who asks the same meanwhile waits for the same answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::asked::Asked;
use super::reply::Reply;

/// Most questions on their way: when upstreams are silent and much is asked, memory must not be
/// what ends that. Far more than there are sockets.
const MOST: usize = 10_000;

/// What came of a question.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// An answer, and from whom.
    Reply(Arc<Reply>, SocketAddr),
    /// Too many ask at a time.
    Refused(String),
    /// There is none.
    Failed(String),
}

/// Where an outcome is waited for.
pub(super) type Waiting = watch::Receiver<Option<Outcome>>;

/// All questions on their way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Asked, Waiting>>);

impl Flights {
    /// Waits with those who ask `asked` already, or, if there are none, makes the caller the one
    /// who has to find the outcome. With too many others on their way it has failed already.
    pub(super) fn join(self: &Arc<Flights>, asked: &Asked) -> (Waiting, Option<Pilot>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = flights.get(asked) {
            return (waiting.clone(), None);
        }
        if flights.len() >= MOST {
            let error = format!("{MOST} questions wait for upstreams already");
            return (watch::channel(Some(Outcome::Failed(error))).1, None);
        }
        let (sender, waiting) = watch::channel(None);
        flights.insert(asked.clone(), waiting.clone());
        let pilot = Pilot { flights: Arc::clone(self), asked: asked.clone(), sender };
        (waiting, Some(pilot))
    }

    /// Whether nobody asks anything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Who has to find an outcome. If it is dropped without, those who wait learn that, too.
#[derive(Debug)]
pub(super) struct Pilot {
    flights: Arc<Flights>,
    asked: Asked,
    sender: watch::Sender<Option<Outcome>>,
}

impl Pilot {
    /// Tells all who wait.
    pub(super) fn land(self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.asked);
    }
}

/// The outcome, once it is there.
pub(super) async fn outcome(mut waiting: Waiting) -> Outcome {
    match waiting.wait_for(Option::is_some).await {
        Ok(outcome) => (*outcome).clone().expect("it was waited for"),
        Err(_) => Outcome::Failed("the query was given up, as the daemon stops".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::RecordType;

    fn asked(name: &str) -> Asked {
        Asked::own(name.parse().unwrap(), RecordType::A)
    }

    #[tokio::test]
    async fn those_who_wait_learn_what_came_of_it() {
        let flights = Arc::new(Flights::default());
        let (first, pilot) = flights.join(&asked("a.example"));
        let (second, none) = flights.join(&asked("A.example"));
        assert!(none.is_none());
        pilot.unwrap().land(Outcome::Failed("why".to_owned()));
        for waiting in [first, second] {
            assert!(matches!(outcome(waiting).await, Outcome::Failed(why) if why == "why"));
        }
        let (third, pilot) = flights.join(&asked("a.example"));
        drop(pilot.expect("it landed, so this is a new one"));
        assert!(matches!(outcome(third).await, Outcome::Failed(_)));
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn too_many_questions_fail_at_once() {
        let flights = Arc::new(Flights::default());
        let pilots: Vec<_> =
            (0..MOST).map(|host| flights.join(&asked(&format!("h{host}.example"))).1).collect();
        let (waiting, pilot) = flights.join(&asked("more.example"));
        assert!(pilot.is_none());
        assert!(matches!(outcome(waiting).await, Outcome::Failed(_)));
        let (_, pilot) = flights.join(&asked("h5.example"));
        assert!(pilot.is_none(), "but one can still wait with others");
        drop(pilots);
        assert!(flights.join(&asked("more.example")).1.is_some());
    }
}
