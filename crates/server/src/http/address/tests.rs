//! The client's address under headers of all kinds, honest and forged.

use proptest::prelude::*;

use super::*;

fn found(trusted: &str, peer: &str, headers: &[(&str, &str)]) -> String {
    let headers: Vec<(&str, Vec<u8>)> = headers.iter().map(|&(name, value)| (name, value.into())).collect();
    found_in(trusted, peer, &headers).to_string()
}

fn found_in(trusted: &str, peer: &str, headers: &[(&str, Vec<u8>)]) -> IpAddr {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    let mut extensions = Extensions::new();
    extensions.insert(Peer(peer.parse().unwrap()));
    ClientAddress::of(&extensions, &map, &TrustedProxies::parse(trusted).unwrap()).0
}

#[test]
fn without_trust_the_client_is_whoever_connects() {
    let forged = [("x-forwarded-for", "9.9.9.9"), ("cf-connecting-ip", "9.9.9.9"), ("forwarded", "for=9.9.9.9")];
    assert_eq!(found("", "127.0.0.1", &forged), "127.0.0.1");
    assert_eq!(found("", "104.16.0.1", &forged), "104.16.0.1");
    assert_eq!(found("10.0.0.0/8", "127.0.0.1", &forged), "127.0.0.1", "that proxy is not trusted");
    assert_eq!(found("", "::ffff:192.0.2.1", &[]), "192.0.2.1");
}

#[test]
fn hops_count_from_the_right_over_all_lines() {
    let lines = [("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-forwarded-for", "2.2.2.2 , [2001:db8::3]:443")];
    for (hops, expected) in [("1", "2001:db8::3"), ("2", "2.2.2.2"), ("3", "1.1.1.1"), ("4", "6.6.6.6")] {
        assert_eq!(found(hops, "10.0.0.1", &lines), expected);
    }
    assert_eq!(found("5", "10.0.0.1", &lines), "10.0.0.1", "fewer entries than hops");
    assert_eq!(found("2", "10.0.0.1", &[("x-forwarded-for", "unknown, 1.1.1.1")]), "1.1.1.1");
    assert_eq!(found("1", "10.0.0.1", &[("forwarded", "for=6.6.6.6"), ("cf-connecting-ip", "6.6.6.6")]), "10.0.0.1");
}

#[test]
fn ranges_are_walked_to_the_first_address_that_is_not_trusted() {
    let trusted = "10.0.0.0/8, fd00::/8";
    for (header, expected) in [
        ("6.6.6.6, 1.1.1.1, 10.0.0.2, fd00::7", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1:8080", "1.1.1.1"),
        ("6.6.6.6, ::ffff:1.1.1.1, ::ffff:10.0.0.2", "1.1.1.1"),
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("6.6.6.6, _hidden, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(found(trusted, "10.0.0.1", &[("x-forwarded-for", header)]), expected, "{header}");
    }
}

#[test]
fn forwarded_is_read_where_a_trusted_proxy_writes_no_other() {
    for (header, expected) in [
        ("for=6.6.6.6, for=1.1.1.1;proto=https;by=10.0.0.1", "1.1.1.1"),
        ("For=\"[2001:db8::3]:4711\"", "2001:db8::3"),
        ("proto=http; for=\"1.1.1.1:80\", FOR=10.0.0.2", "1.1.1.1"),
        ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6, proto=https", "10.0.0.1"),
        ("for=1.1.1.1;for=6.6.6.6", "10.0.0.1"),
        // What the client says as its host stands in the proxy's quotes and is no element.
        ("for=1.1.1.1;host=\"x,for=6.6.6.6\"", "10.0.0.1"),
        ("for=1.1.1.1;host=\"x,for=6.6.6.6;a=\\\"\"", "10.0.0.1"),
    ] {
        assert_eq!(found("10.0.0.0/8", "10.0.0.1", &[("forwarded", header)]), expected, "{header}");
    }
    let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.1.1.1")];
    assert_eq!(found("10.0.0.0/8", "10.0.0.1", &both), "1.1.1.1");
}

#[test]
fn cloudflares_header_is_believed_from_cloudflare_alone() {
    let header = [("cf-connecting-ip", "1.1.1.1"), ("x-forwarded-for", "6.6.6.6, 1.1.1.1")];
    assert_eq!(found("cloudflare", "104.16.0.1", &header), "1.1.1.1");
    assert_eq!(found("cloudflare", "2606:4700::1", &header), "1.1.1.1");
    assert_eq!(found("cloudflare", "9.9.9.9", &header), "9.9.9.9");
    let forged = [("cf-connecting-ip", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1")];
    assert_eq!(found("cloudflare, 10.0.0.0/8", "10.0.0.1", &forged), "1.1.1.1", "the proxy is not Cloudflare");
    assert_eq!(found("10.0.0.0/8", "104.16.0.1", &forged), "104.16.0.1", "Cloudflare is not trusted");
    let twice =
        [("cf-connecting-ip", "6.6.6.6"), ("cf-connecting-ip", "7.7.7.7"), ("x-forwarded-for", "6.6.6.6, 1.1.1.1")];
    assert_eq!(found("cloudflare", "104.16.0.1", &twice), "1.1.1.1");
}

#[test]
fn an_ipv6_client_is_counted_by_its_network() {
    let counted = |text: &str| ClientAddress(text.parse().unwrap()).counted().to_string();
    assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!(counted("2001:db8:1:3:3:4:5:6"), "2001:db8:1:3::");
    assert_eq!(counted("192.0.2.7"), "192.0.2.7");
}

/// What an attacker writes into a header: addresses, nearly addresses, separators and any bytes a header takes.
fn forged() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]:80")),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("::ffff:{address}")),
        prop::sample::select(vec![
            "10.0.0.9",
            "104.16.0.9",
            "unknown",
            "_x",
            "for=",
            "for=6.6.6.6",
            "\"",
            "\\",
            ";",
            "=",
            " "
        ])
        .prop_map(str::to_owned),
    ];
    let text = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.join(",").into_bytes());
    let bytes = prop::collection::vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t')], 0..40);
    prop_oneof![3 => text, 1 => bytes]
}

fn forged_headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names = vec!["x-forwarded-for", "cf-connecting-ip", "forwarded", "x-real-ip", "true-client-ip"];
    prop::collection::vec((prop::sample::select(names), forged()), 0..6)
}

/// An address that is not in `10.0.0.0/8` and not Cloudflare's.
fn client() -> impl Strategy<Value = IpAddr> {
    let octets = (198_u8..=198, 18_u8..=19, any::<u8>(), any::<u8>());
    octets.prop_map(|(a, b, c, d)| std::net::Ipv4Addr::new(a, b, c, d).into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fault_06_no_forged_header_is_believed_from_somebody_who_is_not_trusted(peer in client(), headers in forged_headers()) {
        for trusted in ["", "10.0.0.0/8", "cloudflare"] {
            prop_assert_eq!(found_in(trusted, &peer.to_string(), &headers), peer);
        }
    }

    #[test]
    fn fault_06_nothing_that_a_client_sends_through_a_trusted_proxy_changes_its_address(
        client in client(),
        headers in forged_headers(),
        joined in any::<bool>(),
    ) {
        // The proxy adds the client's address as it should: to the last line, or as a line of its own.
        let mut passed = headers.clone();
        let last = passed.iter_mut().rev().find(|(name, _)| *name == "x-forwarded-for");
        match last {
            Some((_, line)) if joined => line.extend_from_slice(format!(", {client}").as_bytes()),
            _ => passed.push(("x-forwarded-for", client.to_string().into_bytes())),
        }
        prop_assert_eq!(found_in("10.0.0.0/8", "10.0.0.1", &passed), client);
        prop_assert_eq!(found_in("1", "10.0.0.1", &passed), client);
        let mut two = passed.clone();
        two.push(("x-forwarded-for", b"10.0.0.2".to_vec()));
        prop_assert_eq!(found_in("2", "10.0.0.1", &two), client);
        prop_assert_eq!(found_in("10.0.0.0/8", "10.0.0.1", &two), client);
        // Cloudflare writes its header itself and lets no other through.
        let mut cloudflare = passed;
        cloudflare.retain(|(name, _)| *name != "cf-connecting-ip");
        cloudflare.push(("cf-connecting-ip", client.to_string().into_bytes()));
        prop_assert_eq!(found_in("cloudflare", "104.16.0.1", &cloudflare), client);
    }
}
