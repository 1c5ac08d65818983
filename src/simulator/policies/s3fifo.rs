//! S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, SOSP 2023), its queues measured in bytes as in the authors' own
//! simulator.

use super::{CacheOrder, queues::Queues};
use crate::simulator::trace::{Id, Object};

/// The queues: new objects, reused objects, and the ghost with names of evicted objects.
const SMALL: u8 = 0;
const MAIN: u8 = 1;
const GHOST: u8 = 2;
/// The maximum use count.
const MAX_USES: u8 = 3;

pub(super) struct S3Fifo<'a> {
    queues: Queues<'a, 3>,
    /// The capacity of the small queue in bytes; the ghost remembers objects of nine times as many.
    small: u64,
}

impl<'a> S3Fifo<'a> {
    pub(super) fn new(objects: &'a [Object], capacity: u64) -> Self {
        Self { queues: Queues::new(objects), small: capacity / 10 }
    }

    /// Removes the oldest object of the small queue: it moves to the main queue if it was used more than once, and is
    /// evicted otherwise.
    fn leave_small(&mut self) -> Option<Id> {
        while let Some(object) = self.queues.pop(SMALL) {
            if std::mem::take(self.queues.uses(object)) > 1 {
                self.queues.push(object, MAIN);
                continue;
            }
            self.queues.push(object, GHOST);
            while self.queues.bytes(GHOST) > 9 * self.small {
                self.queues.pop(GHOST);
            }
            return Some(object);
        }
        None
    }

    /// Removes the oldest object of the main queue: it moves to the end with its use count reduced if it was used
    /// since, and is evicted otherwise.
    fn leave_main(&mut self) -> Option<Id> {
        while let Some(object) = self.queues.pop(MAIN) {
            let uses = self.queues.uses(object);
            if *uses == 0 {
                return Some(object);
            }
            *uses -= 1;
            self.queues.push(object, MAIN);
        }
        None
    }
}

impl CacheOrder for S3Fifo<'_> {
    fn insert(&mut self, object: Id) {
        let remembered = self.queues.is_in(object, GHOST);
        *self.queues.uses(object) = 0;
        self.queues.push(object, if remembered { MAIN } else { SMALL });
    }

    fn hit(&mut self, object: Id) {
        let uses = self.queues.uses(object);
        *uses = MAX_USES.min(*uses + 1);
    }

    fn evict(&mut self, _: u64) -> Option<Id> {
        if self.queues.bytes(SMALL) > self.small {
            self.leave_small().or_else(|| self.leave_main())
        } else {
            self.leave_main().or_else(|| self.leave_small())
        }
    }
}
