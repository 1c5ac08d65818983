//! `target.references`: the descriptors in a manifest, as far as registry:2 puts them into its events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A descriptor in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The fields of a manifest or an index with references.
#[derive(Deserialize)]
struct Document {
    config: Option<Reference>,
    #[serde(default)]
    layers: Vec<Reference>,
    #[serde(default)]
    manifests: Vec<Reference>,
}

/// Returns the references of a manifest: its config and layers, or the manifests of an index. Empty if it is
/// neither.
#[must_use]
pub fn references(manifest: &[u8]) -> Vec<Reference> {
    let Ok(Document { config, layers, manifests }) = serde_json::from_slice(manifest) else { return Vec::new() };
    config.into_iter().chain(layers).chain(manifests).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_refers_to_its_config_and_layers_and_an_index_to_manifests() {
        let manifest = br#"{"config":{"mediaType":"c","size":2,"digest":"d1"},
            "layers":[{"mediaType":"l","size":5,"digest":"d2","urls":["u"],"annotations":{"k":"v"},"data":"x"}]}"#;
        let json = serde_json::to_value(references(manifest)).unwrap();
        let expected = serde_json::json!([
            {"mediaType": "c", "size": 2, "digest": "d1"},
            {"mediaType": "l", "size": 5, "digest": "d2", "urls": ["u"], "annotations": {"k": "v"}},
        ]);
        assert_eq!(json, expected);
        let index = br#"{"manifests":[{"digest":"d","platform":{"os":"linux","architecture":"arm"}}]}"#;
        assert_eq!(serde_json::to_value(references(index)).unwrap(), serde_json::json!([{"digest": "d"}]));
        assert_eq!(references(b"[]"), []);
    }
}
