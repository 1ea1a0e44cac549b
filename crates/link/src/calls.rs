//! Calls: one question and one reply on a bidirectional stream.

use std::sync::Arc;

use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::{Call, CallRefused, Decode, Encode, MAX_CALL_LEN, MAX_REPLY_LEN, Reply};

use crate::link::{Code, closed};
use crate::log::quiet;
use crate::mesh::{Shared, Turn};
use crate::{LinkError, MeshEvent, Peer, Responder};

/// Asks the other end of `connection`.
pub(crate) async fn ask(connection: &Connection, call: &Call) -> Result<Reply, LinkError> {
    let bytes = call.to_bytes();
    if bytes.len() > MAX_CALL_LEN {
        return Err(LinkError::CallTooLong);
    }
    let (mut send, mut receive) = connection.open_bi().await.map_err(closed)?;
    write(&mut send, &bytes).await?;
    let reply = read(&mut receive, MAX_REPLY_LEN).await?;
    Reply::from_bytes(&reply).map_err(LinkError::BadReply)
}

/// Takes calls until the connection ends; how many at once, QUIC's stream limit bounds.
pub(crate) async fn serve(shared: &Arc<Shared>, connection: &Connection, peer: Peer) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    open.spawn(quiet(answer(shared.clone(), peer, send, receive)));
                }
                Err(_) => return,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn answer(shared: Arc<Shared>, peer: Peer, mut send: SendStream, mut receive: RecvStream) {
    let answered = async {
        let call = listen(&shared, peer, &mut receive).await?;
        // Held until the reply is written: a guest that reads slowly keeps its reply in memory.
        let turn = shared.turn_of(peer);
        let reply = match (call, &turn) {
            (None, _) => Reply::Refused(CallRefused::NotForThisNode),
            (_, Turn::Full) => Reply::Refused(CallRefused::Busy),
            (Some(call), _) => reply_to(&shared, peer, call).await?,
        };
        let bytes = reply.to_bytes();
        let sent = timeout(shared.limits.call, write(&mut send, &bytes));
        sent.await.map_or(Err(Code::Unanswered), |_| Ok(()))
    };
    if let Err(code) = answered.await {
        // A stream that is closed already needs no reset.
        let _ = receive.stop(code.number());
        let _ = send.reset(code.number());
    }
}

/// The call, or `None` if the bytes are not one.
async fn listen(
    shared: &Shared,
    peer: Peer,
    receive: &mut RecvStream,
) -> Result<Option<Call>, Code> {
    let limit = match peer {
        Peer::Node(_) => MAX_CALL_LEN,
        Peer::Guest(_) => shared.limits.guest_call_len.min(MAX_CALL_LEN),
    };
    match timeout(shared.limits.call, read(receive, limit)).await {
        Ok(Ok(bytes)) => {
            let call = Call::from_bytes(&bytes).ok();
            if call.is_none() {
                shared.counters.bad_call.one();
            }
            Ok(call)
        }
        Ok(Err(LinkError::ReplyTooLong)) => {
            shared.counters.bad_call.one();
            Err(Code::BadCall)
        }
        Ok(Err(_)) => Err(Code::Done),
        Err(_) => {
            shared.counters.call_deadline.one();
            Err(Code::BadCall)
        }
    }
}

/// What the owner answers.
async fn reply_to(shared: &Shared, from: Peer, call: Call) -> Result<Reply, Code> {
    let (responder, reply) = Responder::new();
    shared
        .tell(MeshEvent::Call {
            from,
            call,
            responder,
        })
        .await;
    match timeout(shared.limits.call, reply).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) => Err(Code::Unanswered),
        Err(_) => {
            shared.counters.call_deadline.one();
            Err(Code::Unanswered)
        }
    }
}

async fn write(send: &mut SendStream, bytes: &[u8]) -> Result<(), LinkError> {
    let failed = |error| match error {
        WriteError::Stopped(code) if code == Code::BadCall.number() => LinkError::CallTooLong,
        WriteError::Stopped(_) => LinkError::Unanswered,
        WriteError::ConnectionLost(error) => closed(error),
        _ => LinkError::Closed,
    };
    send.write_all(bytes).await.map_err(failed)?;
    // Fails only on a stream that was closed here, and this one was not.
    let _ = send.finish();
    Ok(())
}

/// Reads to the end of the stream, and never holds more than `limit` bytes: in order and into
/// one buffer that grows with what has come, so that no claim and no gap costs memory.
async fn read(receive: &mut RecvStream, limit: usize) -> Result<Vec<u8>, LinkError> {
    let mut bytes = Vec::new();
    loop {
        match receive.read_chunk(READ, true).await {
            Ok(Some(chunk)) if bytes.len() + chunk.bytes.len() > limit => {
                return Err(LinkError::ReplyTooLong);
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => return Ok(bytes),
            Err(ReadError::Reset(code)) if code == Code::BadCall.number() => {
                return Err(LinkError::CallTooLong);
            }
            Err(ReadError::Reset(_)) => return Err(LinkError::Unanswered),
            Err(ReadError::ConnectionLost(error)) => return Err(closed(error)),
            Err(_) => return Err(LinkError::Closed),
        }
    }
}

/// Most bytes of one reading.
const READ: usize = 64 << 10;
