//! W-TinyLFU for objects of different sizes, with aggregated victims (Einziger, Eytan, Friedman and Manes, "Lightweight
//! Robust Size Aware Cache Management", 2022). New objects pass through a window; one enters the main part if it was
//! requested more often than all the objects it would replace, taken together.

use super::{CacheOrder, queues::Queues, sketch::Sketch};
use crate::simulator::trace::{Id, Object};

/// The queues: the window, the two segments of the main part, and objects that lost to a new one and are to be evicted.
const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;
const LOST: u8 = 3;

pub(super) struct TinyLfu<'a> {
    queues: Queues<'a, 4>,
    sketch: Sketch,
    kept: u64,
    /// The bytes of the window, of both segments of the main part, and of its protected segment.
    window: u64,
    main: u64,
    protected: u64,
}

impl<'a> TinyLfu<'a> {
    pub(super) fn new(objects: &'a [Object], capacity: u64) -> Self {
        let window = capacity / 100;
        let main = capacity - window;
        let (queues, sketch) = (Queues::new(objects), Sketch::new(objects.len()));
        Self { queues, sketch, kept: 0, window, main, protected: main / 5 * 4 }
    }

    /// Moves an object to the protected segment; objects beyond its capacity go back on probation.
    fn protect(&mut self, object: Id) {
        self.queues.push(object, PROTECTED);
        while self.queues.bytes(PROTECTED) > self.protected {
            let Some(back) = self.queues.pop(PROTECTED) else { break };
            self.queues.push(back, PROBATION);
        }
    }

    /// Admits objects that exceed the window into the main part, or finds one to evict.
    fn contest(&mut self, coming: u64) -> Option<Id> {
        while self.queues.bytes(WINDOW) + coming > self.window {
            let candidate = self.queues.first(WINDOW)?;
            let Some(victims) = self.victims(candidate) else {
                return self.queues.pop(WINDOW);
            };
            self.queues.push(candidate, PROBATION);
            victims.into_iter().for_each(|victim| self.queues.push(victim, LOST));
            if let Some(lost) = self.queues.pop(LOST) {
                return Some(lost);
            }
        }
        None
    }

    /// Returns the objects to evict for the candidate, or `None` if together they were requested as often as it. They
    /// stay then, and move to the end of their queue.
    fn victims(&mut self, candidate: Id) -> Option<Vec<Id>> {
        let wins = u32::from(self.sketch.count(candidate));
        let taken = self.queues.bytes(PROBATION) + self.queues.bytes(PROTECTED) + self.queues.size(candidate);
        let (mut needed, mut asked) = (taken.saturating_sub(self.main), 0);
        let (mut victims, mut next) = (Vec::new(), self.queues.first(PROBATION));
        let mut elsewhere = self.queues.first(PROTECTED);
        while needed > 0 {
            let Some(victim) = next.or_else(|| elsewhere.take()) else { break };
            asked += u32::from(self.sketch.count(victim));
            victims.push(victim);
            if asked >= wins {
                self.spare(&victims);
                return None;
            }
            needed = needed.saturating_sub(self.queues.size(victim));
            next = self.queues.after(victim);
        }
        Some(victims)
    }

    fn spare(&mut self, victims: &[Id]) {
        for victim in victims {
            let segment = if self.queues.is_in(*victim, PROTECTED) { PROTECTED } else { PROBATION };
            self.queues.push(*victim, segment);
        }
    }
}

impl CacheOrder for TinyLfu<'_> {
    fn insert(&mut self, object: Id) {
        self.kept += 1;
        self.sketch.add(object, self.kept);
        self.queues.push(object, WINDOW);
    }

    fn hit(&mut self, object: Id) {
        self.sketch.add(object, self.kept);
        if self.queues.is_in(object, WINDOW) {
            self.queues.push(object, WINDOW);
        } else {
            self.protect(object);
        }
    }

    fn evict(&mut self, coming: u64) -> Option<Id> {
        let lost = self.queues.pop(LOST).or_else(|| self.contest(coming));
        let gone = lost.or_else(|| [PROBATION, PROTECTED, WINDOW].into_iter().find_map(|queue| self.queues.pop(queue)));
        gone.inspect(|_| self.kept -= 1)
    }
}
