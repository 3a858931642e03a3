use super::*;

fn id(text: &str) -> ContainerId {
    text.parse().expect("legal")
}

fn pool(subnet: &str) -> Pool {
    Pool::new(subnet.parse::<Subnet>().expect("legal").into())
}

#[test]
fn a_subnet_is_an_address_and_a_prefix_with_room_for_containers() {
    let cases = [
        ("172.30.0.0/16", Some("172.30.0.0/16")),
        ("172.30.7.9/16", Some("172.30.0.0/16")),
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("192.168.1.130/30", Some("192.168.1.128/30")),
        ("10.0.0.0/7", None),
        ("10.0.0.0/31", None),
        ("10.0.0.0/33", None),
        ("10.0.0.0", None),
        ("10.0.0/16", None),
        ("fd00::/64", None),
        ("", None),
    ];
    for (text, want) in cases {
        let got = text.parse::<Subnet>().ok().map(|subnet| subnet.to_string());
        assert_eq!(got.as_deref(), want, "{text}");
    }
}

#[test]
fn a_pool_goes_round_and_never_gives_one_address_twice() {
    let mut pool = pool("10.1.2.0/29");
    let taken: Vec<_> = (0..5).map(|i| pool.take(&id(&format!("c{i}")), None)).collect();
    let want: Vec<_> = (2..7).map(|last| Ok(Ipv4Addr::new(10, 1, 2, last))).collect();
    assert_eq!(taken, want);
    assert_eq!(pool.take(&id("c6"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));

    pool.give_back(&id("another"), Ipv4Addr::new(10, 1, 2, 4));
    assert!(pool.take(&id("c6"), None).is_err(), "only its owner gives an address back");
    pool.give_back(&id("c2"), Ipv4Addr::new(10, 1, 2, 4));
    assert_eq!(pool.take(&id("c6"), None), Ok(Ipv4Addr::new(10, 1, 2, 4)));
}

#[test]
fn an_address_given_back_rests_until_the_others_were_used() {
    let mut pool = pool("10.1.2.0/29");
    let first = pool.take(&id("a"), None).expect("empty");
    pool.give_back(&id("a"), first);
    assert_ne!(pool.take(&id("b"), None), Ok(first));
}

#[test]
fn a_layout_says_which_addresses_are_for_whom() {
    let at = |last| Ipv4Addr::new(10, 1, 2, last);
    let mut layout = Layout::from("10.1.2.0/24".parse::<Subnet>().expect("legal"));
    layout.gateway = at(17);
    layout.range = Some("10.1.2.16/30".parse().expect("legal"));
    layout.reserved.insert("router".to_owned(), at(18));
    assert_eq!(layout.check(), Ok(()));
    let mut pool = Pool::new(layout.clone());
    let taken = [pool.take(&id("a"), None), pool.take(&id("b"), None)];
    assert_eq!(taken, [Ok(at(16)), Ok(at(19))]);
    assert_eq!(pool.take(&id("c"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));
    // Whoever asks is not bound to the range.
    assert_eq!(pool.claim(&id("c"), at(200)), Ok(()));
    assert!(pool.claim(&id("d"), at(18)).is_err(), "it is reserved");
    pool.give_back(&id("a"), at(16));
    assert_eq!(pool.take(&id("d"), None), Ok(at(16)));
    for (gateway, range) in [(at(0), None), (at(255), None), (at(1), Some("10.1.0.0/16"))] {
        let range = range.map(|range| range.parse().expect("legal"));
        let wrong = Layout { gateway, range, ..layout.clone() };
        assert!(wrong.check().is_err(), "{gateway} {range:?}");
    }
}

#[test]
fn a_record_claims_only_what_is_free_and_inside() {
    let mut pool = pool("10.1.2.0/29");
    let at = |last| Ipv4Addr::new(10, 1, 2, last);
    let cases = [
        ("a", at(3), Ok(())),
        ("a", at(3), Ok(())),
        ("b", at(3), Err(Kind::Conflict)),
        ("b", at(0), Err(Kind::Conflict)),
        ("b", at(1), Err(Kind::Conflict)),
        ("b", at(7), Err(Kind::Conflict)),
        ("b", Ipv4Addr::new(10, 9, 9, 9), Err(Kind::Conflict)),
    ];
    for (who, address, want) in cases {
        let got = pool.claim(&id(who), address).map_err(|error| error.kind());
        assert_eq!(got, want, "{who} {address}");
    }
    assert_eq!(pool.take(&id("b"), None), Ok(at(4)));
}

#[test]
fn addresses_of_both_families_are_shared_out_alike() {
    let subnet: Subnet<Ipv6Addr> = "fd00:7::9/126".parse().expect("legal");
    assert_eq!((subnet.to_string().as_str(), subnet.prefix()), ("fd00:7::8/126", 126));
    for text in ["10.0.0.0/8", "fd00::/127", "fd00::/8", "fd00::", "fd00::/129"] {
        assert!(text.parse::<Subnet<Ipv6Addr>>().is_err(), "{text}");
    }
    let mut pool = Pool::new(subnet.into());
    let taken = [pool.take(&id("a"), None), pool.take(&id("b"), None)];
    let at = |text: &str| Ok(text.parse().expect("an address"));
    // There is no broadcast: the last one is a container's, too.
    assert_eq!(taken, [at("fd00:7::a"), at("fd00:7::b")]);
    assert_eq!(pool.take(&id("c"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));
    let wide: Subnet<Ipv6Addr> = "fd00:7::/48".parse().expect("legal");
    let parts: Vec<_> = wide.parts(64).take(2).map(|part| part.to_string()).collect();
    assert_eq!(parts, ["fd00:7::/64", "fd00:7:0:1::/64"]);
    assert_eq!(wide.parts(64).count(), 1 << 16);
    let small: Subnet = "192.168.0.0/16".parse().expect("legal");
    let parts: Vec<_> = small.parts(17).map(|part| part.to_string()).collect();
    assert_eq!(parts, ["192.168.0.0/17", "192.168.128.0/17"]);
    assert!(wide.overlaps("fd00:7:0:9::".parse().expect("legal"), 64));
    assert!(!wide.overlaps("fd00:8::".parse().expect("legal"), 48));
}

#[test]
fn subnets_overlap_when_they_share_an_address() {
    let subnet: Subnet = "172.30.0.0/16".parse().expect("legal");
    let cases = [
        ("172.30.9.1", 24, true),
        ("172.30.0.1", 16, true),
        ("172.16.0.1", 12, true),
        ("10.0.0.1", 0, true),
        ("172.31.0.1", 16, false),
        ("10.0.0.1", 8, false),
        ("127.0.0.1", 8, false),
        ("::", 0, false),
    ];
    for (address, prefix, want) in cases {
        let address: IpAddr = address.parse().expect("legal");
        assert_eq!(subnet.overlaps(address, prefix), want, "{address}/{prefix}");
    }
}

#[test]
fn a_mac_address_follows_from_the_ip_address() {
    assert_eq!(mac_of(Ipv4Addr::new(172, 30, 0, 2)).to_string(), "02:42:ac:1e:00:02");
}
