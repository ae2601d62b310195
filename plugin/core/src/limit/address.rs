//! Where a request comes from, as the host tells: on Kong behind `trusted_ips`, on Envoy behind
//! the settings of its connection manager. What a client claims in a header counts only there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address that a caller is known by: an IPv4 address, or the /64 of an IPv6 address. One
/// household or machine has a whole /64 to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(IpAddr);

impl Source {
    /// Reads what the host tells: an address, with or without a port.
    #[must_use]
    pub fn read(told: &[u8]) -> Option<Self> {
        let text = str::from_utf8(told).ok()?;
        let address = text.parse::<IpAddr>().or_else(|_| {
            // "[2001:db8::1]:443" and "192.0.2.7:50000"
            text.parse::<SocketAddr>().map(|address| address.ip())
        });
        Some(Self::of(address.ok()?))
    }

    /// The source at `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// Calls `f` with the bytes that tell this source from all others: 4, or 8 of a /64.
    pub(super) fn with_bytes<T>(self, f: impl FnOnce(&[u8]) -> T) -> T {
        match self.0 {
            IpAddr::V4(v4) => f(&v4.octets()),
            IpAddr::V6(v6) => f(v6.octets().first_chunk::<8>().map_or(&[], <[u8; 8]>::as_slice)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(told: &str) -> Option<Vec<u8>> {
        Source::read(told.as_bytes()).map(|source| source.with_bytes(<[u8]>::to_vec))
    }

    #[test]
    fn hosts_tell_addresses_with_and_without_a_port() {
        for told in ["192.0.2.7", "192.0.2.7:50000", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1"] {
            assert_eq!(bytes(told), Some(vec![192, 0, 2, 7]), "{told}");
        }
        for told in ["", "localhost", "192.0.2", "192.0.2.7:", "unix:", "2001:db8::1]:443"] {
            assert_eq!(bytes(told), None, "{told}");
        }
        assert_eq!(Source::read(b"\xff"), None);
    }

    #[test]
    fn a_household_is_one_caller() {
        let home = bytes("2001:db8:1:2::1");
        assert_eq!(home, Some(vec![0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2]));
        assert_eq!(bytes("[2001:db8:1:2:ffff:ffff:ffff:ffff]:443"), home);
        assert_ne!(bytes("2001:db8:1:3::1"), home);
    }
}
