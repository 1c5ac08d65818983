//! The descriptor of a manifest in referrers lists (distribution-spec, "Listing Referrers"). It is built once, when the
//! manifest arrives, and kept in the index.

use serde_json::{Value, json};

use crate::oci::{Digest, MediaType};

/// The longest descriptor that the index stores, in bytes. Longer ones, which come from large annotations, are read
/// from their manifest, to keep the index small.
const MAX_INDEXED_BYTES: usize = 2 << 10;

/// The descriptor of a manifest, with its artifact type and annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct ReferrerDescriptor {
    pub(in crate::registry) artifact_type: Option<String>,
    /// image-spec `descriptor.md`, as JSON.
    pub(in crate::registry) json: String,
    /// `true` if the JSON includes the annotations.
    pub(in crate::registry) is_whole: bool,
}

impl ReferrerDescriptor {
    /// Parses the document a second time, because [`crate::oci::Manifest`] does not keep annotations.
    pub(in crate::registry) fn new(digest: &Digest, bytes: &[u8], media_type: &MediaType) -> Self {
        let mut document: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let mut descriptor =
            json!({ "mediaType": media_type.as_str(), "digest": digest.to_string(), "size": bytes.len() });
        let own = document["artifactType"].as_str().filter(|own| !own.is_empty());
        let artifact_type = own.or(document["config"]["mediaType"].as_str()).map(str::to_owned);
        if let Some(artifact_type) = &artifact_type {
            descriptor["artifactType"] = artifact_type.as_str().into();
        }
        if document["annotations"].is_object() {
            descriptor["annotations"] = document["annotations"].take();
        }
        Self { artifact_type, json: descriptor.to_string(), is_whole: true }
    }

    /// Encodes it for the index: a byte for `is_whole`, the length of the artifact type, the artifact type, the JSON.
    /// Empty if the artifact type is too long.
    pub(in crate::registry) fn encode(&self) -> Vec<u8> {
        let artifact_type = self.artifact_type.as_deref().unwrap_or_default();
        let Ok(length) = u16::try_from(artifact_type.len()) else { return Vec::new() };
        let is_whole = self.is_whole && self.json.len() <= MAX_INDEXED_BYTES;
        let json = if is_whole { self.json.as_str() } else { "" };
        [&[u8::from(is_whole)][..], &length.to_be_bytes(), artifact_type.as_bytes(), json.as_bytes()].concat()
    }

    /// Decodes an index entry; `None` for an empty one, as indexes of older versions have.
    pub(in crate::registry) fn decode(note: &[u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes(note.get(1..3)?.try_into().ok()?));
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        Some(Self {
            is_whole: *note.first()? == 1,
            artifact_type: text(note.get(3..3 + length)?).filter(|artifact_type| !artifact_type.is_empty()),
            json: text(note.get(3 + length..)?)?,
        })
    }

    /// Returns whether it has the wanted artifact type; `None` matches all.
    pub(in crate::registry) fn is(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| self.artifact_type.as_deref() == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(document: &Value) -> ReferrerDescriptor {
        let bytes = document.to_string();
        ReferrerDescriptor::new(&Digest::sha256(bytes.as_bytes()), bytes.as_bytes(), &MediaType::new("application/x"))
    }

    #[test]
    fn what_is_kept_is_what_was_made() {
        let small = described(&json!({ "artifactType": "a/b", "annotations": { "k": "v" } }));
        assert_eq!(ReferrerDescriptor::decode(&small.encode()), Some(small.clone()));
        assert!(small.is(Some("a/b")) && small.is(None) && !small.is(Some("c/d")));
        let by_config = described(&json!({ "artifactType": "", "config": { "mediaType": "e/f" } }));
        assert_eq!(by_config.artifact_type.as_deref(), Some("e/f"));
        let untyped = described(&json!({ "annotations": 1 }));
        assert_eq!(ReferrerDescriptor::decode(&untyped.encode()), Some(untyped.clone()));
        assert!(untyped.is(None) && !untyped.is(Some("")));
    }

    #[test]
    fn of_long_annotations_the_type_alone_is_kept() {
        let large = described(&json!({ "artifactType": "a/b", "annotations": { "k": "v".repeat(MAX_INDEXED_BYTES) } }));
        let note = large.encode();
        let kept = ReferrerDescriptor::decode(&note).unwrap();
        assert!(note.len() < 100 && !kept.is_whole && kept.is(Some("a/b")));
    }

    #[test]
    fn an_older_index_knows_nothing() {
        assert_eq!(ReferrerDescriptor::decode(&[]), None);
    }
}
