//! Long work is done once, and in pieces. `timing::long_work` measures that it delays no other client.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{
    http,
    images::{Blob, Format, Image},
    loads::{MIRRORED, Volume, mount_everywhere, referrer},
    ports::Port,
    scrape::Scrape,
    server::{Server, Setup},
    upstream::Upstream,
    wait_until,
};

/// Bytes that a server has read so far, from files and sockets.
fn bytes_read(server: &Server) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", server.id())).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// A promotion reads the whole blob: all waiting requests share one.
#[test]
fn forty_mounts_of_one_mirrored_blob_hash_it_once() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(4040, 64 << 20));
    upstream.add_blob(MIRRORED, &blob);
    let server = Setup::both(&upstream.url()).start();
    assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    let before = bytes_read(&server);
    mount_everywhere(&server, &blob, 40);
    let read = bytes_read(&server) - before;
    assert!(read < 2 * blob.len() as u64, "{read} bytes were read for a blob of {}", blob.len());
    for number in [0, 39] {
        assert_eq!(server.target().head(&format!("team/app{number}/blobs/{}", blob.digest)), 200);
    }
}

/// Every descriptor of a list, page after page.
fn referrers(server: &Server, image: &Image, query: &str) -> Vec<Value> {
    let mut url = server.v2(&format!("team/app/referrers/{}{query}", image.digest()));
    let mut found = Vec::new();
    loop {
        let page = http::get(&url).send();
        assert_eq!(page.status, 200, "{url}");
        let next = page.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
        found.extend(page.json()["manifests"].as_array().unwrap().iter().cloned());
        match next {
            Some(next) => url = format!("{}{next}", server.url()),
            None => return found,
        }
    }
}

/// The descriptor of a referrer is made once, when its manifest arrives: a list reads no manifest, unless its
/// annotations are too long for the index.
#[test]
fn a_list_of_referrers_reads_no_manifest() {
    const EACH: usize = 1 << 20;
    let image = Image::single(Format::Oci, 4041);
    let debug = Port::reserve();
    let mut server = Setup::hosting().watched(&debug).start();
    let target = server.target();
    target.image("team/app", "1", &image);
    let manifests: Vec<_> = (0..20).map(|number| referrer(&image, number, EACH, false)).collect();
    let annotated = referrer(&image, 20, EACH, true);
    for manifest in manifests.iter().chain([&annotated]) {
        assert_eq!(target.manifest("team/app", &manifest.digest, manifest).status, 201);
    }
    // The memory cache of manifests is dropped; the start reads each manifest once, for the index.
    server.stop();
    server.restart();
    let complete = || Scrape::of(&debug.url()).find("entrepot_index_complete", &[]) == Some(1.);
    wait_until("the index to be complete", Duration::from_secs(30), complete);
    let before = bytes_read(&server);
    let found = referrers(&server, &image, "?artifactType=application/vnd.other");
    assert!(found.is_empty());
    let read = bytes_read(&server) - before;
    assert!(read < EACH as u64, "{read} bytes were read for a list of nothing");
    let found = referrers(&server, &image, "?artifactType=application/vnd.example.sbom");
    let read = bytes_read(&server) - before;
    assert!(read < 4 * EACH as u64, "{read} bytes were read for a list of {} manifests", found.len());
    for manifest in manifests.iter().chain([&annotated]) {
        let listed = found.iter().find(|listed| listed["digest"] == manifest.digest.as_str()).expect("it is listed");
        let document: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        assert_eq!(listed["size"], manifest.bytes.len());
        assert_eq!(listed["annotations"], document["annotations"]);
    }
}

/// All tags without paging: streamed, not built as one document while others wait.
#[test]
fn all_tags_are_streamed() {
    const TAGS: usize = 5_500;
    let image = Image::single(Format::Oci, 4042);
    let debug = Port::reserve();
    let mut server = Setup::hosting().watched(&debug).start();
    server.target().image("team/app", "zero", &image);
    server.stop();
    let volume = Volume::at(server.data());
    (0..TAGS).for_each(|number| volume.tag("team/app", &format!("{number:07}"), image.digest()));
    server.restart();
    let complete = || Scrape::of(&debug.url()).find("entrepot_index_complete", &[]) == Some(1.);
    let names = |list: &Value| -> Vec<String> {
        list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    };
    wait_until("the index to be complete", Duration::from_secs(60), complete);
    let all = http::get(&server.v2("team/app/tags/list")).send();
    assert_eq!((all.status, all.header("transfer-encoding"), all.length()), (200, Some("chunked"), None));
    let list = all.json();
    let wanted: Vec<_> = (0..TAGS).map(|number| format!("{number:07}")).chain(["zero".to_owned()]).collect();
    assert_eq!((list["name"].as_str(), names(&list) == wanted), (Some("team/app"), true));
    let rest = http::get(&server.v2("team/app/tags/list?last=0003999")).send().json();
    assert!(names(&rest) == wanted[4_000..]);
    let page = http::get(&server.v2("team/app/tags/list?n=3&last=0005498")).send();
    assert!(page.length().is_some());
    assert_eq!(names(&page.json()), ["0005499", "zero"]);
}
