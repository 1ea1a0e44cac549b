//! The rates of a network, as its directory signs them.

use std::time::Duration;

use wire::{Decode, DecodeError, Encode, Reader, Writer};

use crate::{DelayLaw, Rate};

/// The signed parameters of all traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    /// A client's slots, in the class that is taken unless another is chosen (lambda_P).
    pub payload: Rate,
    /// Weight of loops among a client's idle slots.
    pub client_loop: u32,
    /// Weight of drop packets among a client's idle slots.
    pub drop: u32,
    /// A mix's loops (lambda_M).
    pub mix_loop: Rate,
    /// A gateway's slots into layer 1 (lambda_G).
    pub gateway_loop: Rate,
    /// The delay at each mix (mean mu).
    pub delay: DelayLaw,
    /// Slots of a client for each of its requests, on average: its request clock runs at the
    /// rate of its class divided by this, with a question or a dummy at each tick.
    pub slots_per_request: u32,
}

impl Rates {
    /// Length of the encoding: seven 4-byte integers in the order of the fields; rates in
    /// thousandths of an event per second, the mean delay in microseconds.
    pub const ENCODED_LEN: usize = 28;

    /// The rate of requests of a client whose slots have the rate `class`: at least one in a
    /// thousand seconds.
    #[must_use]
    pub fn requests(&self, class: Rate) -> Rate {
        let slots = self.slots_per_request.max(1);
        Rate::from_millihertz((class.millihertz() / slots).max(1)).unwrap_or(class)
    }
}

/// 6 slots a second, half of the idle ones loops; 2 loops a second from each mix, 20 slots from
/// each gateway; 50 ms a hop; every sixth slot for a request.
impl Default for Rates {
    fn default() -> Self {
        let rate = |per_second| Rate::new(per_second).expect("a constant in range");
        Self {
            payload: rate(6.0),
            client_loop: 1,
            drop: 1,
            mix_loop: rate(2.0),
            gateway_loop: rate(20.0),
            delay: DelayLaw::new(Duration::from_millis(50)).expect("a constant in range"),
            slots_per_request: 6,
        }
    }
}

impl Encode for Rates {
    fn encode(&self, writer: &mut Writer) {
        self.payload.encode(writer);
        writer.u32(self.client_loop);
        writer.u32(self.drop);
        self.mix_loop.encode(writer);
        self.gateway_loop.encode(writer);
        self.delay.encode(writer);
        writer.u32(self.slots_per_request);
    }
}

impl Decode for Rates {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let rates = Self {
            payload: Rate::decode(reader)?,
            client_loop: reader.u32()?,
            drop: reader.u32()?,
            mix_loop: Rate::decode(reader)?,
            gateway_loop: Rate::decode(reader)?,
            delay: DelayLaw::decode(reader)?,
            slots_per_request: reader.u32()?,
        };
        let idle = rates.client_loop == 0 && rates.drop == 0;
        if idle || rates.slots_per_request == 0 {
            return Err(DecodeError::OutOfRange);
        }
        Ok(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(rates) = Rates::from_bytes(bytes) {
                assert_eq!(rates.to_bytes(), bytes);
            }
        });
    }

    #[test]
    fn the_encoding_is_seven_integers() {
        let rates = Rates::default();
        let bytes = rates.to_bytes();
        assert_eq!(bytes.len(), Rates::ENCODED_LEN);
        assert_eq!(bytes[..4], 6000u32.to_be_bytes());
        assert_eq!(bytes[20..24], 50_000u32.to_be_bytes());
        assert_eq!(bytes[24..], 6u32.to_be_bytes());
        assert_eq!(Rates::from_bytes(&bytes), Ok(rates));
    }

    #[test]
    fn requests_take_their_share_of_a_class() {
        let rates = Rates::default();
        for (class, requests) in [(6.0, 1.0), (30.0, 5.0), (120.0, 20.0)] {
            let class = Rate::new(class).unwrap();
            assert_eq!(rates.requests(class), Rate::new(requests).unwrap());
        }
        let slowest = Rate::from_millihertz(1).unwrap();
        assert_eq!(rates.requests(slowest), slowest);
    }

    #[test]
    fn refuses_requests_without_slots() {
        let rates = Rates {
            slots_per_request: 0,
            ..Rates::default()
        };
        assert_eq!(
            Rates::from_bytes(&rates.to_bytes()),
            Err(DecodeError::OutOfRange)
        );
    }

    #[test]
    fn refuses_idle_slots_without_a_weight() {
        let rates = Rates {
            client_loop: 0,
            drop: 0,
            ..Rates::default()
        };
        assert_eq!(
            Rates::from_bytes(&rates.to_bytes()),
            Err(DecodeError::OutOfRange)
        );
    }
}
