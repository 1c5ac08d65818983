//! Nobody stands in another's way: what takes long for one client, or for nobody in particular, keeps no other waiting.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    http,
    images::{Blob, Format, Image, Manifest},
    ports::Port,
    rounds,
    scrape::Scrape,
    server::{Server, Setup, entrepot},
    upstream::Upstream,
    wait_until,
};

const MIRRORED: &str = "library/big";

/// Bytes that a server has read so far, from files and sockets.
fn bytes_read(server: &Server) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", server.id())).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Mounts a mirrored blob into so many repositories at once.
fn mount_everywhere(server: &Server, blob: &Blob, repositories: usize) {
    thread::scope(|scope| {
        for number in 0..repositories {
            let target = server.target();
            scope.spawn(move || {
                let mounted = target.mount(&format!("team/app{number}"), &blob.digest, Some(MIRRORED));
                assert_eq!(mounted.status, 201, "into the repository {number}");
            });
        }
    });
}

/// A promotion reads the whole blob: all who wait for it share one.
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

/// A manifest that refers to another, of more than `length` bytes: in its layers, or in its own annotations.
fn referrer(image: &Image, number: usize, length: usize, annotated: bool) -> Manifest {
    let media_type = Format::Oci.manifest();
    let mut config = image.blobs[0].descriptor("application/vnd.example.sbom");
    let mut body =
        json!({ "schemaVersion": 2, "mediaType": media_type, "annotations": { "number": number.to_string() } });
    let long = "x".repeat(length);
    if annotated {
        body["annotations"]["long"] = long.into();
    } else {
        config["annotations"] = json!({ "long": long });
    }
    body["config"] = config;
    body["layers"] = json!([]);
    body["subject"] = image.manifests().last().unwrap().descriptor();
    Manifest::new(media_type, &body)
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

/// What a list says of a manifest is made once, when it comes: no list reads what it lists, but for annotations so long that
/// the index does not keep them.
#[test]
fn a_list_of_referrers_reads_no_manifest() {
    const EACH: usize = 1 << 20;
    let image = Image::single(Format::Oci, 4041);
    let door = Port::reserve();
    let mut server = Setup::hosting().watched(&door).start();
    let target = server.target();
    target.image("team/app", "1", &image);
    let manifests: Vec<_> = (0..20).map(|number| referrer(&image, number, EACH, false)).collect();
    let annotated = referrer(&image, 20, EACH, true);
    for manifest in manifests.iter().chain([&annotated]) {
        assert_eq!(target.manifest("team/app", &manifest.digest, manifest).status, 201);
    }
    // What memory has of manifests goes; the start reads them once, for the index.
    server.stop();
    server.restart();
    let complete = || Scrape::of(&door.url()).find("entrepot_index_complete", &[]) == Some(1.);
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

/// Tags as `registry:2` leaves them, in a volume that no server has.
fn lay_out_tags(data: &Path, digest: &str, tags: usize) {
    let dir = data.join("docker/registry/v2/repositories/team/app/_manifests/tags");
    for number in 0..tags {
        let current = dir.join(format!("{number:07}/current"));
        fs::create_dir_all(&current).unwrap();
        fs::write(current.join("link"), digest).unwrap();
    }
}

/// All tags, to whoever asks for no page: as they come, not as one document that a worker makes while others wait.
#[test]
fn all_tags_are_told_piece_by_piece() {
    const TAGS: usize = 5_500;
    let image = Image::single(Format::Oci, 4042);
    let door = Port::reserve();
    let mut server = Setup::hosting().watched(&door).start();
    server.target().image("team/app", "zero", &image);
    server.stop();
    lay_out_tags(server.data(), image.digest(), TAGS);
    server.restart();
    let complete = || Scrape::of(&door.url()).find("entrepot_index_complete", &[]) == Some(1.);
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

/// How long a client waits for a small blob that was served before, and a probe for its answer: the median and the worst.
#[derive(Clone, Copy)]
struct Waits {
    median: Duration,
    worst: Duration,
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1?}, at worst {:.1?}", self.median, self.worst)
    }
}

fn waits(mut each: Vec<Duration>) -> Waits {
    each.sort_unstable();
    Waits { median: each[each.len() / 2], worst: each[each.len() - 1] }
}

/// Asks for a warm blob of 10 kB and for a probe's answer, again and again while `load` goes on.
fn under(server: &Server, warm: &Blob, load: impl FnOnce() + Send) -> [Waits; 2] {
    let urls = [server.v2(&format!("{WARM}/blobs/{}", warm.digest)), format!("{}/healthz", server.url())];
    let mut waited = [Vec::new(), Vec::new()];
    thread::scope(|scope| {
        let loading = scope.spawn(load);
        while !loading.is_finished() || waited[0].len() < 20 {
            for (url, waited) in urls.iter().zip(&mut waited) {
                let asked = Instant::now();
                let response = http::get(url).send();
                assert_eq!(response.status, 200, "{url}");
                response.body();
                waited.push(asked.elapsed());
            }
        }
    });
    waited.map(waits)
}

const WARM: &str = "team/warm";

/// Whatever long work goes on, a small blob and a probe wait about as long as in peace. `cargo test -- --nocapture` shows the
/// figures; the soak's loads are ten times as large.
#[test]
#[allow(clippy::print_stderr, reason = "figures for whoever looks")]
fn long_work_keeps_nobody_waiting() {
    let (upstream, warm, image) = (Upstream::plain(), Blob::noise(4043, 10_000), Image::single(Format::Oci, 4044));
    let big: Vec<_> = (0..rounds(10)).map(|number| Blob::noise(4045 + number as u64, 64 << 20)).collect();
    big.iter().for_each(|blob| upstream.add_blob(MIRRORED, blob));
    let server = Setup::both(&upstream.url()).hosted("team/*").variable("REGISTRY_GC_GRACE", "1s").start();
    let target = server.target();
    target.image(WARM, "1", &Image::of_layers(Format::Oci, std::slice::from_ref(&warm)));
    target.image("team/app", "1", &image);
    for blob in &big {
        assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    }
    for number in 0..rounds(200) {
        let manifest = referrer(&image, number, 1 << 20, false);
        assert_eq!(target.manifest("team/app", &manifest.digest, &manifest).status, 201);
        let tag = format!("tag{number}");
        assert_eq!(target.manifest("team/app", &tag, image.manifests().last().unwrap()).status, 201);
    }
    let peace = under(&server, &warm, || thread::sleep(Duration::from_millis(500)));
    let lists = |list: &str, times: usize| {
        let url = server.v2(&format!("team/app/{list}"));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..times {
                        let response = http::get(&url).send();
                        assert_eq!(response.status, 200);
                        response.body();
                    }
                });
            }
        });
    };
    let loads: [(&str, &(dyn Fn() + Sync)); 4] = [
        ("mounts of a mirrored blob", &|| big.iter().for_each(|blob| mount_everywhere(&server, blob, 40))),
        ("lists of referrers", &|| lists(&format!("referrers/{}", image.digest()), rounds(100))),
        ("lists of tags", &|| lists("tags/list", rounds(100))),
        ("collections", &|| {
            let data = server.data().to_str().unwrap();
            let collect = || entrepot(&["gc", "--untagged", "--data", data], &[]).expect_success("gc");
            (0..rounds(20)).for_each(|_| drop(collect()));
        }),
    ];
    for (load, act) in loads {
        let loaded = under(&server, &warm, act);
        for (what, (peace, loaded)) in ["a blob", "/healthz"].iter().zip(peace.iter().zip(&loaded)) {
            eprintln!("{what} during {load}: {loaded:?}; in peace: {peace:?}");
            let most = peace.median * 20 + Duration::from_millis(100);
            assert!(loaded.median < most, "{what} during {load}: {loaded:?}; in peace: {peace:?}");
        }
    }
}
