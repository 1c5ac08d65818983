//! Manifests and lists: the request, the verification, and the meaning of each status.

use std::time::Duration;

use super::{
    Digest, Error, Reference, latest, name, remote,
    server::{Server, Step, reply, say},
    threads,
};
use crate::{
    metrics::PullRateLimit,
    oci::{MANIFEST_TYPES, MediaType},
};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn digest_header(of: &[u8]) -> String {
    format!("Docker-Content-Digest: {}\r\nContent-Type: {}; x=y\r\n", Digest::sha256(of), MediaType::OCI_INDEX)
}

#[tokio::test]
async fn a_head_has_digest_type_and_size() {
    let server =
        Server::start(|_, _| say(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 19\r\n\r\n", digest_header(MANIFEST))));
    let (threads, remote) = (threads(1), remote(&server));
    for _ in 0..3 {
        let head = remote.head_manifest(&threads, &name(), &latest()).await.unwrap();
        assert_eq!(head.digest, Some(Digest::sha256(MANIFEST)));
        assert_eq!(head.media_type.as_str(), MediaType::OCI_INDEX);
        assert_eq!(head.size, Some(19));
    }
    assert_eq!(server.connections(), 1, "the connection is used again");
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("HEAD", "/v2/library/thing/manifests/latest"));
    assert_eq!(asked.header("accept"), Some(MANIFEST_TYPES.join(", ").as_str()));
    assert_eq!(asked.header("user-agent"), Some(concat!("entrepot/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert_eq!(asked.header("host"), Some(format!("127.0.0.1:{}", server.port()).as_str()));
    assert_eq!(asked.header("authorization"), None);
}

#[tokio::test]
async fn a_manifest_is_verified() {
    let server = Server::start(|asked, _| match asked.target.rsplit_once('/').map(|(_, reference)| reference) {
        Some("lying") => reply("200 OK", &digest_header(b"other"), MANIFEST),
        Some("cut") => vec![reply("200 OK", "", MANIFEST).remove(0), Step::Fin],
        _ => reply("200 OK", "", MANIFEST),
    });
    let (threads, remote) = (threads(1), remote(&server));
    let get = async |reference: &str| remote.get_manifest(&threads, &name(), &reference.parse().unwrap()).await;
    assert_eq!(get("latest").await.unwrap().bytes, MANIFEST);
    let right = Digest::sha256(MANIFEST);
    assert_eq!(get(&right.to_string()).await.unwrap().bytes, MANIFEST);
    let expected = Digest::sha256(b"other");
    assert_eq!(get(&expected.to_string()).await, Err(Error::DigestMismatch { expected }));
    assert_eq!(get("lying").await, Err(Error::DigestMismatch { expected }));
}

#[tokio::test]
async fn a_manifest_cut_short_is_none() {
    let server = Server::start(|asked, _| {
        let body = if asked.target.ends_with("chunked") {
            "Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n"
        } else {
            "Content-Length: 10\r\n\r\nfour"
        };
        vec![Step::Say(format!("HTTP/1.1 200 OK\r\n{body}").into()), Step::Fin]
    });
    let (threads, remote) = (threads(1), remote(&server));
    for (tag, expected) in [("sized", Some(10)), ("chunked", None)] {
        let got = remote.get_manifest(&threads, &name(), &tag.parse().unwrap()).await;
        assert_eq!(got, Err(Error::Cut { got: 4, expected }), "{tag}");
    }
}

#[tokio::test]
async fn a_document_that_is_too_long_is_refused() {
    let server = Server::start(|asked, _| {
        if asked.target.ends_with("announced") {
            return say("HTTP/1.1 200 OK\r\nContent-Length: 8388609\r\n\r\n");
        }
        let chunk = [b"100000\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
        let head = Step::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into());
        [vec![head], vec![Step::Say(chunk); 9]].concat()
    });
    let (threads, remote) = (threads(1), remote(&server));
    for tag in ["announced", "endless"] {
        let got = remote.get_manifest(&threads, &name(), &tag.parse().unwrap()).await;
        assert_eq!(got, Err(Error::TooLarge { limit: 8 << 20 }), "{tag}");
    }
}

#[tokio::test]
async fn a_status_is_classified() {
    let server = Server::start(|asked, _| match asked.target.rsplit_once('/').map(|(_, tag)| tag) {
        Some("gone") => reply("404 Not Found", "", ""),
        Some("unknown") => reply("400 Bad Request", "", r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        Some("secret") => reply("403 Forbidden", "", r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#),
        Some("broken") => reply("503 Service Unavailable", "", "<html>"),
        _ => reply("418 Teapot", "", "short and stout"),
    });
    let (threads, remote) = (threads(1), remote(&server));
    let status = |code, message: &str| Error::Status { code, message: message.into() };
    for (tag, error) in [
        ("gone", Error::NotFound),
        ("unknown", Error::NotFound),
        ("secret", Error::Denied("403: not yours".into())),
        ("broken", status(503, "")),
        ("teapot", status(418, ": short and stout")),
    ] {
        assert_eq!(remote.get_manifest(&threads, &name(), &tag.parse().unwrap()).await, Err(error), "{tag}");
    }
    assert_eq!(server.connections(), 1, "error bodies are read to their end");
}

#[tokio::test]
async fn too_many_requests_come_in_two_shapes() {
    let server = Server::start(|asked, _| {
        if asked.target.ends_with("abuse") {
            let text = "HTTP/1.1 429 Too Many Requests\nRetry-After: 60\nConnection: close\nContent-Length: 18\n\nToo Many Requests\n";
            return vec![Step::Say(text.into()), Step::Fin];
        }
        let headers = "ratelimit-limit: 100;w=21600\r\nratelimit-remaining: 0;w=21600\r\nRetry-After: x\r\n";
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        reply("429 Too Many Requests", headers, body)
    });
    let (threads, remote) = (threads(1), remote(&server));
    assert!(remote.pull_rate_limit(|_, _| ()).is_none());
    let get = async |tag: &str| remote.get_manifest(&threads, &name(), &tag.parse().unwrap()).await;
    let message = |text: &str| text.to_owned();
    let retry_after = Some(Duration::from_secs(60));
    assert_eq!(get("abuse").await, Err(Error::RateLimited { retry_after, message: message("Too Many Requests") }));
    let pulls = message("You have reached your pull rate limit.");
    assert_eq!(get("pulls").await, Err(Error::RateLimited { retry_after: None, message: pulls }));
    let window = Some(Duration::from_secs(21600));
    let expected = PullRateLimit { limit: 100, remaining: 0, window, source: None };
    assert_eq!(remote.pull_rate_limit(|limit, _| limit.clone()), Some(expected));
}

#[tokio::test]
async fn lists_pass_through() {
    let server = Server::start(|asked, _| {
        let headers = if asked.target.contains("referrers") {
            "OCI-Filters-Applied: artifactType\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n"
        } else {
            "Link: </v2/library/thing/tags/list?n=1&last=b%2F>; rel=\"next\"\r\nContent-Type: application/json\r\n"
        };
        reply("200 OK", headers, list(&asked.target).as_bytes())
    });
    let (threads, remote) = (threads(1), remote(&server));
    let page = remote.tags(&threads, &name(), "n=1&last=a").await.unwrap();
    assert_eq!(page.bytes, list("/v2/library/thing/tags/list?n=1&last=a"));
    assert_eq!(page.link.as_deref(), Some("n=1&last=b%2F"));
    assert_eq!(remote.tags(&threads, &name(), "").await.unwrap().bytes, list("/v2/library/thing/tags/list"));
    let subject = Digest::sha256(b"s");
    let page = remote.referrers(&threads, &name(), &subject, "artifactType=a/b c#d").await.unwrap();
    assert_eq!(page.bytes, list(&format!("/v2/library/thing/referrers/{subject}?artifactType=a/b%20c%23d")));
    assert_eq!(page.filters.as_deref(), Some("artifactType"));
    assert!(page.link.is_none() && page.media_type.is_index());
}

/// Returns a list that is valid as tags and as referrers, and contains the target of its request.
fn list(target: &str) -> String {
    format!(r#"{{"name": {target:?}, "tags": [], "manifests": []}}"#)
}

#[tokio::test]
async fn a_base_with_a_path_keeps_it() {
    let server = Server::start(|asked, _| reply("200 OK", "", asked.target.as_bytes()));
    let base = format!("{}/mirror/", server.url("127.0.0.1")).parse().unwrap();
    let remote = super::Remote::new("r.example".parse().unwrap(), base, super::options()).unwrap();
    let by_digest = Reference::Digest(Digest::sha256(b"m"));
    let asked = remote.get_manifest(&threads(1), &name(), &by_digest).await;
    assert!(matches!(asked, Err(Error::DigestMismatch { .. })));
    assert_eq!(server.count("/mirror/v2/library/thing/manifests/sha256:"), 1);
}
