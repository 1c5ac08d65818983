//! First-in-first-out queues over numbered objects. Each object is in at most one queue, and can be removed from any
//! position in constant time.

use crate::simulator::trace::{Id, Object};

const NOBODY: Id = Id::MAX;
const NOWHERE: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Slot {
    before: Id,
    after: Id,
    queue: u8,
    /// The number of uses, for policies that count them.
    uses: u8,
}

#[derive(Clone, Copy)]
struct Ends {
    first: Id,
    last: Id,
    bytes: u64,
}

/// `N` queues, named by number.
pub(super) struct Queues<'a, const N: usize> {
    objects: &'a [Object],
    places: Vec<Slot>,
    ends: [Ends; N],
}

impl<'a, const N: usize> Queues<'a, N> {
    pub(super) fn new(objects: &'a [Object]) -> Self {
        let nowhere = Slot { before: NOBODY, after: NOBODY, queue: NOWHERE, uses: 0 };
        let empty = Ends { first: NOBODY, last: NOBODY, bytes: 0 };
        Self { objects, places: vec![nowhere; objects.len()], ends: [empty; N] }
    }

    pub(super) fn size(&self, object: Id) -> u64 {
        self.objects[object as usize].size
    }

    /// The bytes in a queue.
    pub(super) fn bytes(&self, queue: u8) -> u64 {
        self.ends[usize::from(queue)].bytes
    }

    pub(super) fn is_in(&self, object: Id, queue: u8) -> bool {
        self.places[object as usize].queue == queue
    }

    pub(super) fn uses(&mut self, object: Id) -> &mut u8 {
        &mut self.places[object as usize].uses
    }

    /// The oldest object of a queue.
    pub(super) fn first(&self, queue: u8) -> Option<Id> {
        Some(self.ends[usize::from(queue)].first).filter(|first| *first != NOBODY)
    }

    /// The next newer object of the same queue.
    pub(super) fn after(&self, object: Id) -> Option<Id> {
        Some(self.places[object as usize].after).filter(|after| *after != NOBODY)
    }

    /// Appends an object to a queue, and removes it from any other.
    pub(super) fn push(&mut self, object: Id, queue: u8) {
        self.remove(object);
        let size = self.size(object);
        let ends = &mut self.ends[usize::from(queue)];
        let last = std::mem::replace(&mut ends.last, object);
        ends.bytes += size;
        if last == NOBODY {
            ends.first = object;
        } else {
            self.places[last as usize].after = object;
        }
        let place = &mut self.places[object as usize];
        (place.before, place.after, place.queue) = (last, NOBODY, queue);
    }

    /// Removes the oldest object of a queue.
    pub(super) fn pop(&mut self, queue: u8) -> Option<Id> {
        self.first(queue).inspect(|first| self.remove(*first))
    }

    /// Removes an object from its queue, if it is in one.
    pub(super) fn remove(&mut self, object: Id) {
        let Slot { before, after, queue, .. } = self.places[object as usize];
        let size = self.size(object);
        let Some(ends) = self.ends.get_mut(usize::from(queue)) else { return };
        ends.bytes -= size;
        if before == NOBODY {
            ends.first = after;
        } else {
            self.places[before as usize].after = after;
        }
        if after == NOBODY {
            ends.last = before;
        } else {
            self.places[after as usize].before = before;
        }
        self.places[object as usize].queue = NOWHERE;
    }
}
