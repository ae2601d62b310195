//! Where the exchange may connect to. The owner of an instance chooses its address, so without
//! this an instance could be a door into the operator's own network (SSRF).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far an instance's address may reach; chosen by the operator at registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only addresses on the internet.
    Public,
    /// Also loopback and private networks (`--allow-private`).
    Private,
}

/// What lies behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The internet.
    Public,
    /// Loopback, private networks (RFC 1918, RFC 4193) and shared ones (RFC 6598).
    Private,
    /// Never an instance: link-local (where clouds keep their metadata), multicast, unspecified,
    /// reserved, and addresses that hide another.
    Forbidden,
}

impl Reach {
    /// Whether `address` is within reach.
    #[must_use]
    pub const fn covers(self, address: IpAddr) -> bool {
        match zone(address) {
            Zone::Public => true,
            Zone::Private => matches!(self, Self::Private),
            Zone::Forbidden => false,
        }
    }
}

/// The address that `url` names by itself, without a lookup.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host() {
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
        Some(Host::Domain(_)) | None => None,
    }
}

/// The zone of `address`, after the special-purpose registries of IANA (RFC 6890).
#[must_use]
pub const fn zone(address: IpAddr) -> Zone {
    match address {
        IpAddr::V4(v4) => zone_v4(v4),
        IpAddr::V6(v6) => zone_v6(v6),
    }
}

/// Answers a machine of Azure about itself, from a public address.
const AZURE_METADATA: [u8; 4] = [168, 63, 129, 16];

const fn zone_v4(address: Ipv4Addr) -> Zone {
    match address.octets() {
        [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Zone::Private,
        // "This network", link-local, and everything from multicast up.
        [0 | 224..=255, ..] | [169, 254, ..] => Zone::Forbidden,
        // Protocol assignments, documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Zone::Forbidden,
        [198, 51, 100, _] | [203, 0, 113, _] | AZURE_METADATA => Zone::Forbidden,
        _ => Zone::Public,
    }
}

const fn zone_v6(address: Ipv6Addr) -> Zone {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] if !is_metadata_v6(address) => {
            Zone::Private
        }
        // IPv4-mapped (RFC 4291) and NAT64 (RFC 6052): the IPv4 address is what is reached.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            zone_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo, documentation, 6to4: they hide or reach nothing.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => Zone::Forbidden,
        [0x3fff, 0..=0xfff, ..] => Zone::Forbidden,
        // Global unicast; nothing else is assigned.
        [0x2000..=0x3fff, ..] => Zone::Public,
        _ => Zone::Forbidden,
    }
}

/// Answers a machine of Amazon's about itself, from a private address.
const fn is_metadata_v6(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_in_its_zone() {
        for (zone_wanted, addresses) in [
            (Zone::Public, "1.1.1.1 100.63.0.1 172.32.0.1 192.169.0.1 2606:4700::1111"),
            (Zone::Public, "::ffff:1.1.1.1 64:ff9b::1.1.1.1"),
            (Zone::Private, "127.0.0.1 127.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1"),
            (Zone::Private, "100.64.0.1 100.100.100.200 ::1 fd12::1 fc00::1"),
            (Zone::Private, "::ffff:127.0.0.1 ::ffff:192.168.1.1 64:ff9b::10.0.0.1"),
            (Zone::Forbidden, "0.0.0.0 0.1.2.3 169.254.169.254 168.63.129.16 192.0.0.192"),
            (Zone::Forbidden, "224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 198.18.0.1"),
            (Zone::Forbidden, ":: ::127.0.0.1 fe80::1 fec0::1 ff02::1 fd00:ec2::254 2001::1"),
            (Zone::Forbidden, "2002:7f00:1::1 2001:db8::1 ::ffff:169.254.169.254"),
            (Zone::Forbidden, "64:ff9b::169.254.169.254 64:ff9b:1::1 100::1 5f00::1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(zone(address.parse().unwrap()), zone_wanted, "{address}");
            }
        }
    }

    #[test]
    fn private_addresses_need_permission_and_forbidden_ones_never_get_it() {
        for (address, public, private) in
            [("1.1.1.1", true, true), ("127.0.0.1", false, true), ("169.254.169.254", false, false)]
        {
            let address = address.parse().unwrap();
            assert_eq!(Reach::Public.covers(address), public, "{address}");
            assert_eq!(Reach::Private.covers(address), private, "{address}");
        }
    }
}
