//! The same use of Debian's docker-registry and of this server has the same events.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{LONG, Notifying, section};
use crate::support::{
    images::{Format, Image},
    ports::Port,
    process::{isolated, run},
    receiver::{Mode, Receiver},
    registry2::OnVolume,
    scratch,
    server::{ACCEPT, Setup},
    uploads::Target,
    wait_until,
};

/// `skopeo copy` without any configuration of its own.
fn skopeo(dir: &Path, arguments: &[&str]) {
    let mut command = isolated("skopeo", &["/var/lib/containers:64m", "/run/containers:16m"]);
    command.args(["--insecure-policy", "--tmpdir"]).arg(dir).arg("copy").args(arguments);
    run("skopeo", command, LONG).expect_success("skopeo copy");
}

/// The requests of real clients: push, pull, mount and delete.
fn use_registry(authority: &str, image: &Image) {
    let dir = scratch::dir("skopeo");
    let (layout, copy) = (dir.path().join("layout"), dir.path().join("copy"));
    fs::create_dir(&layout).unwrap();
    image.write_layout(&layout, "latest");
    let remote = format!("docker://{authority}/team/app:latest");
    let target = Target::open(&format!("http://{authority}"));
    if image.top.media_type.contains("oci") {
        skopeo(dir.path(), &["--all", "--dest-tls-verify=false", &format!("oci:{}:latest", layout.display()), &remote]);
    } else {
        // skopeo takes no other manifest from a layout.
        target.image("team/app", "latest", image);
    }
    skopeo(dir.path(), &["--all", "--src-tls-verify=false", &remote, &format!("dir:{}", copy.display())]);
    let layer = &image.layer().digest;
    assert_eq!(target.mount("team/other", layer, Some("team/app")).status, 201);
    assert_eq!(target.head(&format!("team/other/blobs/{layer}")), 200);
    for reference in ["latest", image.digest()] {
        let path = format!("team/app/manifests/{reference}");
        for method in ["GET", "HEAD"] {
            assert_eq!(target.request(method, &path).header("Accept", ACCEPT).send().status, 200);
        }
        let known = format!("\"{}\"", image.digest());
        let again = target.request("GET", &path).header("Accept", ACCEPT).header("If-None-Match", &known);
        assert_eq!(again.send().status, 304);
    }
    assert_eq!(
        target.request("GET", &format!("team/app/blobs/{layer}")).header("Range", "bytes=1-5").send().status,
        206
    );
    assert_eq!(target.delete(&format!("team/other/blobs/{layer}")), 202);
    assert_eq!(target.delete(&format!("team/app/manifests/{}", image.digest())), 202);
    assert_eq!(target.delete(&format!("team/app/manifests/{}", image.digest())), 404);
}

/// The events without what differs between two processes, sorted: skopeo asks for blobs at once.
fn comparable(events: Vec<Value>, authority: &str) -> Vec<String> {
    let port = authority.rsplit(':').next().unwrap();
    let each = |mut event: Value| {
        for id in ["/id", "/request/id", "/source/instanceID"] {
            let id = event.pointer_mut(id).unwrap();
            assert_eq!(id.as_str().unwrap().len(), 36, "{id}");
            *id = json!("ID");
        }
        let time = event["timestamp"].as_str().unwrap();
        assert!(time.len() >= 20 && time.ends_with('Z') && time.contains('T'), "{time}");
        event["timestamp"] = json!("TIME");
        let address = event["request"]["addr"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        event["request"]["addr"] = json!("ADDRESS");
        event.to_string().replace(&format!(":{port}"), ":PORT")
    };
    let mut events: Vec<_> = events.into_iter().map(each).collect();
    events.sort();
    events
}

#[test]
fn events_are_those_of_registry_2() {
    for image in [
        Image::single(Format::Oci, 7100),
        Image::index(Format::Oci, 7102, 10_000),
        Image::index(Format::Docker, 7101, 10_000),
    ] {
        let theirs = Receiver::start(Mode::Takes);
        let volume = scratch::dir("volume");
        let registry = OnVolume::with(volume.path(), &section(&[("a", &theirs, "")]));
        use_registry(&registry.authority(), &image);
        let ours = Receiver::start(Mode::Takes);
        let notifying = Notifying::new(Setup::hosting(), &section(&[("a", &ours, "")]));
        let port = Port::reserve();
        let server = notifying.setup.clone().start_at(&port);
        let authority = server.url().strip_prefix("http://").unwrap().to_owned();
        use_registry(&authority, &image);
        // The last one is the delete of the tag.
        let is_last = |event: &Value| event["action"] == "delete" && event["target"]["tag"] == "latest";
        for receiver in [&theirs, &ours] {
            wait_until("the last event", LONG, || receiver.events().iter().any(is_last));
        }
        let (theirs, ours) =
            (comparable(theirs.events(), &registry.authority()), comparable(ours.events(), &authority));
        assert!(theirs.len() > 10, "{theirs:#?}");
        assert_eq!(ours.len(), theirs.len(), "{ours:#?}\n{theirs:#?}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let values: [Value; 2] = [ours, theirs].map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(values[0], values[1]);
        }
    }
}
