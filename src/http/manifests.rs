//! `GET` and `HEAD /v2/<name>/manifests/<reference>` (end-3).

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, body::SizedStream, http::header};
use futures_util::stream;

use super::{
    errors::Refusal,
    extract::{self, State},
    headers::{self, API_VERSION, NOSNIFF},
};
use crate::{
    oci::{Digest, MediaType},
    registry::Provenance,
};

/// The bytes, as they were pushed.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let repository = extract::repository(&registry, &request)?;
    let reference = extract::reference(&request)?;
    let (manifest, provenance) = registry.clone().into_inner().manifest(&repository, &reference).await?;
    if headers::holds(&request, &manifest.digest) {
        return Ok(not_modified(&manifest.digest, provenance));
    }
    Ok(found(&manifest.digest, manifest.media_type(), provenance).body(manifest.bytes.clone()))
}

/// The same headers without the bytes.
pub(super) async fn head(registry: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let repository = extract::repository(&registry, &request)?;
    let reference = extract::reference(&request)?;
    let (head, provenance) = registry.clone().into_inner().manifest_head(&repository, &reference).await?;
    if headers::holds(&request, &head.digest) {
        return Ok(not_modified(&head.digest, provenance));
    }
    let nothing = stream::empty::<Result<_, actix_web::Error>>();
    Ok(found(&head.digest, &head.media_type, provenance).body(SizedStream::new(head.size, nothing)))
}

fn found(digest: &Digest, media_type: &MediaType, provenance: Provenance) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    headers::describe(&mut response, digest, provenance);
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header((header::CONTENT_TYPE, media_type.as_str()));
    response
}

fn not_modified(digest: &Digest, provenance: Provenance) -> HttpResponse {
    let mut response = HttpResponse::NotModified();
    headers::describe(&mut response, digest, provenance);
    response.insert_header(API_VERSION).finish()
}
