//! Lists from an upstream: an invalid one is neither served nor cached.

use std::{thread, time::Duration};

use serde_json::json;

use crate::{
    support::{
        http::{self, Response},
        images::{Format, Image},
        server::{Server, Setup},
        upstream::{Fault, Kind, Rule, Upstream},
    },
    tags::{REPOSITORY, STALE, upstream_with},
};

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n<html>log in</html>";
const JSON: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"portal\":\"log in\"}";

fn lists(image: &Image) -> [(Kind, String); 2] {
    [(Kind::Tags, "tags/list".into()), (Kind::Referrers, format!("referrers/{}", image.digest()))]
}

fn ask(server: &Server, list: &str) -> Response {
    http::get(&server.v2(&format!("{REPOSITORY}/{list}"))).send()
}

/// An upstream with an image and an index of its referrers.
fn fixture(seed: u64) -> (Upstream, Image) {
    let image = Image::single(Format::Oci, seed);
    let upstream = upstream_with(&image);
    let index = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [] });
    upstream.set_referrers(REPOSITORY, image.digest(), &index);
    (upstream, image)
}

/// A captive portal answers everything with 200 and a page of its own. It is not served as a list, neither now nor when
/// the upstream cannot be asked later.
#[test]
fn a_captive_portals_page_is_no_list() {
    let (upstream, image) = fixture(840);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    for portal in [PAGE, JSON] {
        for (kind, list) in lists(&image) {
            upstream.fault(Rule::on(kind, Fault::Raw(portal)));
            let answer = ask(&server, &list);
            assert_eq!((answer.status, answer.error_code().as_str()), (502, "UNAVAILABLE"), "{list}");
        }
        upstream.heal();
    }
    upstream.stop();
    for (_, list) in lists(&image) {
        assert_eq!(ask(&server, &list).status, 502, "nothing of it is served stale: {list}");
    }
}

/// A list from before the portal is still served.
#[test]
fn a_captive_portal_takes_no_lists_place() {
    let (upstream, image) = fixture(842);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    let known = lists(&image).map(|(_, list)| (ask(&server, &list).json(), list));
    thread::sleep(STALE);
    upstream.fault(Rule::on_all(Fault::Raw(PAGE)));
    for (body, list) in &known {
        let answer = ask(&server, list);
        assert_eq!((answer.status, answer.header("cache-status")), (200, Some("entrepot; fwd=stale")), "{list}");
        assert_eq!(answer.json(), *body, "{list}");
    }
    upstream.heal();
    thread::sleep(Duration::from_millis(100));
    for (body, list) in &known {
        assert_eq!(ask(&server, list).json(), *body, "{list}");
    }
}

/// A registry without the referrers endpoint says so by one status or another. Clients look for the referrers tag only
/// after a 404. The upstream counts as healthy: its cached content does not become stale.
#[test]
fn an_upstream_without_referrers_has_none() {
    for status in [400, 404, 405, 406, 501] {
        let (upstream, image) = fixture(844);
        upstream.fault(Rule::on(Kind::Referrers, Fault::Status(status)));
        let server = Server::mirroring(&upstream);
        let answer = ask(&server, &lists(&image)[1].1);
        assert_eq!(answer.status, 404, "{status}");
        answer.error_code();
        server.pull(REPOSITORY, "latest", &image);
    }
    for status in [500, 503] {
        let (upstream, image) = fixture(844);
        upstream.fault(Rule::on(Kind::Referrers, Fault::Status(status)));
        assert_eq!(ask(&Server::mirroring(&upstream), &lists(&image)[1].1).status, 502, "{status} says nothing of it");
    }
}

/// The age of a list counts from its request, however late its response came.
#[test]
fn a_list_is_as_fresh_as_its_question() {
    let (upstream, _) = fixture(849);
    let server = Setup::mirroring(&upstream.url()).freshness("2s").start();
    upstream.fault(Rule::on(Kind::Tags, Fault::Delay(Duration::from_millis(2300))).times(1));
    for asked in [1, 2] {
        assert_eq!(ask(&server, "tags/list").status, 200);
        assert_eq!(upstream.count("GET", Kind::Tags), asked);
    }
}
