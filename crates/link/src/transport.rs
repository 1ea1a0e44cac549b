//! QUIC's settings: what a connection may hold, and for how long.

use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt};

use crate::Limits;
use crate::window::WindowLaw;

/// What a connection may hold, derived from the limits and the frame length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Bytes a second that a link carries.
    bytes_per_second: u64,
    /// Most bytes of a node's in our memory unread, and of ours unconfirmed.
    node: u64,
    /// The same for a guest.
    guest: u64,
}

impl Windows {
    pub(crate) fn new(limits: &Limits, frame_len: usize) -> Self {
        let bytes_per_second = u64::from(limits.window_rate).saturating_mul(frame_len as u64);
        let node = (bytes_per_second / 2).clamp(GUEST_WINDOW, MAX_WINDOW);
        Self {
            bytes_per_second,
            node,
            guest: GUEST_WINDOW,
        }
    }

    /// Settings of connections that we dial: their other end is a node.
    pub(crate) fn dialling(&self, limits: &Limits, calls: u32) -> Arc<TransportConfig> {
        let mut transport = self.common(limits);
        transport
            .receive_window(bounded(self.node))
            .send_window(self.node)
            .max_concurrent_bidi_streams(calls.into())
            .keep_alive_interval(Some(limits.idle / 3));
        Arc::new(transport)
    }

    /// Settings of connections that come to us: until a key is shown, a guest's.
    pub(crate) fn listening(&self, limits: &Limits) -> Arc<TransportConfig> {
        let mut transport = self.common(limits);
        transport
            .receive_window(bounded(self.guest))
            .send_window(self.guest)
            .max_concurrent_bidi_streams(limits.guest_calls.into());
        Arc::new(transport)
    }

    /// Widens a connection that came to us, once a node has shown its key.
    pub(crate) fn widen(&self, connection: &quinn::Connection, limits: &Limits) {
        connection.set_receive_window(bounded(self.node));
        connection.set_send_window(self.node);
        connection.set_max_concurrent_bi_streams(limits.node_calls.into());
    }

    fn common(&self, limits: &Limits) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let mut acknowledgements = AckFrequencyConfig::default();
        acknowledgements
            .ack_eliciting_threshold(DATAGRAMS_PER_ACKNOWLEDGEMENT.into())
            .reordering_threshold(1u32.into())
            .max_ack_delay(Some(LATEST_ACKNOWLEDGEMENT));
        let law = WindowLaw::new(self.bytes_per_second, self.node);
        transport
            // One stream of frames in each direction, for as long as the link lives.
            .max_concurrent_uni_streams(1u32.into())
            .stream_receive_window(bounded(self.node))
            .max_idle_timeout(Some(idle(limits.idle)))
            .congestion_controller_factory(Arc::new(law))
            .ack_frequency_config(Some(acknowledgements))
            .initial_rtt(FIRST_ROUND_TRIP)
            .packet_threshold(OVERTAKEN)
            .datagram_receive_buffer_size(None)
            // The spin bit would show every observer of the path its round trip.
            .allow_spin(false);
        transport
    }
}

fn bounded(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

fn idle(limit: Duration) -> IdleTimeout {
    IdleTimeout::try_from(limit).unwrap_or(IdleTimeout::from(VarInt::MAX))
}

/// The window does not follow acknowledgements, so that few of them will do: at one for two
/// datagrams, QUIC's usual, a frame of six would bring three back.
const DATAGRAMS_PER_ACKNOWLEDGEMENT: u32 = 10;

/// A loss after which nothing came is noticed by its silence, which begins after this. With this
/// and an acknowledgement at the first gap, the example `losses` saw the slowest hundredth of
/// frames at 30 % loss in 53 ms instead of 71, for a twentieth more datagrams.
const LATEST_ACKNOWLEDGEMENT: Duration = Duration::from_millis(5);

/// A round trip before one is measured: three of these, and a handshake's first datagrams are
/// sent again. At QUIC's usual 333 ms a handshake on a bad path took longer than it may.
pub(crate) const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Datagrams that may overtake one before it counts as lost, besides the time that does. At QUIC's
/// usual 3, a path that delays half of the datagrams had nearly all of those sent twice; on a
/// machine short of time that made more of it, and questions were late. On paths that only lose,
/// the example `losses` sees no difference: there time decides first.
const OVERTAKEN: u32 = 64;

/// Half a second of the highest class, 120 slots a second.
const GUEST_WINDOW: u64 = 512 << 10;

/// Whatever the rate.
const MAX_WINDOW: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_half_a_second_within_their_bounds() {
        let mut limits = Limits {
            window_rate: 1000,
            ..Limits::default()
        };
        assert_eq!(Windows::new(&limits, 8542).node, 4_271_000);
        limits.window_rate = 1;
        assert_eq!(Windows::new(&limits, 8542).node, GUEST_WINDOW);
        limits.window_rate = u32::MAX;
        assert_eq!(Windows::new(&limits, 8542).node, MAX_WINDOW);
    }
}
