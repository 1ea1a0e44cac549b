//! How many connections come in: in total, from one address, and with their handshake under way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use crate::{Limits, locked};

/// Counts connections that come in, and turns away those above a bound.
pub(crate) struct Gate {
    bounds: Bounds,
    inside: Mutex<Inside>,
}

struct Bounds {
    total: usize,
    per_address: usize,
    half_open: usize,
}

#[derive(Default)]
struct Inside {
    total: usize,
    half_open: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bounds: Bounds {
                total: limits.connections,
                per_address: limits.connections_per_address,
                half_open: limits.half_open,
            },
            inside: Mutex::default(),
        }
    }

    /// A place for a connection whose handshake begins; `None` at a bound.
    pub(crate) fn enter(self: &Arc<Self>, from: SocketAddr) -> Option<Place> {
        let network = network_of(from.ip());
        let mut inside = locked(&self.inside);
        let from_there = inside.by_address.get(&network).copied().unwrap_or(0);
        if inside.total >= self.bounds.total
            || inside.half_open >= self.bounds.half_open
            || from_there >= self.bounds.per_address
        {
            return None;
        }
        inside.total += 1;
        inside.half_open += 1;
        inside.by_address.insert(network, from_there + 1);
        Some(Place {
            gate: self.clone(),
            network,
            half_open: true,
        })
    }

    /// Connections inside, half-open ones included; and those.
    pub(crate) fn count(&self) -> (usize, usize) {
        let inside = locked(&self.inside);
        (inside.total, inside.half_open)
    }
}

/// A connection's place; given back on drop.
pub(crate) struct Place {
    gate: Arc<Gate>,
    network: IpAddr,
    half_open: bool,
}

impl Place {
    /// The handshake is done: one half-open connection less.
    pub(crate) fn shaken(&mut self) {
        if std::mem::take(&mut self.half_open) {
            locked(&self.gate.inside).half_open -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shaken();
        let mut inside = locked(&self.gate.inside);
        inside.total -= 1;
        if let Some(count) = inside.by_address.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&self.network);
            }
        }
    }
}

/// What counts as one address: of IPv6 the /64, which one customer has whole.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Arc::new(Gate::new(&Limits {
            connections: 4,
            connections_per_address: 2,
            half_open: 3,
            ..Limits::default()
        }))
    }

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    #[test]
    fn one_address_has_its_bound() {
        let gate = gate();
        let _one = gate.enter(from("192.0.2.1")).unwrap();
        let two = gate.enter(from("192.0.2.1")).unwrap();
        assert!(gate.enter(from("192.0.2.1")).is_none());
        assert!(gate.enter(from("::ffff:192.0.2.1")).is_none());
        assert!(gate.enter(from("192.0.2.2")).is_some());
        drop(two);
        assert!(gate.enter(from("192.0.2.1")).is_some());
    }

    #[test]
    fn a_whole_64_is_one_address() {
        let gate = gate();
        let _one = gate.enter(from("2001:db8::1")).unwrap();
        let _two = gate.enter(from("2001:db8::ffff:1")).unwrap();
        assert!(gate.enter(from("2001:db8::3")).is_none());
        assert!(gate.enter(from("2001:db8:0:1::3")).is_some());
    }

    #[test]
    fn half_open_and_total_have_their_bounds_and_places_come_back() {
        let gate = gate();
        let mut places: Vec<_> = (1..=3)
            .map(|host| gate.enter(from(&format!("192.0.2.{host}"))).unwrap())
            .collect();
        assert!(gate.enter(from("192.0.2.9")).is_none());
        places[0].shaken();
        places[0].shaken();
        assert_eq!(gate.count(), (3, 2));
        places.push(gate.enter(from("192.0.2.9")).unwrap());
        places[1].shaken();
        assert!(gate.enter(from("192.0.2.8")).is_none());
        drop(places);
        assert_eq!(gate.count(), (0, 0));
        assert!(locked(&gate.inside).by_address.is_empty());
    }
}
