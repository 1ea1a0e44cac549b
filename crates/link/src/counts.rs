//! What a mesh has counted, for the owner's metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use quinn::Connection;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a mesh has counted since it was bound.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct LinkCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl LinkCounts {
            /// Every count under its label, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            /// Adds what a connection that ends has sent.
            pub(crate) fn carried_by(&self, connection: &Connection) {
                let path = connection.stats().path;
                self.datagrams_out.many(path.sent_packets);
                self.datagrams_lost.many(path.lost_packets);
            }

            pub(crate) fn read(&self) -> LinkCounts {
                LinkCounts { $($name: self.$name.read(),)* }
            }
        }
    };
}

counts! {
    /// Frames handed to the owner.
    frames_in,
    /// Frames handed to QUIC.
    frames_out,
    /// Frames above their peer's rate, not looked at.
    rate_exceeded,
    /// Frames refused because the peer's queue was full.
    overload,
    /// Frames refused because there was no link to the peer.
    not_connected,
    /// Frames taken for sending whose link went down before QUIC had them.
    lost,
    /// QUIC packets that carried links, acknowledgements and repetitions among them.
    datagrams_out,
    /// Of those, how many were taken for lost, and what they held sent again: below the frames,
    /// whose times they do not change.
    datagrams_lost,
    /// Links that ended because the node at the other end had another address.
    moved,
    /// Streams that ended inside a frame.
    short_frame,
    /// Peers whose frames are of another length, or whose first bytes are no preamble.
    bad_preamble,
    /// Calls longer than their bound, or that do not decode.
    bad_call,
    /// Calls that did not arrive, or were not answered, in time.
    call_deadline,
    /// Handshakes refused for a key that is not admitted, or for none where one is asked for.
    peer_not_in_consensus,
    /// Handshakes that failed otherwise.
    handshake_failed,
    /// Handshakes that were not finished in time.
    handshake_deadline,
    /// Connections turned away at a bound.
    connections_refused,
    /// Dialled nodes that showed another key.
    wrong_key,
    /// Dials that failed, for whatever reason.
    dial_failed,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn one(&self) {
        self.many(1);
    }

    pub(crate) fn many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
