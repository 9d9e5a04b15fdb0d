// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

fn wish(networks: &[&str]) -> AnchorWish {
    let networks = networks.iter().map(|it| it.parse().unwrap()).collect();
    AnchorWish { networks, addresses: BTreeSet::new(), mtu: 1450 }
}

#[test]
fn own_addresses_come_after_the_device_and_only_inside_its_networks() {
    let mut with = wish(&["10.43.0.0/16", "fd43::/112"]);
    let without = plan(&with);
    with.addresses =
        ["10.43.0.10", "fd43::a", "192.0.2.1"].map(|it| it.parse().unwrap()).into_iter().collect();
    let wanted = plan(&with);
    let added = diff(&without, &wanted);
    expect_test::expect![[r#"
        ip address replace 10.43.0.10/32 dev if15728645 scope host
        ip -6 address replace fd43::a/128 dev if15728645 preferred_lft 0
        ip route prepend local 10.43.0.10/32 dev if1 table 255 proto 110
    "#]]
    .assert_eq(&added.batch.to_string());
    assert_eq!(
        added.missing,
        ["address 10.43.0.10", "address fd43::a", "local route to 10.43.0.10"]
    );
    let removed = diff(&wanted, &without);
    assert!(removed.missing.is_empty());
    // The kernel takes the routes along with the last address of IPv4.
    expect_test::expect![[r#"
        ip route del local 10.43.0.10/32 dev if1 table 255 proto 110
        ip address del 10.43.0.10/32 dev if15728645
        ip -6 address del fd43::a/128 dev if15728645
        ip route replace 10.43.0.0/16 dev if15728645 proto 110
    "#]]
    .assert_eq(&removed.batch.to_string());
    // A new device has none, but the way over `lo` stays.
    let mut observed = wanted.clone();
    observed.device.as_mut().unwrap().fit = false;
    assert_eq!(diff(&observed, &wanted).missing.len(), 5);
    // It does not go with the device.
    expect_test::expect![[r#"
        ip route del local 10.43.0.10/32 dev if1 table 255 proto 110
        ip link del dev nlsvc
    "#]]
    .assert_eq(&diff(&wanted, &State::default()).batch.to_string());
}

#[test]
fn from_nothing_the_device_comes_before_its_routes() {
    let wanted = plan(&wish(&["10.43.0.0/16", "fd43::/112"]));
    expect_test::expect![[r#"
        ip link add name nlsvc index 15728645 type bridge
        ip link set dev if15728645 mtu 1450 group 28270
        ip link set dev if15728645 addrgenmode none
        ip link set dev if15728645 up
        ip route add 10.43.0.0/16 dev if15728645 proto 110
        ip -6 route add fd43::/112 dev if15728645 proto 110 metric 1024
    "#]]
    .assert_eq(&diff(&State::default(), &wanted).batch.to_string());
}

#[test]
fn nothing_is_done_twice() {
    let wanted = plan(&wish(&["10.43.0.0/16"]));
    assert_eq!(diff(&wanted, &wanted), Difference::default());
}

#[test]
fn a_pool_that_comes_or_goes_costs_one_route() {
    let small = plan(&wish(&["10.43.0.0/16"]));
    let large = plan(&wish(&["10.43.0.0/16", "192.0.2.240/28"]));
    let text = |from, to| diff(from, to).batch.to_string();
    assert_eq!(text(&small, &large), "ip route add 192.0.2.240/28 dev if15728645 proto 110\n");
    assert_eq!(text(&large, &small), "ip route del 192.0.2.240/28 dev if15728645 proto 110\n");
}

#[test]
fn without_networks_the_device_goes_and_takes_its_routes() {
    let wanted = plan(&wish(&["10.43.0.0/16"]));
    let gone = diff(&wanted, &State::default());
    assert_eq!(gone.batch.to_string(), "ip link del dev nlsvc\n");
    assert!(gone.missing.is_empty());
    assert_eq!(diff(&State::default(), &plan(&wish(&[]))), Difference::default());
}

#[test]
fn a_device_that_is_no_bridge_is_made_anew_with_all_routes() {
    let wanted = plan(&wish(&["10.43.0.0/16"]));
    let mut observed = wanted.clone();
    observed.device.as_mut().unwrap().fit = false;
    let difference = diff(&observed, &wanted);
    assert!(difference.batch.to_string().starts_with("ip link del dev nlsvc\nip link add"));
    assert_eq!(difference.missing, ["device nlsvc", "route to 10.43.0.0/16"]);
}

#[test]
fn a_device_that_lost_ipv6_to_a_small_mtu_is_made_anew() {
    let wanted = plan(&wish(&["fd43::/112"]));
    let mut observed = wanted.clone();
    observed.device.as_mut().unwrap().mtu = 1279;
    observed.routes.clear();
    let difference = diff(&observed, &wanted);
    assert!(difference.batch.to_string().starts_with("ip link del dev nlsvc\nip link add"));
    assert_eq!(difference.missing, ["device nlsvc", "route to fd43::/112"]);
}

#[test]
fn ipv6_is_only_asked_of_a_device_that_has_it() {
    let mut wish = wish(&["10.43.0.0/16"]);
    wish.mtu = 1000;
    let wanted = plan(&wish);
    let mut observed = wanted.clone();
    observed.device.as_mut().unwrap().mtu = 1450;
    expect_test::expect![[r#"
        ip link set dev if15728645 mtu 1000 group 28270
        ip link set dev if15728645 up
    "#]]
    .assert_eq(&diff(&observed, &wanted).batch.to_string());
}
