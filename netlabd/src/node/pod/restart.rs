// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether and when a command that ended is started again. Pure: no clock, no process.
//!
//! As kubelet does it: the first restart is immediate, the next ones wait 10 s, 20 s, 40 s … up
//! to 300 s, and a command that ran for 10 minutes starts from the beginning
//! (`pkg/kubelet/kuberuntime`, `doBackOff` and `client-go/util/flowcontrol`).

use std::time::Duration;

use super::config::{BackOff, RestartPolicy};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Exit code 0.
    Success,
    /// Another exit code, or a signal.
    Failure,
    /// It was ended because its liveness probe failed; its exit code does not count.
    Unhealthy,
}

/// The memory of a pod's restarts.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    back_off: BackOff,
    next_millis: u64,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy, back_off: BackOff) -> Self {
        Restarts { policy, back_off, next_millis: 0 }
    }

    /// How long to wait before the next start; `None` when there is none.
    pub(super) fn after(&mut self, end: End, ran_for: Duration) -> Option<Duration> {
        let again = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => end != End::Success,
            RestartPolicy::Never => false,
        };
        if !again {
            return None;
        }
        if ran_for >= Duration::from_millis(self.back_off.reset_after_millis) {
            self.next_millis = 0;
        }
        let delay = self.next_millis;
        self.next_millis = match delay {
            0 => self.back_off.initial_millis,
            _ => delay.saturating_mul(2),
        }
        .min(self.back_off.max_millis);
        Some(Duration::from_millis(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(restarts: &mut Restarts, end: End, ran_for: u64) -> Option<u64> {
        restarts.after(end, Duration::from_secs(ran_for)).map(|delay| delay.as_secs())
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit_and_starts_over_after_a_sound_run() {
        let mut restarts = Restarts::new(RestartPolicy::Always, BackOff::default());
        let delays: Vec<_> =
            (0..8).map(|_| seconds(&mut restarts, End::Failure, 1).unwrap()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(&mut restarts, End::Failure, 599), Some(300));
        assert_eq!(seconds(&mut restarts, End::Failure, 600), Some(0));
        assert_eq!(seconds(&mut restarts, End::Failure, 1), Some(10));
    }

    #[test]
    fn the_policy_decides_whether_there_is_a_next_start() {
        for (policy, end, again) in [
            (RestartPolicy::Always, End::Success, true),
            (RestartPolicy::Always, End::Failure, true),
            (RestartPolicy::Always, End::Unhealthy, true),
            (RestartPolicy::OnFailure, End::Success, false),
            (RestartPolicy::OnFailure, End::Failure, true),
            (RestartPolicy::OnFailure, End::Unhealthy, true),
            (RestartPolicy::Never, End::Success, false),
            (RestartPolicy::Never, End::Failure, false),
            (RestartPolicy::Never, End::Unhealthy, false),
        ] {
            let mut restarts = Restarts::new(policy, BackOff::default());
            assert_eq!(
                restarts.after(end, Duration::ZERO).is_some(),
                again,
                "{policy:?} after {end:?}"
            );
        }
    }
}
