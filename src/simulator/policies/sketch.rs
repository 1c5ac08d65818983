//! Approximate recent request counts in a few bits for each object: the sketch of TinyLFU (Einziger, Friedman and Manes
//! 2017).

use crate::simulator::trace::Id;

/// The number of counters for an object.
const ROWS: u32 = 4;
/// The maximum of a counter.
const MAX_COUNT: u8 = 15;
/// The minimum number of objects for the ageing interval.
const MIN_OBJECTS: u64 = 1000;

/// A count-min sketch whose counters are halved from time to time, so that old popularity fades.
pub(super) struct Sketch {
    counters: Vec<u8>,
    added: u64,
}

impl Sketch {
    /// A sketch for about this many objects.
    pub(super) fn new(objects: usize) -> Self {
        Self { counters: vec![0; objects.max(16).next_power_of_two() * ROWS as usize], added: 0 }
    }

    fn slots(&self, object: Id) -> impl Iterator<Item = usize> + use<> {
        let mask = self.counters.len() - 1;
        (1..=ROWS).map(move |row| {
            let mixed = (u64::from(object) << 8 | u64::from(row)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as usize & mask
        })
    }

    /// Counts one request, in the least of the object's counters only. All counters are halved after ten requests for
    /// each of the `kept` objects of the cache.
    pub(super) fn add(&mut self, object: Id, kept: u64) {
        let least = self.count(object);
        if least < MAX_COUNT {
            for slot in self.slots(object) {
                self.counters[slot] = self.counters[slot].max(least + 1);
            }
        }
        self.added += 1;
        if self.added >= 10 * kept.max(MIN_OBJECTS) {
            self.added /= 2;
            self.counters.iter_mut().for_each(|counter| *counter /= 2);
        }
    }

    /// Returns an upper estimate of the object's requests, up to 15.
    pub(super) fn count(&self, object: Id) -> u8 {
        self.slots(object).map(|slot| self.counters[slot]).min().unwrap_or(0)
    }
}
