//! A model of the protocol by which many replicas share one bucket (docs/scale-out.md), and the search for a loss in
//! it: pushes, mounts, HEADs, promotions, moves of tags, DELETEs, evictions and collections by two writers and two
//! deleters, with deaths between any two steps, and with requests that take effect after their sender died.
//!
//! The model's clock ticks once in half a grace. An operation sees at most one tick, since it has a deadline, and so
//! does a request that is on its way. An intent or a marker is void after the second.
#![allow(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod bucket;
mod replicas;
mod rules;
mod state;
mod steps;

use std::{env, thread};

use bucket::{Bucket, GRACE, Name};
use replicas::Protocol;
use rules::Rule;
use stateright::{Checker, HasDiscoveries, Model};
use steps::Operation::{
    self, Collect, CollectRevision, DeleteManifest, DeleteTag, Evict, Head, Mount, Promote, Push, Upload,
};

const FIRST: Name = Name::First;
const SECOND: Name = Name::Second;
const LAYER: Name = Name::Layer;
const INDEX: Name = Name::Index;

/// The operations on the layer.
const LAYERS: [Operation; 9] =
    [Upload, Mount, Head, Promote, Push(FIRST), CollectRevision(FIRST), Collect(LAYER), Collect(FIRST), Evict];
/// The operations on the tag.
const TAGS: [Operation; 4] = [Push(FIRST), Push(SECOND), CollectRevision(FIRST), DeleteManifest(SECOND)];
const TAG_DELETION: [Operation; 3] = [Push(FIRST), CollectRevision(FIRST), DeleteTag];
/// The operations on an index.
const INDEXES: [Operation; 7] = [
    Push(INDEX),
    Push(FIRST),
    CollectRevision(FIRST),
    CollectRevision(INDEX),
    Collect(LAYER),
    DeleteManifest(INDEX),
    DeleteTag,
];
/// The operations on images without an index.
const IMAGES: [Operation; 15] = [
    Upload,
    Mount,
    Head,
    Promote,
    Push(FIRST),
    Push(SECOND),
    CollectRevision(FIRST),
    CollectRevision(SECOND),
    Collect(FIRST),
    Collect(SECOND),
    Collect(LAYER),
    DeleteManifest(FIRST),
    DeleteManifest(SECOND),
    DeleteTag,
    Evict,
];

const OLD: Option<u8> = Some(GRACE);

/// The mirrored layer alone.
fn empty() -> Bucket {
    Bucket { mirrored: true, ..Bucket::default() }
}

/// The layer, in both repositories, for longer than the grace.
fn with_layer() -> Bucket {
    Bucket { bytes: [OLD, None, None, None], layer_links: [OLD; 2], ..empty() }
}

/// Two old manifests, of which the tag names the second.
fn with_tag() -> Bucket {
    let [bytes, revisions] = [[OLD, OLD, OLD, None], [None, OLD, OLD, None]];
    Bucket { bytes, layer_links: [OLD; 2], revisions, tag: Some(SECOND), ..Bucket::default() }
}

/// An old manifest without a tag, which an index may name.
fn with_child() -> Bucket {
    let [bytes, revisions] = [[OLD, OLD, None, None], [None, OLD, None, None]];
    Bucket { bytes, layer_links: [OLD, None], revisions, ..Bucket::default() }
}

/// The layer at the key of hosted content, where none of its own is left to mirrored content.
fn mirrored_as_hosted() -> Bucket {
    Bucket { bytes: [OLD, None, None, None], ..Bucket::default() }
}

fn explore(protocol: Protocol, finish: HasDiscoveries) -> impl Checker<Protocol> {
    let checker = protocol.checker().threads(thread::available_parallelism().map_or(2, usize::from));
    checker.finish_when(finish).spawn_bfs().join()
}

/// Explores every state and panics with the way to the first loss.
fn holds(protocol: Protocol) {
    let found = explore(protocol, HasDiscoveries::Any);
    let losses = found.discoveries().into_iter().map(|(loss, path)| format!("{loss}: {:#?}", path.into_vec()));
    let losses: Vec<_> = losses.collect();
    assert!(losses.is_empty(), "{}", losses.join("\n"));
}

/// Explores the protocol without a rule until it finds a loss.
fn is_needed(rule: Rule, bucket: Bucket, operations: &[Operation], loss: &str) {
    let found = explore(Protocol::new(bucket, operations, Some(rule)), HasDiscoveries::Any);
    let losses: Vec<_> = found.discoveries().into_keys().collect();
    assert!(losses.iter().any(|found| found.contains(loss)), "without {rule:?}: {losses:?}");
}

/// A test for each rule: without it, these operations lose this.
macro_rules! needed {
    ($($test:ident: $rule:ident, $bucket:ident, [$($operation:expr),*], $loss:expr;)*) => { $(
        #[test]
        fn $test() {
            is_needed(Rule::$rule, $bucket(), &[$($operation),*], $loss);
        }
    )* };
}

const LAYER_LOST: &str = "a layer that a client was told of lasts";
const CONTENT_LOST: &str = "a manifest has its bytes";
const MANIFEST_LOST: &str = "a tag has its manifest";
const TAG_LOST: &str = "an acknowledged push";
const DANGLING: &str = "the link of a layer";

needed! {
    a_writer_puts_an_intent: WriterPutsIntent, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    an_intent_names_layers: IntentNamesContent, with_layer, [Push(FIRST), Collect(LAYER)], CONTENT_LOST;
    an_intent_names_children: IntentNamesContent, with_child, [Push(INDEX), CollectRevision(FIRST)], CONTENT_LOST;
    an_intent_names_the_tag: IntentNamesTag, with_tag, [Push(FIRST), DeleteManifest(SECOND)], TAG_LOST;
    a_writer_looks_for_markers: WriterLooksForMarkers, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_writer_looks_after_its_intent: WriterLooksAfterIntent, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_push_checks_content: WriterChecksContent, with_layer, [Push(FIRST), Collect(LAYER)], CONTENT_LOST;
    a_push_checks_after_its_look: WriterChecksAfterLook, with_layer, [Push(FIRST), Collect(LAYER)], CONTENT_LOST;
    a_mount_checks_after_its_look: WriterChecksAfterLook, with_layer, [Mount, Collect(LAYER)], LAYER_LOST;
    a_manifest_is_before_its_link: BytesBeforeRevision, with_layer, [Push(FIRST)], CONTENT_LOST;
    a_revision_is_before_its_tag: RevisionBeforeTag, with_layer, [Push(FIRST)], MANIFEST_LOST;
    an_uploaded_layer_is_before_its_link: BytesBeforeLayerLink, empty, [Upload], DANGLING;
    a_promoted_layer_is_before_its_link: BytesBeforeLayerLink, empty, [Promote, Evict], DANGLING;
    an_intent_outlasts_writes: IntentOutlastsWrites, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    an_intent_outlasts_a_lost_answer: IntentOutlastsUnknownWrite, with_layer, [Upload, Collect(LAYER)], DANGLING;
    a_delete_lasts_since_intents_do:
        IntentOutlastsUnknownWrite, with_tag, [Push(FIRST), DeleteManifest(FIRST)], "an acknowledged DELETE";
    a_writer_has_a_deadline: WriterHasDeadline, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_head_renews_an_old_link: HeadRenewsOldLink, with_layer, [Head, Collect(LAYER)], LAYER_LOST;
    a_deleter_puts_a_marker: DeleterPutsMarker, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_deleter_reads_intents: DeleterReadsIntents, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_deleter_reads_after_its_marker: DeleterReadsAfterMarker, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_collector_reads_references: CollectorReadsReferences, with_layer, [Push(FIRST), Collect(LAYER)], CONTENT_LOST;
    references_are_read_after_intents: ReferencesAfterIntents, with_layer, [Push(FIRST), Collect(LAYER)], CONTENT_LOST;
    a_collector_reads_ages: CollectorReadsAges, with_layer, [Head, Collect(LAYER)], LAYER_LOST;
    ages_are_read_after_intents: AgesAfterIntents, with_layer, [Head, Collect(LAYER)], LAYER_LOST;
    links_are_deleted_before_bytes: LinksBeforeBytes, with_layer, [Collect(LAYER)], DANGLING;
    a_marker_outlasts_deletes: MarkerOutlastsDeletes, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_marker_outlasts_a_lost_answer: MarkerOutlastsUnknownDelete, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    each_deleter_has_its_own_marker: MarkerOfEachDeleter, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_deleter_has_a_deadline: DeleterHasDeadline, with_layer, [Upload, Collect(LAYER)], LAYER_LOST;
    a_delete_marks_the_tag: DeleteMarksTag, with_tag, [Push(FIRST), DeleteManifest(SECOND)], TAG_LOST;
    a_delete_reads_the_tag_after_intents:
        DeleteReadsTagAfterIntents, with_tag, [Push(FIRST), DeleteManifest(FIRST)], MANIFEST_LOST;
    a_tag_is_deleted_before_its_revision: TagBeforeRevisionOnDelete, with_tag, [DeleteManifest(SECOND)], MANIFEST_LOST;
    mirrored_content_has_keys_of_its_own: MirroredHasKeysOfItsOwn, mirrored_as_hosted, [Promote, Evict], LAYER_LOST;
}

#[test]
fn layers_are_not_lost() {
    holds(Protocol::new(with_layer(), &LAYERS, None));
    holds(Protocol::new(empty(), &LAYERS, None));
}

#[test]
fn tags_are_not_lost() {
    holds(Protocol::new(with_tag(), &TAGS, None));
    holds(Protocol::new(with_tag(), &TAG_DELETION, None));
}

#[test]
fn children_are_not_lost() {
    holds(Protocol::new(with_child(), &INDEXES, None));
}

/// Under `./test --soak`: every operation beside every other, and more deaths.
#[test]
fn nothing_is_lost_within_larger_bounds() {
    if env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty()) {
        holds(Protocol::new(with_layer(), &LAYERS, None).bounded(1, 2));
        holds(Protocol::new(with_child(), &INDEXES, None).bounded(1, 2));
        holds(Protocol::new(with_tag(), &IMAGES, None));
    }
}

/// An operation, a bucket, and a check of what it leaves there.
type Case = (Operation, Bucket, fn(&Bucket) -> bool);

/// The model can do all that it is asked about: each operation changes the bucket when it is alone.
#[test]
fn each_operation_succeeds_alone() {
    let without_tag = || Bucket { tag: None, ..with_tag() };
    let without_revisions = || Bucket { revisions: [None; 4], ..without_tag() };
    let cases: [Case; 13] = [
        (Upload, empty(), |after| after.has_bytes(LAYER) && after.layer_links == [Some(0), None]),
        (Mount, Bucket { layer_links: [None, OLD], ..with_layer() }, |after| after.layer_links == [Some(0), OLD]),
        (Head, with_layer(), |after| after.layer_links == [Some(0), OLD]),
        (Promote, empty(), |after| after.has_bytes(LAYER) && after.layer_links == [Some(0), None]),
        (Push(FIRST), with_layer(), |after| after.tag == Some(FIRST) && after.has_revision(FIRST)),
        (Push(FIRST), with_tag(), |after| after.tag == Some(FIRST) && after.has_revision(SECOND)),
        (Push(INDEX), with_child(), |after| after.tag == Some(INDEX) && after.has_bytes(INDEX)),
        (CollectRevision(FIRST), with_tag(), |after| !after.has_revision(FIRST) && after.has_bytes(FIRST)),
        (Collect(FIRST), without_revisions(), |after| !after.has_bytes(FIRST) && after.has_bytes(LAYER)),
        (Collect(LAYER), without_revisions(), |after| !after.has_bytes(LAYER) && after.layer_links == [None; 2]),
        (DeleteManifest(SECOND), with_tag(), |after| after.tag.is_none() && !after.has_revision(SECOND)),
        (DeleteTag, with_tag(), |after| after.tag.is_none() && after.has_revision(SECOND)),
        (Evict, with_layer(), |after| !after.mirrored && after.has_bytes(LAYER)),
    ];
    for (operation, bucket, is_done) in cases {
        let after = alone(operation, bucket);
        assert!(is_done(&after), "{operation:?}: {after:?}");
        assert!(after.intents.is_empty() && after.markers.is_empty(), "{operation:?} leaves something: {after:?}");
    }
}

/// Runs an operation to its end, with no other.
fn alone(operation: Operation, bucket: Bucket) -> Bucket {
    let protocol = Protocol::new(bucket, &[operation], None);
    let mut state = protocol.init_states().remove(0);
    let process = if operation.is_write() { 0 } else { 2 };
    protocol.begin(&mut state, process, 0);
    while state.processes[process].run.is_some() {
        protocol.step(&mut state, process);
    }
    state.bucket
}
