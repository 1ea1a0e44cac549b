//! One link: a stream of frames in each direction over one connection.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Mutex;

use bytes::Bytes;
use quinn::{
    Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::bucket::Bucket;
use crate::mesh::Shared;
use crate::mesh::registry::{Direction, Link};
use crate::splitter::{Split, Splitter};
use crate::{Frame, LinkError, MeshEvent, Peer, locked};

/// Why an end closes a connection or a stream (docs/spec/link.md, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// No fault.
    Done,
    /// The key shown is not admitted (any more).
    NotAdmitted,
    /// The peer has a newer link in the same direction.
    Replaced,
    /// The first bytes are no preamble, or name another frame length.
    BadPreamble,
    /// The stream ended, or stood still, inside a frame.
    ShortFrame,
    /// The stream of frames ended.
    StreamEnded,
    /// A call is longer than its bound, or did not arrive in time.
    BadCall,
    /// A call is not answered.
    Unanswered,
}

impl Code {
    pub(crate) fn close(self, connection: &Connection) {
        connection.close(self.number(), b"");
    }

    pub(crate) fn number(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// Both streams of a link, past their preambles.
pub(crate) struct Streams {
    send: SendStream,
    receive: RecvStream,
}

/// Offers a link on a connection that we dialled.
pub(crate) async fn offer(connection: &Connection, shared: &Shared) -> Result<Streams, LinkError> {
    let exchange = async {
        let send = open(connection, shared.frame_len).await?;
        let receive = accept(connection, shared.frame_len).await?;
        Ok(Streams { send, receive })
    };
    timeout(shared.limits.handshake, exchange)
        .await
        .map_err(|_| LinkError::Deadline)?
}

/// Waits for the other end to offer a link, and takes it up.
pub(crate) async fn answer(connection: &Connection, shared: &Shared) -> Result<Streams, LinkError> {
    let receive = connection.accept_uni().await.map_err(closed)?;
    let exchange = async {
        let receive = check_preamble(receive, shared.frame_len).await?;
        let send = open(connection, shared.frame_len).await?;
        Ok(Streams { send, receive })
    };
    timeout(shared.limits.handshake, exchange)
        .await
        .map_err(|_| LinkError::Deadline)?
}

/// Carries frames until the connection ends.
pub(crate) async fn run(
    shared: &Shared,
    connection: &Connection,
    peer: Peer,
    direction: Direction,
    streams: Streams,
) {
    let Streams { send, receive } = streams;
    let bound = match peer {
        Peer::Node(_) => shared.limits.node_queue,
        Peer::Guest(_) => shared.limits.guest_queue,
    };
    let (queue, mut waiting) = mpsc::channel(bound.max(1));
    let number = shared.next_number();
    let link = Link {
        number,
        direction,
        connection: connection.clone(),
        queue,
    };
    let bucket = shared.link_up(peer, link).await;
    let end = tokio::select! {
        end = read(shared, connection, peer, receive, &bucket) => end,
        never = write_on(shared, connection, send, &mut waiting) => match never {},
    };
    end.close(connection);
    shared.counters.carried_by(connection);
    waiting.close();
    while waiting.try_recv().is_ok() {
        shared.counters.lost.one();
    }
    shared.link_down(peer, direction, number).await;
}

/// Hands frames to the mesh's owner until the stream ends; says how it ended.
async fn read(
    shared: &Shared,
    connection: &Connection,
    peer: Peer,
    mut receive: RecvStream,
    bucket: &Mutex<Bucket>,
) -> Code {
    let mut splitter = Splitter::new(shared.frame_len);
    let mut chunks = vec![Bytes::new(); CHUNKS];
    let mut begun = Instant::now();
    let at = connection.remote_address();
    loop {
        let limit = begun + shared.limits.idle;
        let more = async {
            if splitter.is_inside() {
                timeout_at(limit, receive.read_chunks(&mut chunks)).await
            } else {
                Ok(receive.read_chunks(&mut chunks).await)
            }
        };
        let filled = match more.await {
            Ok(Ok(Some(filled))) => filled,
            Ok(Ok(None)) => return ended(shared, &splitter, true),
            Ok(Err(error)) => return ended(shared, &splitter, by_the_peer(&error)),
            Err(_) => return ended(shared, &splitter, true),
        };
        // A client's address may change, once QUIC has validated the new one. A node's stands in
        // its descriptor: it is dialled anew.
        if matches!(peer, Peer::Node(_)) && connection.remote_address() != at {
            shared.counters.moved.one();
            return Code::Done;
        }
        let mut batch = Batch::default();
        if !splitter.is_inside() {
            begun = Instant::now();
        }
        locked(bucket).refill(shared.services.clock.now());
        for chunk in chunks.iter_mut().take(filled) {
            let chunk = std::mem::take(chunk);
            let mut input = chunk.as_ref();
            while let Some(split) = splitter.next(&mut input, || locked(bucket).take()) {
                begun = Instant::now();
                batch.add(split);
                if batch.frames.len() == BATCH {
                    batch.hand_over(shared, peer).await;
                }
            }
        }
        batch.hand_over(shared, peer).await;
    }
}

/// What one reading brought.
#[derive(Default)]
struct Batch {
    frames: Vec<Frame>,
    refused: u64,
}

impl Batch {
    fn add(&mut self, split: Split) {
        match split {
            Split::Frame(frame) => self.frames.push(frame),
            Split::Refused => self.refused += 1,
        }
    }

    /// Waits while the owner's queue is full: the peer then runs into QUIC's flow control.
    async fn hand_over(&mut self, shared: &Shared, from: Peer) {
        let Self { frames, refused } = std::mem::take(self);
        if frames.is_empty() && refused == 0 {
            return;
        }
        shared.counters.frames_in.many(frames.len() as u64);
        shared.counters.rate_exceeded.many(refused);
        shared
            .tell(MeshEvent::Frames {
                from,
                frames,
                refused,
            })
            .await;
    }
}

fn ended(shared: &Shared, splitter: &Splitter, peers_doing: bool) -> Code {
    if splitter.is_inside() && peers_doing {
        shared.counters.short_frame.one();
        Code::ShortFrame
    } else {
        Code::StreamEnded
    }
}

/// Whether the peer ended the stream or connection, rather than we or the network.
fn by_the_peer(error: &ReadError) -> bool {
    match error {
        ReadError::Reset(_) => true,
        ReadError::ConnectionLost(error) => matches!(
            error,
            ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_)
        ),
        _ => false,
    }
}

/// Writes what is queued, all that waits at once; when that fails, closes and waits for the
/// reader to notice.
async fn write_on(
    shared: &Shared,
    connection: &Connection,
    mut send: SendStream,
    waiting: &mut mpsc::Receiver<Bytes>,
) -> Infallible {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = waiting.recv_many(&mut batch, BATCH).await;
        let written = send.write_all_chunks(&mut batch).await;
        let lost = batch.iter().filter(|rest| !rest.is_empty()).count();
        batch.clear();
        shared.counters.lost.many(lost as u64);
        shared.counters.frames_out.many((count - lost) as u64);
        if written.is_err() || count == 0 {
            Code::StreamEnded.close(connection);
            return pending().await;
        }
    }
}

async fn open(connection: &Connection, frame_len: usize) -> Result<SendStream, LinkError> {
    let mut send = connection.open_uni().await.map_err(closed)?;
    send.write_all(&preamble(frame_len))
        .await
        .map_err(|_| LinkError::Closed)?;
    Ok(send)
}

async fn accept(connection: &Connection, frame_len: usize) -> Result<RecvStream, LinkError> {
    let receive = connection.accept_uni().await.map_err(closed)?;
    check_preamble(receive, frame_len).await
}

async fn check_preamble(
    mut receive: RecvStream,
    frame_len: usize,
) -> Result<RecvStream, LinkError> {
    let mut bytes = [0; PREAMBLE_LEN];
    match receive.read_exact(&mut bytes).await {
        Ok(()) if bytes == preamble(frame_len) => Ok(receive),
        Ok(()) => Err(LinkError::FrameLengthDiffers),
        Err(ReadExactError::FinishedEarly(_)) => Err(LinkError::ShortFrame),
        Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => Err(closed(error)),
        Err(ReadExactError::ReadError(_)) => Err(LinkError::Closed),
    }
}

/// What each end says first: its name for the protocol's frames, and their length.
fn preamble(frame_len: usize) -> [u8; PREAMBLE_LEN] {
    let length = u32::try_from(frame_len).unwrap_or(u32::MAX);
    let mut bytes = [0; PREAMBLE_LEN];
    let (name, rest) = bytes.split_at_mut(PREAMBLE_NAME.len());
    name.copy_from_slice(PREAMBLE_NAME);
    rest.copy_from_slice(&length.to_be_bytes());
    bytes
}

/// A connection's end, as its user sees it.
pub(crate) fn closed(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::TimedOut => LinkError::Deadline,
        ConnectionError::ApplicationClosed(close)
            if close.error_code == Code::BadPreamble.number() =>
        {
            LinkError::FrameLengthDiffers
        }
        ConnectionError::ApplicationClosed(close)
            if close.error_code == Code::NotAdmitted.number() =>
        {
            LinkError::TurnedAway
        }
        ConnectionError::ConnectionClosed(_) => LinkError::TurnedAway,
        _ => LinkError::Closed,
    }
}

/// What a refused or failed preamble costs the peer.
pub(crate) fn reject(shared: &Shared, connection: &Connection, error: LinkError) {
    match error {
        LinkError::FrameLengthDiffers | LinkError::ShortFrame | LinkError::Deadline => {
            shared.counters.bad_preamble.one();
            Code::BadPreamble.close(connection);
        }
        _ => Code::StreamEnded.close(connection),
    }
}

const PREAMBLE_NAME: &[u8; 4] = b"sbrf";
const PREAMBLE_LEN: usize = 8;

/// Frames in one event, and in one writing.
const BATCH: usize = 32;

/// Chunks in one reading; one is at most a datagram's content while nothing piles up.
const CHUNKS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_preamble_are_as_specified() {
        let codes = [
            Code::Done,
            Code::NotAdmitted,
            Code::Replaced,
            Code::BadPreamble,
            Code::ShortFrame,
            Code::StreamEnded,
            Code::BadCall,
            Code::Unanswered,
        ];
        for (number, code) in codes.into_iter().enumerate() {
            assert_eq!(code.number().into_inner(), number as u64);
        }
        assert_eq!(&preamble(8542), b"sbrf\0\0\x21\x5e");
    }
}
