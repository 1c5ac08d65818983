//! The faults of the upstream, with the requests they affect and their number.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use super::record::Kind;
use crate::support::wire::Request;

/// The kind of a disconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Orderly, as if the body ended there.
    Fin,
    /// With a reset.
    Rst,
}

/// A fault of a response.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The head comes late.
    Delay(Duration),
    /// The body comes at this many bytes a second.
    Bandwidth(u64),
    /// The connection is cut after this many bytes of body.
    CutAfter(u64, Cut),
    /// The byte at this offset of the blob or manifest is changed, in every range that covers it.
    Corrupt(usize),
    /// This status instead, with the specification's JSON.
    Status(u16),
    /// As [`Fault::Status`], with a header more.
    StatusWith(u16, &'static str, String),
    /// These bytes instead of any response, then the connection is closed.
    Raw(&'static [u8]),
    /// The request is read and never answered.
    Hang,
    /// After this many bytes of body the response stalls, and the connection stays open.
    Stall(u64),
    /// After this many bytes of body the response waits for the gate.
    Gate(u64, Gate),
    /// The body is chunked, without a length.
    Chunked,
    /// The body has neither a length nor chunks: the end of the connection is its end.
    UntilClose,
    /// The response has another digest than its body's in the header.
    WrongDigestHeader,
}

/// Holds a response until the test opens it. Clones share one gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Latch>);

#[derive(Debug, Default)]
struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }

    /// Waits a minute at most: a test that forgot its gate fails, and does not hang.
    pub(super) fn pass(&self) {
        let shut = self.0.open.lock().unwrap();
        drop(self.0.opened.wait_timeout_while(shut, Duration::from_secs(60), |open| !*open).unwrap());
    }
}

/// A fault and the requests it affects.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    kind: Option<Kind>,
    method: Option<&'static str>,
    user: Option<&'static str>,
    part: String,
    times: Option<usize>,
    fault: Fault,
}

impl Rule {
    /// Affects every request of this kind.
    pub(crate) fn on(kind: Kind, fault: Fault) -> Self {
        Self { kind: Some(kind), ..Self::on_all(fault) }
    }

    /// Affects every request.
    pub(crate) fn on_all(fault: Fault) -> Self {
        Self { kind: None, method: None, user: None, part: String::new(), times: None, fault }
    }

    /// Only requests of this method.
    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests of this user by Basic authentication.
    pub(crate) fn user(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    /// Only requests whose path contains this.
    pub(crate) fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.part);
        self
    }

    /// Only this many requests.
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    fn befalls(&self, request: &Request, kind: Kind) -> bool {
        self.times != Some(0)
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.method.is_none_or(|method| method == request.method)
            && self.user.is_none_or(|user| request.basic().is_some_and(|(name, _)| name == user))
            && request.path.contains(&self.part)
    }
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    pub(super) fn add(&self, rule: Rule) {
        self.0.lock().unwrap().push(rule);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// The faults that affect this request; each is counted.
    pub(super) fn take(&self, request: &Request, kind: Kind) -> Vec<Fault> {
        let mut rules = self.0.lock().unwrap();
        let befalling = rules.iter_mut().filter(|rule| rule.befalls(request, kind));
        let take = |rule: &mut Rule| {
            rule.times = rule.times.map(|times| times - 1);
            rule.fault.clone()
        };
        befalling.map(take).collect()
    }
}
