// SPDX-License-Identifier: GPL-3.0-or-later

use super::*;
use crate::dns::upstream::tests::played::{address, code, cut, no_such_name};
use crate::dns::upstream::tests::{query, with_edns};

fn reply(name: &str, write: impl Fn(&[u8]) -> Vec<u8>) -> Arc<Reply> {
    let asked = Asked::of(&query(name, RecordType::A), false);
    Arc::new(Reply::read(&write(&asked.write(5)), &asked, 5).unwrap())
}

fn cache(change: impl Fn(&mut config::Cache)) -> Cache {
    let mut settings = config::Cache::default();
    change(&mut settings);
    Cache::new(&settings).expect("it is enabled")
}

/// Remembers what `write` makes for `name`, and says what became of it.
fn put(cache: &Cache, now: Instant, name: &str, write: impl Fn(&[u8]) -> Vec<u8>) -> Kept {
    cache.put(Key::of(&query(name, RecordType::A)), &reply(name, write), now)
}

fn get(cache: &Cache, now: Instant, name: &str, seconds: u64) -> Option<Hit> {
    let now = now + Duration::from_secs(seconds);
    cache.get(Key::of(&query(name, RecordType::A)), now, true)
}

#[test]
fn how_long_something_is_remembered_has_bounds() {
    let cache = cache(|_| {});
    let ttl = |write: &dyn Fn(&[u8]) -> Vec<u8>| cache.ttl(&reply("a.b", write));
    assert_eq!(ttl(&|packet| address(packet, 60, &[1])), Some(60));
    assert_eq!(ttl(&|packet| address(packet, 1, &[1])), Some(5));
    assert_eq!(ttl(&|packet| address(packet, 0, &[1])), Some(5));
    assert_eq!(ttl(&|packet| address(packet, 90_000, &[1])), Some(3600));
    assert_eq!(ttl(&|packet| no_such_name(packet, 90_000, 90_000)), Some(1800));
    assert_eq!(ttl(&|packet| no_such_name(packet, 90, 2)), Some(5));
    assert_eq!(ttl(&|packet| code(packet, 2)), Some(5));
    assert_eq!(ttl(&|packet| code(packet, 3)), None);
    assert_eq!(ttl(&|packet| cut(address(packet, 60, &[1]))), None);
}

#[test]
fn the_bound_of_all_is_for_both_halves() {
    let cache = cache(|settings| settings.ttl = 30);
    assert_eq!(cache.ttl(&reply("a.b", |packet| address(packet, 60, &[1]))), Some(30));
    assert_eq!(cache.ttl(&reply("a.b", |packet| no_such_name(packet, 60, 60))), Some(30));
}

#[test]
fn zero_is_not_remembered_when_the_least_ttl_is_zero() {
    let cache = cache(|settings| {
        settings.success.min_ttl = 0;
        settings.denial.min_ttl = 0;
        settings.servfail = Duration::ZERO;
    });
    let now = Instant::now();
    assert_eq!(put(&cache, now, "a.b", |packet| address(packet, 0, &[1])), Kept::Not);
    assert_eq!(put(&cache, now, "a.b", |packet| no_such_name(packet, 0, 9)), Kept::Not);
    assert_eq!(put(&cache, now, "a.b", |packet| code(packet, 2)), Kept::Not);
    let kept = put(&cache, now, "a.b", |packet| address(packet, 1, &[1]));
    assert_eq!(kept, Kept::In(CacheHalf::Success));
    assert_eq!(get(&cache, now, "a.b", 0).unwrap().ttl, 1);
    assert!(get(&cache, now, "a.b", 1).is_none());
    assert_eq!(cache.entries(CacheHalf::Success), 0, "what is too old makes room");
}

#[test]
fn an_answer_takes_the_place_of_the_one_before() {
    let cache = cache(|_| {});
    let now = Instant::now();
    let count = || [cache.entries(CacheHalf::Success), cache.entries(CacheHalf::Denial)];
    put(&cache, now, "a.b", |packet| code(packet, 2));
    assert_eq!(count(), [0, 1]);
    assert_eq!(get(&cache, now, "A.b", 4).unwrap().half, CacheHalf::Denial);
    assert!(get(&cache, now, "a.b", 5).is_none());
    put(&cache, now, "a.b", |packet| no_such_name(packet, 60, 60));
    put(&cache, now, "a.b", |packet| address(packet, 60, &[1]));
    assert_eq!(count(), [1, 0]);
    assert_eq!(get(&cache, now, "A.B", 10).unwrap().ttl, 50);
}

#[test]
fn no_more_is_remembered_than_there_is_room_for() {
    for capacity in [1, 10, 100, 1000] {
        let cache = cache(|settings| {
            settings.success.capacity = capacity;
            settings.denial.capacity = 3 * capacity;
        });
        let now = Instant::now();
        let mut evicted = 0;
        for host in 0..4 * capacity {
            let kept = put(&cache, now, &format!("h{host}.b"), |packet| address(packet, 60, &[1]));
            evicted += usize::from(kept == Kept::Instead(CacheHalf::Success));
            put(&cache, now, &format!("n{host}.b"), |packet| no_such_name(packet, 60, 60));
        }
        let known = |letter: char| {
            (0..4 * capacity)
                .filter(|host| get(&cache, now, &format!("{letter}{host}.b"), 0).is_some())
                .count()
        };
        let success = known('h');
        assert_eq!(success, cache.entries(CacheHalf::Success));
        assert_eq!(success + evicted, 4 * capacity);
        assert!(success <= capacity && success >= capacity * 9 / 10, "{success} of {capacity}");
        let denial = known('n');
        assert_eq!(denial, cache.entries(CacheHalf::Denial));
        assert!(denial <= 3 * capacity && denial >= capacity * 27 / 10, "{denial}");
    }
}

#[test]
fn a_half_without_room_remembers_nothing() {
    let cache = cache(|settings| settings.denial.capacity = 0);
    let now = Instant::now();
    assert_eq!(put(&cache, now, "a.b", |packet| no_such_name(packet, 60, 60)), Kept::Not);
    let kept = put(&cache, now, "a.b", |packet| address(packet, 60, &[1]));
    assert_eq!(kept, Kept::In(CacheHalf::Success));
    let none = CacheOff::with(|settings| {
        settings.success.capacity = 0;
        settings.denial.capacity = 0;
    });
    assert!(none.is_none());
    assert!(CacheOff::with(|settings| settings.enabled = false).is_none());
}

struct CacheOff;

impl CacheOff {
    fn with(change: impl Fn(&mut config::Cache)) -> Option<Cache> {
        let mut settings = config::Cache::default();
        change(&mut settings);
        Cache::new(&settings)
    }
}

#[test]
fn the_ttl_stays_if_it_is_to() {
    let cache = cache(|settings| settings.keepttl = true);
    let now = Instant::now();
    put(&cache, now, "a.b", |packet| address(packet, 60, &[1]));
    assert_eq!(get(&cache, now, "a.b", 59).unwrap().ttl, 60);
    assert!(get(&cache, now, "a.b", 60).is_none());
}

#[test]
fn what_is_old_is_kept_for_a_while_and_not_lost_to_failures() {
    let cache = cache(|settings| settings.serve_stale.enabled = true);
    let now = Instant::now();
    put(&cache, now, "a.b", |packet| address(packet, 60, &[1]));
    let hit = get(&cache, now, "a.b", 60).unwrap();
    assert!(hit.stale && hit.refresh);
    assert_eq!(hit.ttl, 0);
    assert!(!get(&cache, now, "a.b", 60).unwrap().refresh, "once is enough");
    assert!(get(&cache, now, "a.b", 61).unwrap().refresh, "and again a while later");
    assert_eq!(put(&cache, now, "a.b", |packet| code(packet, 2)), Kept::Not);
    assert!(get(&cache, now, "a.b", 3659).is_some());
    assert!(get(&cache, now, "a.b", 3660).is_none());
    // Failures are never given when they are old.
    put(&cache, now, "a.b", |packet| code(packet, 2));
    assert!(get(&cache, now, "a.b", 4).is_some());
    assert!(get(&cache, now, "a.b", 5).is_none());
}

#[test]
fn what_is_asked_often_is_worth_asking_anew() {
    let cache = cache(|settings| settings.prefetch.amount = 3);
    let now = Instant::now();
    put(&cache, now, "a.b", |packet| address(packet, 100, &[1]));
    let refresh = |seconds| get(&cache, now, "a.b", seconds).unwrap().refresh;
    assert!(!refresh(10));
    assert!(!refresh(50));
    assert!(!refresh(89), "more than a tenth is left");
    assert!(refresh(90));
    // A long pause: it is no longer asked often.
    put(&cache, now, "c.d", |packet| address(packet, 100, &[1]));
    let refresh = |seconds| get(&cache, now, "c.d", seconds).unwrap().refresh;
    assert!(!refresh(1));
    assert!(!refresh(2));
    assert!(!refresh(95));
    assert!(!refresh(96));
    assert!(refresh(97));
}

#[test]
fn dnssec_and_unchecked_answers_have_their_own_entries() {
    let cache = cache(|_| {});
    let now = Instant::now();
    put(&cache, now, "a.b", |packet| address(packet, 60, &[1]));
    let plain = query("a.b", RecordType::A);
    assert!(cache.get(Key::of(&with_edns(plain.clone(), 512, false)), now, true).is_some());
    assert!(cache.get(Key::of(&with_edns(plain.clone(), 512, true)), now, true).is_none());
    let unchecked = Query { checking_disabled: true, ..plain };
    assert!(cache.get(Key::of(&unchecked), now, true).is_none());
    assert!(cache.get(Key::of(&query("a.b", RecordType::AAAA)), now, true).is_none());
}
