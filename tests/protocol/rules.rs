//! The rules of the protocol, and the protocol without one of them.

use crate::{
    bucket::{Name, Names, Request},
    steps::{Operation, Step},
};

/// A rule of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A writer announces what it relies on and writes.
    WriterPutsIntent,
    /// The intent of a manifest names its layers, and that of an index its manifests.
    IntentNamesContent,
    /// The intent of a manifest names the tag.
    IntentNamesTag,
    /// A writer looks for markers.
    WriterLooksForMarkers,
    /// It looks for them after its intent.
    WriterLooksAfterIntent,
    /// A writer looks whether the content that it relies on is there.
    WriterChecksContent,
    /// It does so after it looked for markers.
    WriterChecksAfterLook,
    /// A manifest is put before its revision link,
    BytesBeforeRevision,
    /// the revision link before the tag,
    RevisionBeforeTag,
    /// and a layer before its link.
    BytesBeforeLayerLink,
    /// An intent is deleted after the last write.
    IntentOutlastsWrites,
    /// It is left to expire if a write had no answer.
    IntentOutlastsUnknownWrite,
    /// A writer gives up before its intent expires.
    WriterHasDeadline,
    /// A HEAD renews an old link before it says yes.
    HeadRenewsOldLink,
    /// A deleter marks what it deletes.
    DeleterPutsMarker,
    /// A deleter reads the intents.
    DeleterReadsIntents,
    /// It reads them, and all else that it decides by, after it put its marker.
    DeleterReadsAfterMarker,
    /// A collector looks again for references,
    CollectorReadsReferences,
    /// after it read the intents.
    ReferencesAfterIntents,
    /// It looks again for ages,
    CollectorReadsAges,
    /// after it read the intents.
    AgesAfterIntents,
    /// It deletes links before bytes.
    LinksBeforeBytes,
    /// A marker is deleted after the last delete.
    MarkerOutlastsDeletes,
    /// It is left to expire if a delete had no answer.
    MarkerOutlastsUnknownDelete,
    /// No deleter deletes the marker of another.
    MarkerOfEachDeleter,
    /// A deleter gives up before its marker expires.
    DeleterHasDeadline,
    /// A DELETE by digest marks the tags, too.
    DeleteMarksTag,
    /// It reads the tags after the intents,
    DeleteReadsTagAfterIntents,
    /// and deletes them before the revision link.
    TagBeforeRevisionOnDelete,
    /// Mirrored content has keys of its own, which alone are evicted.
    MirroredHasKeysOfItsOwn,
}

impl Rule {
    /// Takes out of an intent or a marker what it names by this rule alone.
    pub(crate) fn leave_out_of_names(self, operation: Operation, names: Names) -> Names {
        match (self, operation) {
            (Self::IntentNamesContent, Operation::Push(manifest)) => Names::of(&[manifest, Name::Tag]),
            (Self::IntentNamesTag, Operation::Push(_)) | (Self::DeleteMarksTag, Operation::DeleteManifest(_)) => {
                names.without(Name::Tag)
            }
            _ => names,
        }
    }

    /// Changes the steps of an operation so that they break this rule.
    pub(crate) fn leave_out_of(self, operation: Operation, steps: &mut Vec<Step>) {
        match self {
            Self::WriterPutsIntent => steps.retain(|step| !matches!(step, Step::PutIntent | Step::DeleteIntent)),
            Self::WriterLooksForMarkers => steps.retain(|step| *step != Step::LookForMarkers),
            Self::WriterLooksAfterIntent => put_before_intent(steps, |step| *step == Step::LookForMarkers),
            Self::WriterChecksContent => steps.retain(|step| !is_check(step)),
            Self::WriterChecksAfterLook => put_before_intent(steps, is_check),
            Self::BytesBeforeRevision => exchange(steps, is_manifest, is_revision),
            Self::RevisionBeforeTag => exchange(steps, is_revision, is_tag),
            Self::BytesBeforeLayerLink => exchange(steps, is_layer, is_layer_link),
            Self::IntentOutlastsWrites => exchange_with_last_change(steps, Step::DeleteIntent),
            Self::DeleterPutsMarker => steps.retain(|step| !matches!(step, Step::PutMarker | Step::DeleteMarker)),
            Self::DeleterReadsIntents => steps.retain(|step| *step != Step::ReadIntents),
            Self::DeleterReadsAfterMarker => put_marker_last(steps),
            Self::CollectorReadsReferences => steps.retain(|step| *step != Step::ReadReferences),
            Self::ReferencesAfterIntents => {
                exchange(steps, |step| *step == Step::ReadIntents, |step| *step == Step::ReadReferences);
            }
            Self::CollectorReadsAges => steps.retain(|step| *step != Step::ReadAges),
            Self::AgesAfterIntents => {
                exchange(steps, |step| *step == Step::ReadIntents, |step| *step == Step::ReadAges);
            }
            Self::LinksBeforeBytes => exchange(steps, is_link_deletion, is_layer_deletion),
            Self::MarkerOutlastsDeletes => exchange_with_last_change(steps, Step::DeleteMarker),
            Self::DeleteReadsTagAfterIntents => {
                exchange(steps, |step| *step == Step::ReadIntents, |step| matches!(step, Step::ReadTag(_)));
            }
            Self::TagBeforeRevisionOnDelete if steps.contains(&Step::DeleteTagRead) => {
                exchange(steps, |step| *step == Step::DeleteTagRead, |step| step.changes());
            }
            Self::MirroredHasKeysOfItsOwn => share_keys(operation, steps),
            _ => {}
        }
    }
}

/// Evicts the bytes at the key of hosted content where no repository has them, and promotes by a link alone.
fn share_keys(operation: Operation, steps: &mut Vec<Step>) {
    if operation == Operation::Evict {
        *steps = vec![Step::ReadLayerLinks, Step::Delete(Request::DeleteBytes(Name::Layer))];
    }
    for step in steps.iter_mut().filter(|step| **step == Step::Put(Request::CopyMirrored)) {
        *step = Step::CheckBytes;
    }
}

fn is_check(step: &Step) -> bool {
    matches!(step, Step::CheckBytes | Step::CheckSource | Step::CheckContent(_))
}

fn is_layer(step: &Step) -> bool {
    matches!(step, Step::Put(Request::PutBytes(Name::Layer) | Request::CopyMirrored))
}

fn is_layer_link(step: &Step) -> bool {
    *step == Step::Put(Request::PutLayerLink)
}

fn is_manifest(step: &Step) -> bool {
    matches!(step, Step::Put(Request::PutBytes(name)) if *name != Name::Layer)
}

fn is_revision(step: &Step) -> bool {
    matches!(step, Step::Put(Request::PutRevision(_)))
}

fn is_tag(step: &Step) -> bool {
    matches!(step, Step::Put(Request::PutTag(_)))
}

fn is_link_deletion(step: &Step) -> bool {
    matches!(step, Step::Delete(Request::DeleteLayerLink(_)))
}

fn is_layer_deletion(step: &Step) -> bool {
    *step == Step::Delete(Request::DeleteBytes(Name::Layer))
}

fn exchange(steps: &mut [Step], is_one: impl Fn(&Step) -> bool, is_other: impl Fn(&Step) -> bool) {
    if let (Some(one), Some(other)) = (steps.iter().position(is_one), steps.iter().position(is_other)) {
        steps.swap(one, other);
    }
}

fn exchange_with_last_change(steps: &mut [Step], clearing_up: Step) {
    if let (Some(last), true) = (steps.iter().rposition(|step| step.changes()), steps.contains(&clearing_up)) {
        steps.swap(last, last + 1);
    }
}

fn put_before_intent(steps: &mut [Step], is_meant: impl Fn(&Step) -> bool) {
    let intent = steps.iter().position(|step| *step == Step::PutIntent);
    if let (Some(from), Some(to)) = (steps.iter().position(is_meant), intent) {
        steps[to..=from].rotate_right(1);
    }
}

fn put_marker_last(steps: &mut [Step]) {
    if let Some(marker) = steps.iter().position(|step| *step == Step::PutMarker) {
        let is_deletion = |step: &Step| step.changes() || *step == Step::DeleteTagRead;
        let first = steps.iter().position(is_deletion).unwrap_or(steps.len());
        steps[marker..first].rotate_left(1);
    }
}
