//! The replicas: each writer and each deleter runs one operation after another; any of them may die between two steps,
//! and its last request may take effect later.

use stateright::{Model, Property};

use crate::{
    bucket::{Bucket, GRACE, HALF, MANIFESTS, Name, Names, Notice, Repository, Request, add},
    rules::Rule,
    state::{Process, Promises, Run, State, acknowledge},
    steps::{Operation, Program, Step},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A process begins the operation of a program.
    Begin(usize, usize),
    /// The next request of a process takes effect and is answered.
    Step(usize),
    /// A process dies, or gives up since it had no answer; its request may be on its way.
    Die(usize),
    /// A request of the dead takes effect.
    Arrive(usize),
    /// The deletion of an intent of the dead takes effect.
    IntentLeaves(usize),
    /// The deletion of a marker of the dead takes effect.
    MarkerLeaves(usize),
    /// Half a grace passes.
    Tick,
}

/// The protocol over one bucket, by two writers and two deleters.
pub(crate) struct Protocol {
    bucket: Bucket,
    programs: Vec<Program>,
    without: Option<Rule>,
    operations: u8,
    deaths: u8,
}

impl Protocol {
    /// Each process runs one of the operations, and one process may die.
    pub(crate) fn new(bucket: Bucket, operations: &[Operation], without: Option<Rule>) -> Self {
        let programs = operations.iter().map(|operation| operation.program(without)).collect();
        Self { bucket, programs, without, operations: 1, deaths: 1 }
    }

    /// Each process runs so many operations, and so many may die.
    pub(crate) fn bounded(self, operations: u8, deaths: u8) -> Self {
        Self { operations, deaths, ..self }
    }

    fn lacks(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    /// Returns whether what a deleter looks for is there, as it looks before it puts a marker.
    fn is_found(&self, bucket: &Bucket, operation: Operation) -> bool {
        let is_collected = || !is_referred_to(bucket, operation) && is_old(bucket, operation);
        match operation {
            Operation::CollectRevision(name) => bucket.has_revision(name) && is_collected(),
            Operation::Collect(name) => bucket.has_bytes(name) && is_collected(),
            Operation::DeleteManifest(name) => bucket.has_revision(name),
            Operation::DeleteTag => bucket.tag.is_some(),
            Operation::Evict => bucket.mirrored || self.lacks(Rule::MirroredHasKeysOfItsOwn),
            _ => true,
        }
    }

    /// Runs the next step of a process; its answer is known.
    pub(crate) fn step(&self, state: &mut State, process: usize) {
        let Some(run) = state.processes[process].run else { return };
        let program = &self.programs[run.program];
        let goes_on = self.take(state, process, program.steps[run.at]);
        if goes_on && run.at == program.last_change {
            acknowledge(state, run, &self.programs);
        }
        let Some(run) = &mut state.processes[process].run else { return };
        let is_over = run.has_failed;
        run.has_failed |= !goes_on;
        run.at = if run.has_failed { clearing_up(program, run) } else { run.at + 1 };
        if is_over || run.at >= program.steps.len() {
            state.processes[process].run = None;
        }
    }

    /// Returns whether the operation goes on with its next step.
    fn take(&self, state: &mut State, process: usize, step: Step) -> bool {
        let is_marked = step == Step::LookForMarkers && self.is_named(state, process, true);
        let is_intended = step == Step::ReadIntents && self.is_named(state, process, false);
        let bucket = &mut state.bucket;
        let Some(run) = &mut state.processes[process].run else { return false };
        let program = &self.programs[run.program];
        match step {
            Step::PutIntent => run.intent = Some(0),
            Step::PutMarker => run.marker = Some(0),
            Step::DeleteIntent => run.intent = None,
            Step::DeleteMarker if self.lacks(Rule::MarkerOfEachDeleter) => self.unmark(state, program.names),
            Step::DeleteMarker => run.marker = None,
            Step::LookForMarkers => return !is_marked,
            Step::ReadIntents => return !is_intended,
            Step::ReadLayerLink => return self.read_layer_link(state, process),
            Step::CheckBytes => return bucket.has_bytes(Name::Layer),
            Step::CheckSource => {
                return bucket.has_bytes(Name::Layer) && bucket.layer_link(Repository::Source).is_some();
            }
            Step::CheckContent(name) => return bucket.has_content_of(name),
            Step::ReadReferences => return !is_referred_to(bucket, program.operation),
            Step::ReadAges => return is_old(bucket, program.operation),
            Step::ReadLayerLinks => return bucket.layer_links.iter().all(Option::is_none),
            Step::ReadTag(name) => run.has_read_tag = bucket.tag == Some(name),
            Step::DeleteTagRead if run.has_read_tag => return bucket.apply(Request::DeleteTag),
            Step::DeleteTagRead => {}
            Step::Put(request) | Step::Delete(request) => return bucket.apply(request),
        }
        true
    }

    /// Answers a HEAD if the link is young or missing; returns whether it is to be renewed.
    fn read_layer_link(&self, state: &mut State, process: usize) -> bool {
        let age = state.bucket.layer_link(Repository::Target).filter(|_| state.bucket.has_bytes(Name::Layer));
        let is_enough = |age| age < HALF || self.lacks(Rule::HeadRenewsOldLink);
        if let (Some(run), true) = (state.processes[process].run, age.is_some_and(is_enough)) {
            acknowledge(state, run, &self.programs);
            return false;
        }
        age.is_some()
    }

    /// Deletes every marker that names one of these, whoever put it.
    fn unmark(&self, state: &mut State, names: Names) {
        let marks = |run: &&mut Run| self.programs[run.program].names.meets(names);
        let runs = state.processes.iter_mut().filter_map(|process| process.run.as_mut());
        runs.filter(marks).for_each(|run| run.marker = None);
        state.bucket.markers.retain(|notice| !notice.names.meets(names));
    }

    /// Returns whether a valid marker, or intent, of another names what a process relies on or deletes.
    fn is_named(&self, state: &State, but: usize, by_marker: bool) -> bool {
        let Some(run) = state.processes[but].run else { return false };
        let program = &self.programs[run.program];
        let (names, of_dead) =
            if by_marker { (program.relied_on, &state.bucket.markers) } else { (program.names, &state.bucket.intents) };
        let is_met_by = |run: &Run| {
            let age = if by_marker { run.marker } else { run.intent };
            age.is_some_and(|age| age < GRACE) && self.programs[run.program].names.meets(names)
        };
        let others = state.processes.iter().enumerate().filter(|(number, _)| *number != but);
        let mut others = others.filter_map(|(_, process)| process.run.as_ref());
        of_dead.iter().any(|notice| notice.names.meets(names)) || others.any(is_met_by)
    }

    fn die(&self, state: &mut State, process: usize) {
        let Some(run) = state.processes[process].run.take() else { return };
        let program = &self.programs[run.program];
        let (step, names) = (program.steps[run.at], program.names);
        let request = match step {
            Step::Put(request) | Step::Delete(request) => Some(request),
            Step::DeleteTagRead if run.has_read_tag => Some(Request::DeleteTag),
            Step::PutIntent => Some(Request::PutIntent(names)),
            Step::PutMarker => Some(Request::PutMarker(names)),
            _ => None,
        };
        request.into_iter().for_each(|request| add(&mut state.in_flight, (request, run.age)));
        let lists = [
            (&mut state.bucket.intents, run.intent, Step::DeleteIntent, Rule::IntentOutlastsUnknownWrite),
            (&mut state.bucket.markers, run.marker, Step::DeleteMarker, Rule::MarkerOutlastsUnknownDelete),
        ];
        for (list, age, deletion, rule) in lists {
            if let Some(age) = age.filter(|age| *age < GRACE && !self.lacks(rule)) {
                add(list, Notice { names, age, is_leaving: step == deletion });
            }
        }
        state.deaths_left -= 1;
    }

    /// Begins an operation. A writer takes its first step at once; a deleter has looked for what it may delete.
    pub(crate) fn begin(&self, state: &mut State, process: usize, program: usize) {
        let operation = self.programs[program].operation;
        state.promises.begin(operation);
        let run = Run { program, at: 0, age: 0, intent: None, marker: None, has_read_tag: false, has_failed: false };
        state.processes[process] = Process { left: state.processes[process].left - 1, run: Some(run) };
        if operation.is_write() {
            self.step(state, process);
        }
    }

    /// Returns whether time can pass: not beyond the deadline of an operation that has one.
    fn may_tick(&self, state: &State) -> bool {
        let has_deadline = |operation: Operation| {
            !self.lacks(if operation.is_write() { Rule::WriterHasDeadline } else { Rule::DeleterHasDeadline })
        };
        state.runs().all(|run| run.age < HALF || !has_deadline(self.programs[run.program].operation))
    }

    /// Pushes what a process that has nothing to do may begin.
    fn beginnings(&self, state: &State, process: usize, actions: &mut Vec<Action>) {
        let is_writer = process < 2;
        for (number, program) in self.programs.iter().enumerate() {
            let operation = program.operation;
            if operation.is_write() == is_writer && self.is_found(&state.bucket, operation) {
                actions.push(Action::Begin(process, number));
            }
        }
    }
}

/// Returns the step that deletes what the run has put, or the end.
fn clearing_up(program: &Program, run: &Run) -> usize {
    let clears = |step: &Step| match step {
        Step::DeleteIntent => run.intent.is_some(),
        Step::DeleteMarker => run.marker.is_some(),
        _ => false,
    };
    program.steps.iter().position(clears).unwrap_or(program.steps.len())
}

fn is_referred_to(bucket: &Bucket, operation: Operation) -> bool {
    match operation {
        Operation::CollectRevision(manifest) => bucket.refers_to_revision(manifest),
        Operation::Collect(name) => bucket.refers_to_bytes(name),
        _ => false,
    }
}

fn is_old(bucket: &Bucket, operation: Operation) -> bool {
    let is_old = |age: Option<u8>| age.is_none_or(|age| age >= GRACE);
    match operation {
        Operation::CollectRevision(name) => is_old(bucket.revisions[name as usize]),
        Operation::Collect(Name::Layer) => bucket.layer_links.iter().all(|age| is_old(*age)),
        Operation::Collect(name) => is_old(bucket.bytes[name as usize]),
        _ => true,
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            bucket: self.bucket.clone(),
            processes: [Process { left: self.operations, run: None }; 4],
            in_flight: Vec::new(),
            deaths_left: self.deaths,
            promises: Promises { tag: Names::of(self.bucket.tag.as_slice()), ..Promises::default() },
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, process) in state.processes.iter().enumerate() {
            match process.run {
                Some(_) => actions.push(Action::Step(number)),
                None if process.left > 0 => self.beginnings(state, number, actions),
                None => {}
            }
            if process.run.is_some() && state.deaths_left > 0 {
                actions.push(Action::Die(number));
            }
        }
        let leaving = |list: &[Notice]| {
            list.iter()
                .enumerate()
                .filter(|(_, notice)| notice.is_leaving)
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        };
        actions.extend((0..state.in_flight.len()).map(Action::Arrive));
        actions.extend(leaving(&state.bucket.intents).into_iter().map(Action::IntentLeaves));
        actions.extend(leaving(&state.bucket.markers).into_iter().map(Action::MarkerLeaves));
        if self.may_tick(state) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(process, program) => self.begin(&mut state, process, program),
            Action::Step(process) => self.step(&mut state, process),
            Action::Die(process) => self.die(&mut state, process),
            Action::Arrive(number) => {
                let (request, _) = state.in_flight.remove(number);
                state.bucket.apply(request);
            }
            Action::IntentLeaves(number) => drop(state.bucket.intents.remove(number)),
            Action::MarkerLeaves(number) => drop(state.bucket.markers.remove(number)),
            Action::Tick => state.tick(),
        }
        Some(state.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a tag has its manifest", |_, state: &State| {
                let bucket = &state.bucket;
                bucket.tag.is_none_or(|name| bucket.has_revision(name) && bucket.has_bytes(name))
            }),
            Property::always("a manifest has its bytes, its layer and its children", |_, state: &State| {
                let bucket = &state.bucket;
                let is_whole = |name: Name| bucket.has_bytes(name) && bucket.has_content_of(name);
                MANIFESTS.into_iter().all(|name| !bucket.has_revision(name) || is_whole(name))
            }),
            Property::always("the link of a layer has its bytes", |_, state: &State| {
                state.bucket.has_bytes(Name::Layer) || state.bucket.layer_links.iter().all(Option::is_none)
            }),
            Property::always("an acknowledged push of a tag lasts", |_, state: &State| state.keeps_tag()),
            Property::always("a layer that a client was told of lasts", |_, state: &State| state.keeps_layer()),
            Property::always("an acknowledged DELETE lasts", |_, state: &State| {
                MANIFESTS.into_iter().all(|name| !state.promises.deleted.has(name) || !state.bucket.has_revision(name))
            }),
        ]
    }
}
