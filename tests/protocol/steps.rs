//! The protocol of docs/scale-out.md, as the steps of each operation.

use crate::{
    bucket::{Name, Names, Repository, Request},
    rules::Rule,
};

/// The steps of a replica in the bucket for one request of a client, or for one object that it collects or evicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Commits an upload of the layer.
    Upload,
    /// Mounts the layer from the other repository.
    Mount,
    /// Answers a HEAD of the layer, by which a client skips its upload.
    Head,
    /// Copies the mirrored layer to the key of a hosted one, and links it.
    Promote,
    /// Puts a manifest by the tag.
    Push(Name),
    /// Collects the revision link of an untagged manifest.
    CollectRevision(Name),
    /// Collects the bytes of a manifest, or the links and the bytes of the layer.
    Collect(Name),
    /// Answers a DELETE of a manifest by its digest.
    DeleteManifest(Name),
    /// Answers a DELETE of the tag.
    DeleteTag,
    /// Evicts the mirrored layer.
    Evict,
}

/// A step: one request to the bucket, with the decision that follows from its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Names everything that will be relied on or written.
    PutIntent,
    /// Gives up if a marker names any of it.
    LookForMarkers,
    /// Goes on if the link of the layer is old; is done if it is young.
    ReadLayerLink,
    /// Gives up if the layer's bytes are missing.
    CheckBytes,
    /// Gives up if the layer is missing, or not in the other repository.
    CheckSource,
    /// Gives up if anything that the manifest names is missing.
    CheckContent(Name),
    Put(Request),
    DeleteIntent,
    PutMarker,
    /// Gives up if an intent names any of what is marked.
    ReadIntents,
    /// Gives up if something refers to what would be deleted.
    ReadReferences,
    /// Gives up if what would be deleted is younger than the grace.
    ReadAges,
    /// Remembers whether the tag names the manifest.
    ReadTag(Name),
    /// Deletes the tag if it was read to name the manifest.
    DeleteTagRead,
    Delete(Request),
    /// Gives up if a repository has the layer. No step of the protocol: it goes with [`Rule::MirroredHasKeysOfItsOwn`].
    ReadLayerLinks,
    DeleteMarker,
}

impl Step {
    /// Returns whether this changes anything but intents and markers.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete(_))
    }
}

/// The steps of an operation, and what its intent or marker names.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) operation: Operation,
    pub(crate) steps: Vec<Step>,
    pub(crate) names: Names,
    /// The names whose markers a writer looks for.
    pub(crate) relied_on: Names,
    /// The step after which the client is answered.
    pub(crate) last_change: usize,
}

impl Operation {
    pub(crate) fn is_write(self) -> bool {
        matches!(self, Self::Upload | Self::Mount | Self::Head | Self::Promote | Self::Push(_))
    }

    /// Returns what is relied on, written or deleted.
    fn names(self) -> Names {
        match self {
            Self::Upload | Self::Mount | Self::Head | Self::Promote | Self::Evict => Names::of(&[Name::Layer]),
            Self::Push(Name::Index) => Names::of(&[Name::Index, Name::First, Name::Tag]),
            Self::Push(manifest) => Names::of(&[manifest, Name::Layer, Name::Tag]),
            Self::CollectRevision(name) | Self::Collect(name) => Names::of(&[name]),
            Self::DeleteManifest(name) => Names::of(&[name, Name::Tag]),
            Self::DeleteTag => Names::of(&[Name::Tag]),
        }
    }

    fn steps(self) -> Vec<Step> {
        let write = |rest: &[Step]| [&[Step::PutIntent, Step::LookForMarkers], rest, &[Step::DeleteIntent]].concat();
        let link = Step::Put(Request::PutLayerLink);
        match self {
            Self::Upload => write(&[Step::Put(Request::PutBytes(Name::Layer)), link]),
            Self::Mount => write(&[Step::CheckSource, link]),
            Self::Head => [vec![Step::ReadLayerLink], write(&[Step::CheckBytes, link])].concat(),
            Self::Promote => write(&[Step::Put(Request::CopyMirrored), link]),
            Self::Push(name) => write(&[
                Step::CheckContent(name),
                Step::Put(Request::PutBytes(name)),
                Step::Put(Request::PutRevision(name)),
                Step::Put(Request::PutTag(name)),
            ]),
            Self::CollectRevision(name) => collect(&[Request::DeleteRevision(name)]),
            Self::Collect(Name::Layer) => collect(&[
                Request::DeleteLayerLink(Repository::Source),
                Request::DeleteLayerLink(Repository::Target),
                Request::DeleteBytes(Name::Layer),
            ]),
            Self::Collect(name) => collect(&[Request::DeleteBytes(name)]),
            Self::DeleteManifest(name) => vec![
                Step::PutMarker,
                Step::ReadIntents,
                Step::ReadTag(name),
                Step::DeleteTagRead,
                Step::Delete(Request::DeleteRevision(name)),
                Step::DeleteMarker,
            ],
            Self::DeleteTag => {
                vec![Step::PutMarker, Step::ReadIntents, Step::Delete(Request::DeleteTag), Step::DeleteMarker]
            }
            Self::Evict => vec![Step::Delete(Request::DeleteMirrored)],
        }
    }

    /// Returns the steps of the whole protocol, or of the protocol without one rule.
    pub(crate) fn program(self, without: Option<Rule>) -> Program {
        let (mut steps, names) = (self.steps(), self.names());
        let (mut noted, mut relied_on) = (names, names);
        if let Some(rule) = without {
            rule.leave_out_of(self, &mut steps);
            noted = rule.leave_out_of_names(self, names);
        }
        if !self.is_write() {
            relied_on = noted;
        }
        let last_change = steps.iter().rposition(|step| step.changes()).unwrap_or(steps.len());
        Program { operation: self, steps, names: noted, relied_on, last_change }
    }
}

fn collect(deletes: &[Request]) -> Vec<Step> {
    let mut steps = vec![Step::PutMarker, Step::ReadIntents, Step::ReadReferences, Step::ReadAges];
    steps.extend(deletes.iter().map(|request| Step::Delete(*request)));
    steps.push(Step::DeleteMarker);
    steps
}
