//! Socket addresses on the wire, and which of them a network admits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::{DecodeError, Reader, Writer};

/// Most addresses of one node.
pub(crate) const MAX_ADDRESSES: usize = 4;

/// Appends 1 to [`MAX_ADDRESSES`] addresses: count, then family, address and port of each.
pub(crate) fn encode(addresses: &[SocketAddr], writer: &mut Writer) {
    writer.u8(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
    for address in addresses {
        encode_one(address, writer);
    }
}

/// Reads what [`encode`] wrote; refuses an empty list and repeated addresses.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Vec<SocketAddr>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > MAX_ADDRESSES {
        return Err(DecodeError::TooLong);
    }
    let mut addresses = Vec::new();
    for _ in 0..count {
        let address = decode_one(reader)?;
        if addresses.contains(&address) {
            return Err(DecodeError::OutOfRange);
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(DecodeError::OutOfRange);
    }
    Ok(addresses)
}

/// One address: family 4 or 6, the address, the port.
pub(crate) fn encode_one(address: &SocketAddr, writer: &mut Writer) {
    match address.ip() {
        IpAddr::V4(ip) => {
            writer.u8(4);
            writer.raw(&ip.octets());
        }
        IpAddr::V6(ip) => {
            writer.u8(6);
            writer.raw(&ip.octets());
        }
    }
    writer.u16(address.port());
}

/// Reads one address; a mapped IPv4 address is not in its one form.
pub(crate) fn decode_one(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = match reader.u8()? {
        4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        6 => {
            let ip = Ipv6Addr::from(reader.array::<16>()?);
            if ip.to_ipv4_mapped().is_some() {
                return Err(DecodeError::OutOfRange);
            }
            IpAddr::V6(ip)
        }
        _ => return Err(DecodeError::UnknownTag),
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

/// Whether a node may advertise `address`: a unicast address and port, and on public networks
/// one that is routed.
pub(crate) fn admitted(address: &SocketAddr, local: bool) -> bool {
    let ip = address.ip();
    let usable = address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
    usable && (local || is_public(ip))
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_networks_admit_routed_addresses_only() {
        let local = [
            "127.0.0.1:4000",
            "[::1]:4000",
            "10.1.2.3:4000",
            "[fd00::1]:4000",
            "[fe80::1]:4000",
        ];
        for text in local {
            let address = text.parse().unwrap();
            assert!(!admitted(&address, false), "{text}");
            assert!(admitted(&address, true), "{text}");
        }
        for text in ["0.0.0.0:4000", "[::]:4000", "224.0.0.1:4000", "9.9.9.9:0"] {
            assert!(!admitted(&text.parse().unwrap(), true), "{text}");
        }
        assert!(admitted(&"9.9.9.9:4000".parse().unwrap(), false));
        assert!(admitted(&"[2620:fe::fe]:4000".parse().unwrap(), false));
    }

    #[test]
    fn refuses_an_address_in_a_second_form() {
        let mut writer = Writer::default();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        encode_one(&SocketAddr::new(mapped.into(), 1), &mut writer);
        let bytes = writer.into_bytes();
        assert_eq!(
            decode_one(&mut Reader::new(&bytes)),
            Err(DecodeError::OutOfRange)
        );
    }
}
