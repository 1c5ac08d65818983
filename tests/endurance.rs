//! A server that has run for long is as it was at its start: nothing grows that has no reason to.

use std::{thread, time::Duration};

use crate::support::{
    images::Blob,
    server::Setup,
    upstream::{Fault, Kind, Rule, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/app";

/// The connections of a burst are closed after the idle time, with no further request.
#[test]
fn connections_of_a_burst_are_closed() {
    let upstream = Upstream::plain();
    let blobs: Vec<Blob> = (0..24).map(|number| Blob::noise(18_000 + number, 20_000)).collect();
    blobs.iter().for_each(|blob| upstream.add_blob(REPOSITORY, blob));
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(500))));
    let server = Setup::mirroring(&upstream.url()).start();
    thread::scope(|scope| {
        for blob in &blobs {
            scope.spawn(|| assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest));
        }
    });
    let open = upstream.connections();
    assert!(open >= 8, "a burst of {open} connections");
    wait_until("idle connections to be closed", Duration::from_secs(60), || upstream.connections() == 0);
}
