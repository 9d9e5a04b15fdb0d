// SPDX-License-Identifier: GPL-3.0-or-later
//! Starting and stopping.

use netlab_tests::Lab;

#[test]
fn sigterm_stops_a_daemon_with_a_pod_and_teardown_leaves_nothing() {
    let mut lab = Lab::new("term");
    lab.run("web", &[]);
    lab.stop();
    assert!(!lab.leftovers().is_empty(), "a stopped daemon leaves its pods");
}
