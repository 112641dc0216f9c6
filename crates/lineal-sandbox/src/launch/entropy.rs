//! Keyed streams in the place of random bytes, and the account of who asked.

use crate::{EntropyReport, EntropySource, EntropyUse};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};

/// The most kinds of requests in a report.
const MAX_ASKERS: usize = 64;
/// How CPython asks for its hash secret: `_Py_HashRandomization_Init` takes 24 bytes and does not block.
const HASH_SEED_SIZE_BYTES: u64 = 24;

/// Names one stream. Derived from the key, so a stream cannot be told from a name that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamId([u8; 32]);

impl StreamId {
    /// The root of all streams of a step.
    pub(super) fn root(key: &[u8; 32]) -> Self {
        Self(hash(b"lineal-step-entropy/v1/root", key, &[]))
    }

    /// The id of a child: `kind` keeps tasks, devices and others apart.
    pub(super) fn child(self, kind: &[u8], index: u64) -> Self {
        Self(hash(b"lineal-step-entropy/v1/child", &self.0, &[kind, &index.to_be_bytes()].concat()))
    }

    /// The stream itself, from its start.
    pub(super) fn stream(self) -> Stream {
        let key = hash(b"lineal-step-entropy/v1/stream", &self.0, &[]);
        // A key is used for one stream only, so the nonce can be constant.
        Stream(ChaCha20::new(&key.into(), &[0; 12].into()))
    }
}

fn hash(purpose: &[u8], key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    // Purpose and key have fixed lengths within each use, so the parts cannot be confused.
    Sha256::new().chain_update(purpose).chain_update(key).chain_update(data).finalize().into()
}

/// Bytes that look random and depend on nothing but the key and the stream's name.
pub(super) struct Stream(ChaCha20);

impl Stream {
    /// The next bytes. False at the end of the stream, after 256 GiB.
    #[must_use]
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> bool {
        buffer.fill(0);
        self.0.try_apply_keystream(buffer).is_ok()
    }
}

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Counter {
    report: EntropyReport,
}

impl Counter {
    /// Notes one call of getrandom(2). `process` is asked for only when it is needed.
    pub(super) fn call(&mut self, size_bytes: u64, flags: u32, process: Option<String>) {
        if size_bytes == HASH_SEED_SIZE_BYTES && flags == libc::GRND_NONBLOCK {
            self.report.hash_seed_read = true;
        }
        self.add(EntropyUse { source: EntropySource::Getrandom, size_bytes, flags, process, count: 1 });
    }

    /// Notes all that was read from a device.
    pub(super) fn device(&mut self, source: EntropySource, size_bytes: u64) {
        if size_bytes > 0 {
            self.add(EntropyUse { source, size_bytes, flags: 0, process: None, count: 1 });
        }
    }

    pub(super) fn into_report(self) -> EntropyReport {
        self.report
    }

    fn add(&mut self, new: EntropyUse) {
        self.report.reads += 1;
        self.report.bytes = self.report.bytes.saturating_add(new.size_bytes);
        let askers = &mut self.report.askers;
        let kind = |entry: &EntropyUse| (entry.source, entry.size_bytes, entry.flags);
        match askers.iter().position(|old| kind(old) == kind(&new) && old.process == new.process) {
            Some(index) => askers[index].count += 1,
            None if askers.len() < MAX_ASKERS => askers.push(new),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
