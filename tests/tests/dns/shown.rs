// SPDX-License-Identifier: GPL-3.0-or-later
//! What people are shown of names: what a pod finds, what there is, and who asked for what.

use netlab_tests::Background;
use netlab_tests::observe::items;

use crate::fixtures::{Families, apply, objects};
use crate::outside::Outside;
use crate::stage::Stage;
use crate::wire::kind;

#[test]
fn people_see_what_is_asked_and_who_answers() {
    let stage = Stage::new("dns-shown", "[dns.forward]\nto = ['192.0.2.9']\n");
    let lab = &stage.lab;
    let _outside = Outside::knowing_all(lab.outside(), lab.dir(), &["192.0.2.9@53"]);
    apply(lab, &objects(Families::Both));
    let query = |words: &[&str]| lab.ctl(&[&["dns", "query"], words].concat());
    let told = query(&["web", "--from", "client"]).ok();
    for part in ["web.default.svc.cluster.local", "10.43.1.1", "fd43::101", "zone"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let told = query(&["www.example.org", "--from", "client", "--type", "A"]).ok();
    // Each name of the search path is tried first.
    for part in [
        "www.example.org.default.svc.cluster.local",
        "www.example.org.svc.cluster.local",
        "www.example.org.cluster.local",
        "NXDOMAIN",
        "198.51.100.80",
        "192.0.2.9:53",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let told = query(&["www.example.org.", "--type", "A"]).ok();
    assert!(told.contains("cache") && !told.contains("www.example.org.default"), "{told}");
    let told = query(&["_http._tcp.four", "--type", "SRV"]).ok();
    assert!(told.contains("four.default.svc.cluster.local") && told.contains(" 80 "), "{told}");
    assert!(query(&["10.43.1.1"]).ok().contains("web.default.svc.cluster.local"));
    query(&["nobody", "--from", "client"]).fails(3);
    // What there is, and whence.
    let told = lab.ctl(&["dns", "records", "-n", "shop"]).ok();
    assert!(told.contains("10.43.2.1") && told.contains("shop"), "{told}");
    assert!(!told.contains("10.43.1.1"), "another namespace's: {told}");
    let records = lab.ctl(&["dns", "records", "-o", "json"]).json();
    let found = items(&records["records"]).len();
    assert!(found > 20, "{found} records: {records}");
    // Who asks for what, with the pod's name.
    let log: Background = lab.ctl_spawn(&["dns", "log", "-f", "--pod", "client"]);
    netlab_tests::wait_until("the pod's questions are shown", || {
        stage.ask("NoBody.default.svc.cluster.local.", kind::A);
        log.output().to_lowercase().contains("nobody.default.svc.cluster.local")
    });
    assert!(
        log.output().contains("client") && log.output().contains("NXDOMAIN"),
        "{}",
        log.output()
    );
}
