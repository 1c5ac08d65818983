//! A state of the model: the bucket, the replicas, the requests on their way, and what clients were promised.

use crate::{
    bucket::{Age, Bucket, GRACE, HALF, Name, Names, Repository, Request},
    steps::{Operation, Program},
};

/// An operation that is being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Run {
    /// The number of its program.
    pub(crate) program: usize,
    /// The next step.
    pub(crate) at: usize,
    /// The time since it began.
    pub(crate) age: Age,
    pub(crate) intent: Option<Age>,
    pub(crate) marker: Option<Age>,
    pub(crate) has_read_tag: bool,
    /// It gave up, and clears up.
    pub(crate) has_failed: bool,
}

/// A replica in one of its two roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    /// The operations that it has not begun.
    pub(crate) left: u8,
    pub(crate) run: Option<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) bucket: Bucket,
    /// The two writers, then the two deleters.
    pub(crate) processes: [Process; 4],
    /// The requests of the dead that may yet take effect, with the time since their operations began.
    pub(crate) in_flight: Vec<(Request, Age)>,
    pub(crate) deaths_left: u8,
    pub(crate) promises: Promises,
}

impl State {
    /// Returns the operations that are being run, with their programs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.processes.iter().filter_map(|process| process.run.as_ref())
    }

    /// Lets half a grace pass.
    pub(crate) fn tick(&mut self) {
        self.bucket.tick();
        for run in self.processes.iter_mut().filter_map(|process| process.run.as_mut()) {
            run.age = HALF;
            for age in run.intent.iter_mut().chain(&mut run.marker) {
                *age = GRACE.min(*age + 1);
            }
        }
        // A request takes effect before its operation would have to be over, or never.
        self.in_flight.retain_mut(|(_, age)| std::mem::replace(age, HALF) < HALF);
        self.promises.layer = self.promises.layer.map(|age| age + 1).filter(|age| *age < GRACE);
    }

    /// Writers differ only by what they do, and so do deleters: of states that are alike one is explored.
    pub(crate) fn in_order(mut self) -> Self {
        let [first, second, third, fourth] = &mut self.processes;
        for (one, other) in [(first, second), (third, fourth)] {
            if one > other {
                std::mem::swap(one, other);
            }
        }
        self
    }

    /// Returns whether a layer that a client can rely on is here.
    pub(crate) fn keeps_layer(&self) -> bool {
        let is_here = || self.bucket.has_bytes(Name::Layer) && self.bucket.layer_link(Repository::Target).is_some();
        self.promises.layer.is_none() || is_here()
    }

    /// Returns whether the tag is one that the acknowledged pushes allow.
    pub(crate) fn keeps_tag(&self) -> bool {
        let allowed = self.promises.tag;
        allowed.is_empty() || self.bucket.tag.is_some_and(|name| allowed.has(name))
    }
}

/// The changes that were acknowledged to clients and must last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Promises {
    /// The manifests that the tag may name since a push of it was acknowledged; none if it may be absent.
    pub(crate) tag: Names,
    /// The age of the promise that the layer can be relied on, counted from the beginning of the request.
    pub(crate) layer: Option<Age>,
    /// The manifests whose DELETE was acknowledged.
    pub(crate) deleted: Names,
}

impl Promises {
    /// Takes back what a client that asks for this no longer expects.
    pub(crate) fn begin(&mut self, operation: Operation) {
        match operation {
            Operation::Push(name) => {
                self.deleted = self.deleted.without(name);
                if !self.tag.is_empty() {
                    self.tag = self.tag.with(name);
                }
            }
            Operation::DeleteManifest(name) if self.tag.has(name) => self.tag = Names::default(),
            Operation::DeleteTag => self.tag = Names::default(),
            _ => {}
        }
    }
}

/// Notes what the answer to a client promises.
pub(crate) fn acknowledge(state: &mut State, run: Run, programs: &[Program]) {
    let running = || state.runs().map(|run| programs[run.program].operation);
    let operation = programs[run.program].operation;
    match operation {
        Operation::Push(name) => state.promises.tag = allowed(state, name, running),
        Operation::DeleteManifest(name) if !running().any(|other| other == Operation::Push(name)) => {
            state.promises.deleted = state.promises.deleted.with(name);
        }
        operation if operation.is_write() => {
            state.promises.layer = Some(state.promises.layer.map_or(run.age, |age| age.min(run.age)));
        }
        _ => {}
    }
}

/// Returns what the tag may name after an acknowledged push: that manifest, or one whose push is under way. A DELETE of
/// it that is under way may count as the later of the two.
fn allowed<I: Iterator<Item = Operation>>(state: &State, name: Name, running: impl Fn() -> I) -> Names {
    let mut allowed = Names::of(&[name]);
    for operation in running() {
        if let Operation::Push(other) = operation {
            allowed = allowed.with(other);
        }
    }
    for (request, _) in &state.in_flight {
        if let Request::PutTag(other) = request {
            allowed = allowed.with(*other);
        }
    }
    let may_delete = |operation| match operation {
        Operation::DeleteManifest(name) => allowed.has(name),
        other => other == Operation::DeleteTag,
    };
    if running().any(may_delete) { Names::default() } else { allowed }
}
