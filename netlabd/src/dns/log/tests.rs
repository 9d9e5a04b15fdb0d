// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::dns::config::Log;

fn query(name: &Name, number: u16) -> Noted<'_> {
    Query {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(number.into()),
        peer: "[::1]:50759".parse().unwrap(),
        pod: Some(Arc::new(PodName { namespace: "default".into(), name: "web-0".into() })),
        id: number,
        name: name.wire(),
        kind: RecordType::A,
        class: 1,
        protocol: Protocol::Udp,
        size: 41,
        dnssec_ok: false,
        payload: 4096,
        rcode: Rcode::NOERROR,
        flags: 0x81a0,
        empty: false,
        response_size: 68,
        took: Duration::from_nanos(37_990_251),
        by: AnsweredBy::Zone,
    }
}

#[test]
fn the_last_queries_of_all_threads_are_kept_in_order() {
    let log = QueryLog::new();
    let (one, two) = (log.writer(), log.writer());
    let name: Name = "WeB.".parse().unwrap();
    for number in 0..2500 {
        let writer = if number % 3 == 0 { &one } else { &two };
        writer.note(&query(&name, number));
    }
    let ids: Vec<u16> = log.last(5000).iter().map(|entry| entry.id).collect();
    // What each thread keeps reaches back further than the last thousand together.
    assert_eq!(ids, (1500..2500).collect::<Vec<_>>());
    let ids: Vec<u16> = log.last(3).iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [2497, 2498, 2499]);
    let even = log.last_of(2, |entry| entry.id % 2 == 0);
    assert_eq!(even.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2496, 2498]);
    assert_eq!(even[0].name.to_string(), "WeB.");
    assert_eq!(even[0].pod.as_ref().unwrap().name, "web-0");
    drop((one, two));
    assert!(log.last(10).is_empty());
}

#[tokio::test]
async fn who_follows_gets_all_from_then_on_and_is_told_of_losses() {
    let log = QueryLog::new();
    let writer = log.writer();
    let name: Name = "web.".parse().unwrap();
    writer.note(&query(&name, 1));
    let mut follower = log.follow();
    writer.note(&query(&name, 2));
    let Followed::Query(entry) = follower.next().await else { panic!("lost one of one") };
    assert_eq!(entry.id, 2);

    let more = 30;
    for number in 0..BEHIND + more {
        writer.note(&query(&name, number as u16));
    }
    let Followed::Lost(lost) = follower.next().await else { panic!("nothing lost") };
    assert_eq!(lost, more as u64);
    let Followed::Query(entry) = follower.next().await else { panic!("lost again") };
    assert_eq!(usize::from(entry.id), more);
    drop(follower);
    assert_eq!(log.followers.load(Ordering::Relaxed), 0);
}

#[test]
fn a_line_is_coredns_s() {
    let lines = |class: &[&str], names: &[&str]| {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        LogLines::new(&Log { enabled: true, class: strings(class), names: strings(names) })
    };
    let all = lines(&["all"], &[]).unwrap();
    let name: Name = "Example.org.".parse().unwrap();
    let mut asked = query(&name, 29008);
    assert_eq!(
        all.line(&asked).unwrap(),
        "[::1]:50759 - 29008 \"A IN example.org. udp 41 false 4096\" NOERROR qr,rd,ra,ad 68 0.037990251s"
    );
    asked.protocol = Protocol::Tcp;
    asked.peer = "[::ffff:192.0.2.1]:53".parse().unwrap();
    asked.took = Duration::from_millis(20);
    asked.rcode = Rcode::NXDOMAIN;
    assert_eq!(
        all.line(&asked).unwrap(),
        "192.0.2.1:53 - 29008 \"A IN example.org. tcp 41 false 65535\" NXDOMAIN qr,rd,ra,ad 68 0.02s"
    );
    assert!(lines(&["success", "error"], &[]).unwrap().line(&asked).is_none());
    assert!(lines(&["denial"], &["org"]).unwrap().line(&asked).is_some());
    assert!(lines(&["denial"], &["example.com"]).unwrap().line(&asked).is_none());
    asked.rcode = Rcode::NOERROR;
    asked.empty = true;
    assert_eq!(asked.class_of_response(), Class::Denial);

    assert_eq!(lines(&["all", "some"], &[]).unwrap_err(), LogLinesError::Class { index: 1 });
    assert!(matches!(lines(&[], &["a..b"]), Err(LogLinesError::Name { index: 0, .. })));
    assert!(!LogLines::new(&Log::default()).unwrap().is_on());
}
