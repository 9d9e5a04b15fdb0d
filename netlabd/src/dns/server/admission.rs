// SPDX-License-Identifier: GPL-3.0-or-later
//! How many connections there may be, of all clients and of each. One too many takes the place of
//! the one that has been idle for longest, or is refused when none is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Connections at most.
pub(super) const ALL: usize = 512;

/// Connections of one client at most.
pub(super) const PER_CLIENT: usize = 128;

/// Who is connected.
pub(super) struct Admission {
    seats: Mutex<Seats>,
    start: Instant,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
}

struct Seat {
    client: IpAddr,
    /// Milliseconds since the start, plus one, since when it is idle; 0 while it is not.
    idle: AtomicU64,
    closed: AtomicBool,
    close: Notify,
}

impl Default for Admission {
    fn default() -> Admission {
        Admission { seats: Mutex::default(), start: Instant::now() }
    }
}

impl Admission {
    /// Admits a connection. `None`: it is one too many, and none is idle.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Guest> {
        let mut seats = self.seats();
        let of_client = seats.taken.values().filter(|seat| seat.client == client).count();
        if of_client >= PER_CLIENT {
            seats.make_room(|seat| seat.client == client)?;
        } else if seats.taken.len() >= ALL {
            seats.make_room(|_| true)?;
        }
        let number = seats.next;
        seats.next += 1;
        let seat = Arc::new(Seat {
            client,
            idle: AtomicU64::new(self.now()),
            closed: AtomicBool::new(false),
            close: Notify::new(),
        });
        seats.taken.insert(number, Arc::clone(&seat));
        Some(Guest { admission: Arc::clone(self), number, seat })
    }

    /// Closes those on which nothing is going on; the others close when they are done.
    pub(super) fn close_idle(&self) {
        self.close(|seat| seat.idle.load(Ordering::Relaxed) != 0);
    }

    /// Closes all.
    pub(super) fn close_all(&self) {
        self.close(|_| true);
    }

    fn close(&self, which: impl Fn(&Seat) -> bool) {
        for seat in self.seats().taken.values().filter(|seat| which(seat)) {
            seat.close();
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Seats {
    /// Closes the one that has been idle for longest of those that may be closed.
    fn make_room(&mut self, may: impl Fn(&Seat) -> bool) -> Option<()> {
        let idle = |seat: &Seat| Some(seat.idle.load(Ordering::Relaxed)).filter(|&at| at != 0);
        let (_, number) = self
            .taken
            .iter()
            .filter(|(_, seat)| may(seat))
            .filter_map(|(&number, seat)| Some((idle(seat)?, number)))
            .min()?;
        // Its place is free at once, so that the next cannot close a second one for it.
        self.taken.remove(&number)?.close();
        Some(())
    }
}

impl Seat {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.close.notify_one();
    }
}

/// A connection's place, for as long as it lives.
pub(super) struct Guest {
    admission: Arc<Admission>,
    number: u64,
    seat: Arc<Seat>,
}

impl Guest {
    /// Something is going on.
    pub(super) fn busy(&self) {
        self.seat.idle.store(0, Ordering::Relaxed);
    }

    /// Nothing is going on any more.
    pub(super) fn idle(&self) {
        // One that was idle keeps its time.
        let now = self.admission.now();
        let _ = self.seat.idle.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it has to go as soon as it can.
    pub(super) fn is_closed(&self) -> bool {
        self.seat.closed.load(Ordering::Relaxed)
    }

    /// Waits until it has to go.
    pub(super) async fn closed(&self) {
        self.seat.close.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.admission.seats().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> IpAddr {
        IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()])
    }

    #[test]
    fn one_client_does_not_take_the_places_of_others() {
        let admission = Arc::new(Admission::default());
        let greedy: Vec<_> = (0..PER_CLIENT).map(|_| admission.admit(client(1)).unwrap()).collect();
        for guest in &greedy {
            guest.busy();
        }
        assert!(admission.admit(client(1)).is_none());
        assert!(admission.admit(client(2)).is_some());
        greedy[7].idle();
        let late = admission.admit(client(1)).unwrap();
        assert!(greedy[7].is_closed());
        late.busy();
        assert!(admission.admit(client(1)).is_none());
        // Leaving after having been closed frees no second place.
        drop(greedy);
        let again: Vec<_> = (1..PER_CLIENT).map(|_| admission.admit(client(1)).unwrap()).collect();
        again.iter().for_each(Guest::busy);
        assert!(admission.admit(client(1)).is_none());
    }

    #[test]
    fn the_one_that_is_idle_for_longest_goes_first() {
        let admission = Arc::new(Admission::default());
        let guests: Vec<_> =
            (0..ALL).map(|at| admission.admit(client(at / PER_CLIENT)).unwrap()).collect();
        guests.iter().for_each(Guest::busy);
        assert!(admission.admit(client(200)).is_none());
        guests[300].seat.idle.store(20, Ordering::Relaxed);
        guests[10].seat.idle.store(30, Ordering::Relaxed);
        let first = admission.admit(client(200)).unwrap();
        first.busy();
        assert!(guests[300].is_closed() && !guests[10].is_closed());
        let second = admission.admit(client(201)).unwrap();
        second.busy();
        assert!(guests[10].is_closed());
        assert!(admission.admit(client(202)).is_none());
        admission.close_all();
        assert!(guests.iter().skip(301).all(Guest::is_closed));
    }
}
