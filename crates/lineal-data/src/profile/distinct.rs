//! How many different values, and how often each: exact while they are few, then a HyperLogLog estimate.
//!
//! The state depends on the set of values only, not on their order, so that merging is exact in this sense.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Distinct;

/// Most values that are counted exactly in one column.
pub const DISTINCT_LIMIT: usize = 1_000;
/// Most bytes of such values in one column.
pub const DISTINCT_LIMIT_BYTES: usize = 64 << 10;

#[derive(Clone, Default)]
pub(super) struct DistinctValues {
    /// Empty once there is a sketch.
    counts: HashMap<Box<str>, u64, BuildHasherDefault<TextHasher>>,
    counts_size_bytes: usize,
    sketch: Option<Sketch>,
}

impl DistinctValues {
    pub(super) fn add(&mut self, text: &str) {
        self.add_many(text, 1);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (text, count) in other.counts {
            self.add_many(&text, count);
        }
        if let Some(sketch) = other.sketch {
            self.estimate_from_now().merge(&sketch);
        }
    }

    pub(super) fn distinct(&self) -> Distinct {
        match &self.sketch {
            None => Distinct { count: self.counts.len() as u64, exact: true },
            Some(sketch) => Distinct { count: sketch.estimate(), exact: false },
        }
    }

    /// Every value with its count, unsorted; nothing when they are not known exactly.
    pub(super) fn counts(&self) -> Vec<(&str, u64)> {
        self.counts.iter().map(|(text, count)| (&**text, *count)).collect()
    }

    fn add_many(&mut self, text: &str, count: u64) {
        if let Some(sketch) = &mut self.sketch {
            sketch.add(hash(text.as_bytes()));
        } else if let Some(present) = self.counts.get_mut(text) {
            *present += count;
        } else if self.counts.len() < DISTINCT_LIMIT
            && self.counts_size_bytes + text.len() <= DISTINCT_LIMIT_BYTES
        {
            self.counts_size_bytes += text.len();
            self.counts.insert(text.into(), count);
        } else {
            self.estimate_from_now().add(hash(text.as_bytes()));
        }
    }

    fn estimate_from_now(&mut self) -> &mut Sketch {
        let sketch = self.sketch.get_or_insert_with(|| Sketch(vec![0; REGISTERS].into_boxed_slice()));
        for text in std::mem::take(&mut self.counts).keys() {
            sketch.add(hash(text.as_bytes()));
        }
        sketch
    }
}

const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;

/// HyperLogLog (Flajolet et al. 2007) with linear counting for small counts; 64-bit hashes need no large-range fix.
#[derive(Clone)]
struct Sketch(Box<[u8]>);

impl Sketch {
    fn add(&mut self, hash: u64) {
        let register = (hash >> (u64::BITS - REGISTER_BITS)) as usize;
        // The set bit ends the run of zeros when the rest of the hash is all zeros.
        let rest = (hash << REGISTER_BITS) | (1 << (REGISTER_BITS - 1));
        let rank = rest.leading_zeros() as u8 + 1;
        if let Some(present) = self.0.get_mut(register) {
            *present = rank.max(*present);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (present, rank) in self.0.iter_mut().zip(&other.0) {
            *present = (*rank).max(*present);
        }
    }

    fn estimate(&self) -> u64 {
        let size = REGISTERS as f64;
        let harmonic: f64 = self.0.iter().map(|rank| 1.0 / (1_u64 << rank) as f64).sum();
        let raw = 0.7213 / (1.0 + 1.079 / size) * size * size / harmonic;
        let zeros = self.0.iter().filter(|rank| **rank == 0).count();
        let count = if raw <= 2.5 * size && zeros > 0 { size * (size / zeros as f64).ln() } else { raw };
        count.round() as u64
    }
}

/// A fixed hash, so that the same values give the same estimate on every machine. Chosen values can collide, which
/// costs time within [`DISTINCT_LIMIT`] and spoils the estimate, never an exact count.
fn hash(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(MULTIPLIER);
        state ^= state >> 32;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        mix(rest.iter().rev().fold(0, |word, b| (word << 8) | u64::from(*b)));
    }
    // The finaliser of MurmurHash3.
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

/// [`hash`] for the map; a text is one `write` and an end mark that it does not need.
#[derive(Clone, Default)]
struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    fn write_u8(&mut self, _end_mark: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
