//! What init and step tell the launcher, one packet each.

use crate::sys::socket::{MAX_PACKET_SIZE_BYTES, Packet, Socket};
use crate::{SandboxError, Uncontrolled};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A packet to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// From init: the file tree is built. Carries the FIFOs behind `/dev/urandom` and `/dev/random`, or none.
    RootReady,
    /// From the step in a pod: it waits for one packet, [`TRACED`] or another, before it goes on.
    Attachable,
    /// From the step: it waits for one packet before it starts its program. Carries the descriptor on which its
    /// filtered calls wait, or none.
    StepReady { uncontrolled: Vec<Uncontrolled> },
    /// From either: it gives up.
    Failed(SandboxError),
    /// From init: the step ended with this wait status.
    Ended { status: i32 },
}

/// Tells the step that it is traced.
pub(crate) const TRACED: &[u8] = b"traced";

/// Sends a message. When the launcher is gone this process is about to be killed, so failures are dropped.
pub(super) fn send(to: &Socket, message: &Message, descriptors: &[BorrowedFd<'_>]) {
    let mut bytes = encode(message);
    if bytes.len() > MAX_PACKET_SIZE_BYTES {
        let error = SandboxError::setup("telling the launcher", "the message names a path that is too long");
        bytes = encode(&Message::Failed(error));
    }
    let _ = to.send(&bytes, descriptors);
}

fn encode(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// A received message, its descriptors and its sender's process id.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) sender: Option<i32>,
}

/// Receives one message. `None` when the other side is closed.
pub(crate) fn receive(from: &Socket) -> io::Result<Option<Received>> {
    let Some(Packet { bytes, descriptors, sender }) = from.receive()? else { return Ok(None) };
    let message = serde_json::from_slice(&bytes)?;
    Ok(Some(Received { message, descriptors, sender }))
}
