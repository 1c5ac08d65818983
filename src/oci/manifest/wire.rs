//! A manifest's JSON, read as Go's decoder reads it, since nearly every client and registry is written in Go: `null`
//! leaves a field as it was, keys are matched in any case, and unknown keys are ignored.
//!
//! Two differences are deliberate. Of a repeated key, Go keeps the last value and other decoders the first; here the
//! references of all values are kept. And a value of the wrong type does not end the parse: its field is reported to
//! the caller.

use super::json::{Each, JsonList, JsonTarget, Parsed, fields, next};
use crate::oci::Digest;

/// The document.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) media_type: Option<String>,
    pub(super) schema_version: Option<u64>,
    pub(super) config: Field<Each<WireDescriptor>>,
    pub(super) layers: Field<JsonList<WireDescriptor>>,
    pub(super) manifests: Field<JsonList<WireDescriptor>>,
    pub(super) subject: Each<WireDescriptor>,
    pub(super) fs_layers: JsonList<FsLayer>,
}

/// A descriptor. It has several digests if that key is repeated.
#[derive(Default)]
pub(super) struct WireDescriptor {
    pub(super) digests: Vec<Digest>,
    pub(super) size: u64,
    pub(super) media_type: String,
    pub(super) urls: JsonList<String>,
    pub(super) platform: Option<WirePlatform>,
}

#[derive(Clone, Default)]
pub(super) struct WirePlatform {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: String,
}

/// A layer of schema 1.
#[derive(Default)]
pub(super) struct FsLayer {
    pub(super) digests: Vec<Digest>,
}

/// A value, and whether the document contains its key.
#[derive(Default)]
pub(super) struct Field<T> {
    pub(super) presence: FieldPresence,
    pub(super) value: T,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FieldPresence {
    #[default]
    Absent,
    Null,
    Present,
}

impl<T> Field<T> {
    pub(super) fn is_present(&self) -> bool {
        self.presence == FieldPresence::Present
    }

    /// Returns whether the key is present, even with the value `null`.
    pub(super) fn is_written(&self) -> bool {
        self.presence != FieldPresence::Absent
    }
}

impl<T: JsonTarget> JsonTarget for Field<T> {
    fn null(&mut self) {
        self.presence = self.presence.max(FieldPresence::Null);
    }

    fn list<'de, A: serde::de::SeqAccess<'de>>(&mut self, list: A) -> Result<Parsed, A::Error> {
        let outcome = self.value.list(list)?;
        Ok(self.note(outcome))
    }

    fn object<'de, A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        let outcome = self.value.object(object)?;
        Ok(self.note(outcome))
    }
}

impl<T> Field<T> {
    fn note(&mut self, outcome: Parsed) -> Parsed {
        if outcome != Parsed::WrongType {
            self.presence = FieldPresence::Present;
        }
        outcome
    }
}

impl JsonTarget for Wire {
    fn object<'de, A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        fields(object, |key, object| {
            Ok(Some(match key {
                "mediatype" => ("mediaType", next(object, &mut self.media_type)?),
                "schemaversion" => ("schemaVersion", next(object, &mut self.schema_version)?),
                "config" => ("config", next(object, &mut self.config)?),
                "layers" => ("layers", next(object, &mut self.layers)?),
                "manifests" => ("manifests", next(object, &mut self.manifests)?),
                "subject" => ("subject", next(object, &mut self.subject)?),
                "fslayers" => ("fsLayers", next(object, &mut self.fs_layers)?),
                _ => return Ok(None),
            }))
        })
    }
}

impl JsonTarget for WireDescriptor {
    fn object<'de, A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        let outcome = fields(object, |key, object| {
            Ok(Some(match key {
                "digest" => ("digest", next(object, &mut self.digests)?),
                "size" => ("size", next(object, &mut self.size)?),
                "mediatype" => ("mediaType", next(object, &mut self.media_type)?),
                "urls" => ("urls", next(object, &mut self.urls)?),
                "platform" => ("platform", next(object, &mut self.platform)?),
                _ => return Ok(None),
            }))
        })?;
        Ok(outcome.with("digest", self.digests.is_empty()))
    }

    fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

impl JsonTarget for WirePlatform {
    fn object<'de, A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        fields(object, |key, object| {
            Ok(Some(match key {
                "os" => ("os", next(object, &mut self.os)?),
                "architecture" => ("architecture", next(object, &mut self.architecture)?),
                "variant" => ("variant", next(object, &mut self.variant)?),
                _ => return Ok(None),
            }))
        })
    }
}

impl JsonTarget for FsLayer {
    fn object<'de, A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        let outcome = fields(object, |key, object| {
            Ok(Some(match key {
                "blobsum" => ("blobSum", next(object, &mut self.digests)?),
                _ => return Ok(None),
            }))
        })?;
        Ok(outcome.with("blobSum", self.digests.is_empty()))
    }

    fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

/// The maximum number of digests kept for one descriptor. No client writes two.
pub(super) const MAX_DIGESTS: usize = 8;

/// Keeps each digest up to the limit; further ones count as malformed.
impl JsonTarget for Vec<Digest> {
    fn text(&mut self, text: &str) -> Parsed {
        match text.parse() {
            Ok(digest) if self.len() < MAX_DIGESTS => {
                self.push(digest);
                Parsed::Fits
            }
            _ => Parsed::WrongType,
        }
    }
}
