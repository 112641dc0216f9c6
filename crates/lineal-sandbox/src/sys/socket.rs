//! Packets with descriptors between launcher, init and step.

use super::check;
use super::fd::owned;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

/// The largest packet.
pub(crate) const MAX_PACKET_SIZE_BYTES: usize = 16 << 10;
/// The most descriptors in one packet.
const MAX_DESCRIPTORS: usize = 4;
/// Room for the descriptors and the sender's credentials, as 8-byte words so that it is aligned for `cmsghdr`.
const CONTROL_WORDS: usize = 16;

/// One end of a packet socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// A packet that came in.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Process id of the sender, in the receiver's pid namespace.
    pub(crate) sender: Option<i32>,
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Socket {
    /// A connected pair, close-on-exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `ends` has room for the two descriptors that socketpair writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        Ok((Self(owned(ends[0])), Self(owned(ends[1]))))
    }

    /// Asks the kernel to name the sender of each packet that is received here.
    pub(crate) fn name_senders(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        let size = mem::size_of_val(&on) as libc::socklen_t;
        let option = libc::SO_PASSCRED;
        // SAFETY: the option's value is one int, and its address and size are given.
        check(unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const on).cast(), size)
        })?;
        Ok(())
    }

    /// Sends one packet with at most four descriptors.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let count = descriptors.len().min(MAX_DESCRIPTORS);
        let mut control = [0_u64; CONTROL_WORDS];
        let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message = empty_message(&mut vector);
        if count > 0 {
            let size = (count * mem::size_of::<RawFd>()) as libc::c_uint;
            message.msg_control = control.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE only computes.
            message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
            // SAFETY: the control buffer is aligned and holds CMSG_SPACE(4 ints) = 32 of its 128 bytes, so the
            // first header exists and has room for `count` descriptors.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
                let place = libc::CMSG_DATA(header).cast::<RawFd>();
                for (index, fd) in descriptors.iter().take(count).enumerate() {
                    ptr::write_unaligned(place.add(index), fd.as_raw_fd());
                }
            }
        }
        // SAFETY: `message` points to `vector` and `control`, which live here; the kernel only reads `bytes`.
        check(unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })?;
        Ok(())
    }

    /// Receives one packet, waiting for it. `None` when the other side is closed.
    pub(crate) fn receive(&self) -> io::Result<Option<Packet>> {
        let mut bytes = vec![0_u8; MAX_PACKET_SIZE_BYTES];
        let mut control = [0_u64; CONTROL_WORDS];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut message = empty_message(&mut vector);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control);
        let size = loop {
            // SAFETY: `message` points to `vector` and `control`, which live here and are writable.
            let size = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
            match check(size) {
                Ok(size) => break size.unsigned_abs(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let (descriptors, sender) = read_control(&message);
        if size == 0 {
            return Ok(None);
        }
        bytes.truncate(size);
        Ok(Some(Packet { bytes, descriptors, sender }))
    }
}

fn empty_message(vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message
}

/// Takes the descriptors and the sender out of a received message.
fn read_control(message: &libc::msghdr) -> (Vec<OwnedFd>, Option<i32>) {
    let (mut descriptors, mut sender) = (Vec::new(), None);
    // SAFETY: the kernel filled the control buffer and set its length; the CMSG macros stay inside of it. Each
    // descriptor in it was just opened for this process, so it has no other owner.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let size = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..size / mem::size_of::<RawFd>() {
                        descriptors.push(owned(ptr::read_unaligned(data.cast::<RawFd>().add(index))));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= mem::size_of::<libc::ucred>() => {
                    sender = Some(ptr::read_unaligned(data.cast::<libc::ucred>()).pid);
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    (descriptors, sender)
}
