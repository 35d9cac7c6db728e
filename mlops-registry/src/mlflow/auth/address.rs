//! Which address a client has, as far as it is known.
//!
//! Invariant: what a header says is believed of a trusted proxy alone, and of it only the part that it wrote itself.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address for which wrong passwords count; none where it is unknown or would be that of many.
pub(super) fn counted(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let address = if is_one_of(trusted, peer) { forwarded(headers, trusted)? } else { peer };
    (!address.is_loopback()).then_some(address)
}

fn is_one_of(trusted: &[IpAddr], address: IpAddr) -> bool {
    trusted.iter().any(|proxy| proxy.to_canonical() == address)
}

/// The address from which the first proxy that is not trusted, or the client itself, asked the ones that are.
fn forwarded(headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    let values: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str()).collect::<Result<_, _>>().ok()?;
    let mut addresses = values.iter().rev().flat_map(|value| value.rsplit(',')).map(|text| parse(text.trim()));
    addresses.find(|address| address.is_none_or(|address| !is_one_of(trusted, address))).flatten()
}

/// An address, with or without port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<IpAddr> =
            ["10.0.0.1", "::ffff:10.0.0.2", "127.0.0.1"].map(|text| text.parse().unwrap()).into();
        let check = |peer: &str, headers: &[&'static str], want: Option<&str>| {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let found = counted(Some(peer.parse().unwrap()), &map, &trusted);
            assert_eq!(found.map(|address| address.to_string()).as_deref(), want, "{peer} {headers:?}");
        };
        check("192.0.2.1", &["198.51.100.1"], Some("192.0.2.1"));
        check("::ffff:192.0.2.1", &[], Some("192.0.2.1"));
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1"], Some("198.51.100.1"));
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1:443, 10.0.0.2"], Some("198.51.100.1"));
        check("127.0.0.1", &["2001:db8::1"], Some("2001:db8::1"));
        check("10.0.0.1", &["[2001:db8::1]:443"], Some("2001:db8::1"));
        for unknown in [&[][..], &["1.1.1.1, unknown"], &["10.0.0.2"], &["127.0.0.1"], &[""]] {
            check("10.0.0.1", unknown, None);
        }
        check("::1", &["198.51.100.1"], None);
        assert_eq!(counted(None, &HeaderMap::new(), &trusted), None);
    }
}
