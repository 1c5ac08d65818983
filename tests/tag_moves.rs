//! Tags that move while clients ask by HEAD, by tag and by digest: a tag has the value of the upstream's response to
//! the latest request.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{
        http,
        images::{Format, Image},
        rng::Rng,
        rounds,
        server::{Server, Setup},
        upstream::{Fault, Kind, Rule, Upstream},
        wait_until,
    },
    tags::{REPOSITORY, STALE, cache_status},
};

/// The digest that a HEAD of a tag names.
fn head(server: &Server, tag: &str) -> String {
    let response = http::head(&server.v2(&format!("{REPOSITORY}/manifests/{tag}"))).send();
    assert_eq!(response.status, 200, "HEAD of {tag}");
    response.header("docker-content-digest").unwrap().to_owned()
}

/// The digest that a GET of a tag or a digest brings.
fn get(server: &Server, reference: &str) -> String {
    let response = server.manifest(REPOSITORY, reference).send();
    assert_eq!(response.status, 200, "GET of {reference}");
    response.summary().digest
}

fn restart_after_clean_stop(server: &mut Server) {
    assert!(server.stop().0.success());
    server.restart();
}

/// HEAD of the tag, then GET by a digest that is cached under another tag, as dockerd and containerd do. The tag is
/// known all the same without the upstream, after a restart, too.
#[test]
fn a_tag_is_linked_to_an_image_that_is_cached_already() {
    let image = Image::single(Format::Oci, 95);
    let upstream = Upstream::plain();
    ["1.27", "latest", "stable"].iter().for_each(|tag| upstream.add(REPOSITORY, tag, &image));
    let mut server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull(REPOSITORY, "1.27", &image);
    let counted = upstream.counted();
    assert_eq!(
        (head(&server, "latest"), get(&server, image.digest())),
        (image.top.digest.clone(), image.top.digest.clone())
    );
    // All requests of a client that has the image.
    head(&server, "stable");
    assert_eq!(upstream.counted(), counted, "nothing is fetched again");
    upstream.stop();
    thread::sleep(STALE);
    for _ in 0..2 {
        server.pull(REPOSITORY, "latest", &image);
        assert_eq!(head(&server, "stable"), image.digest());
        let listed = http::get(&server.v2(&format!("{REPOSITORY}/tags/list"))).send().json();
        assert_eq!(listed["tags"], serde_json::json!(["1.27", "latest", "stable"]));
        restart_after_clean_stop(&mut server);
    }
}

/// A node has the newer image and sends HEAD alone; the mirror has it, too, under another tag. Without the upstream,
/// the node must not get the older one.
#[test]
fn a_tag_that_moved_to_a_cached_image_does_not_fall_back() {
    let (old, new) = (Image::single(Format::Oci, 96), Image::single(Format::Oci, 97));
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", &old);
    upstream.add(REPOSITORY, "2", &new);
    let mut server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull(REPOSITORY, "latest", &old);
    server.pull(REPOSITORY, "2", &new);
    thread::sleep(STALE);
    upstream.add(REPOSITORY, "latest", &new);
    assert_eq!(head(&server, "latest"), new.digest());
    upstream.stop();
    thread::sleep(STALE);
    for _ in 0..2 {
        assert_eq!(head(&server, "latest"), new.digest());
        server.pull(REPOSITORY, "latest", &new);
        restart_after_clean_stop(&mut server);
    }
}

/// The tag moved from one image to another, and then a client pulls the first by another tag.
#[test]
fn an_older_answer_does_not_replace_a_later_one() {
    let (old, new) = (Image::single(Format::Oci, 98), Image::single(Format::Oci, 99));
    let upstream = Upstream::plain();
    ["latest", "1"].iter().for_each(|tag| upstream.add(REPOSITORY, tag, &old));
    let mut server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    assert_eq!(head(&server, "latest"), old.digest());
    upstream.add(REPOSITORY, "latest", &new);
    thread::sleep(STALE);
    assert_eq!(head(&server, "latest"), new.digest());
    server.pull(REPOSITORY, "latest", &new);
    server.pull(REPOSITORY, "1", &old);
    assert_eq!(get(&server, "latest"), new.digest());
    upstream.stop();
    thread::sleep(STALE);
    assert_eq!(get(&server, "latest"), new.digest());
    let _ = server.stop();
    std::fs::remove_dir_all(server.data().join("index")).unwrap();
    server.restart();
    assert_eq!(get(&server, "latest"), new.digest(), "on disk, too");
}

/// An old HEAD named a manifest that is fetched only now, by its digest: the tag does not become fresh by that.
#[test]
fn a_tag_is_as_fresh_as_the_question_about_it() {
    let (old, new) = (Image::single(Format::Oci, 100), Image::single(Format::Oci, 101));
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", &old);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    assert_eq!(head(&server, "latest"), old.digest());
    upstream.add(REPOSITORY, "latest", &new);
    thread::sleep(STALE);
    assert_eq!(get(&server, old.digest()), old.digest());
    let response = server.manifest(REPOSITORY, "latest").send();
    assert!(!cache_status(&response).contains("; hit"), "{}", cache_status(&response));
    assert_eq!(response.summary().digest, new.digest());
}

/// A late response gives the state at its request: it does not undo a later one.
#[test]
fn a_late_answer_undoes_nothing() {
    let (old, new) = (Image::single(Format::Oci, 102), Image::single(Format::Oci, 103));
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", &old);
    let server = Setup::mirroring(&upstream.url()).freshness("1h").start();
    // Requested first, and answered last: there is no such tag.
    upstream.fault(Rule::on(Kind::Manifest, Fault::Status(404)).method("HEAD").times(1));
    upstream.fault(Rule::on(Kind::Manifest, Fault::Delay(Duration::from_millis(700))).method("HEAD").times(1));
    thread::scope(|scope| {
        scope.spawn(|| http::head(&server.v2(&format!("{REPOSITORY}/manifests/latest"))).send());
        thread::sleep(Duration::from_millis(200));
        upstream.add(REPOSITORY, "latest", &new);
        assert_eq!(get(&server, "latest"), new.digest());
    });
    let asked = upstream.requests().len();
    assert_eq!((get(&server, "latest"), head(&server, "latest")), (new.top.digest.clone(), new.top.digest.clone()));
    assert_eq!(upstream.requests().len(), asked, "the tag is as fresh as it was");
    upstream.stop();
    assert_eq!(get(&server, "latest"), new.digest());
}

/// A GET and a HEAD of a tag are under way as it moves, and only the HEAD names the newer image: the older one, which
/// came just now, is no hit.
#[test]
fn a_tag_that_is_known_to_have_moved_is_no_hit() {
    let (old, new) = (Image::single(Format::Oci, 106), Image::single(Format::Oci, 107));
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", &old);
    let server = Setup::mirroring(&upstream.url()).freshness("1h").start();
    for (method, milliseconds) in [("GET", 600), ("HEAD", 1200)] {
        let late = Fault::Delay(Duration::from_millis(milliseconds));
        upstream.fault(Rule::on(Kind::Manifest, late).method(method).times(1));
    }
    thread::scope(|scope| {
        scope.spawn(|| server.pull(REPOSITORY, "latest", &old));
        wait_until("the GET", Duration::from_secs(5), || upstream.count("GET", Kind::Manifest) == 1);
        upstream.add(REPOSITORY, "latest", &new);
        assert_eq!(head(&server, "latest"), new.digest());
    });
    assert_eq!(head(&server, "latest"), new.digest(), "within its freshness");
    upstream.stop();
    let served = server.manifest(REPOSITORY, "latest").send();
    assert_eq!((served.status, cache_status(&served)), (200, "; fwd=stale; detail=newer-not-cached"));
    assert_eq!(served.summary().digest, old.digest());
}

/// After an upstream's `Retry-After`, one request asks it, for any state of the tag.
#[test]
fn a_probe_asks_the_upstream() {
    let (old, new) = (Image::single(Format::Oci, 104), Image::single(Format::Oci, 105));
    let upstream = Upstream::plain();
    upstream.add(REPOSITORY, "latest", &old);
    let server = Setup::mirroring(&upstream.url()).freshness("4s").start();
    server.pull(REPOSITORY, "latest", &old);
    upstream.add(REPOSITORY, "latest", &new);
    thread::sleep(Duration::from_millis(4100));
    assert_eq!(head(&server, "latest"), new.digest());
    upstream.fault(Rule::on(Kind::Manifest, Fault::StatusWith(429, "Retry-After", "1".into())).method("GET").times(1));
    assert_eq!(get(&server, "latest"), old.digest());
    thread::sleep(Duration::from_millis(1300));
    let heads = upstream.count("HEAD", Kind::Manifest);
    assert_eq!(get(&server, "latest"), old.digest());
    wait_until("the probe", Duration::from_secs(2), || upstream.count("HEAD", Kind::Manifest) > heads);
}

const TAGS: [&str; 3] = ["a", "b", "c"];

/// The history of tags, and the knowledge of it.
struct World {
    upstream: Upstream,
    images: Vec<Image>,
    /// The values of each tag since each time, the last one being current.
    named: HashMap<&'static str, Vec<(Instant, usize)>>,
    /// The upstream's last response about each tag.
    answered: HashMap<&'static str, usize>,
    /// The images with a fetched manifest.
    fetched: HashSet<usize>,
    looked: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let images: Vec<_> = (0..4).map(|n| Image::single(Format::Oci, 10_000 + 10 * seed + n)).collect();
        let upstream = Upstream::plain();
        // Every value of a tag is there by its digest.
        images
            .iter()
            .enumerate()
            .for_each(|(number, image)| upstream.add(REPOSITORY, &format!("keep-{number}"), image));
        let mut world = Self {
            upstream,
            images,
            named: HashMap::new(),
            answered: HashMap::new(),
            fetched: HashSet::new(),
            looked: 0,
        };
        TAGS.iter().for_each(|tag| world.move_tag(tag, 0));
        world
    }

    fn move_tag(&mut self, tag: &'static str, to: usize) {
        self.upstream.add(REPOSITORY, tag, &self.images[to]);
        self.named.entry(tag).or_default().push((Instant::now(), to));
    }

    fn current(&self, tag: &str) -> usize {
        self.named[tag].last().unwrap().1
    }

    fn number(&self, digest: &str) -> usize {
        self.images.iter().position(|image| image.digest() == digest).unwrap()
    }

    /// The values of a tag at some time since `since`.
    fn named_since(&self, tag: &str, since: Instant) -> Vec<usize> {
        let moves = &self.named[tag];
        let ends = moves.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        moves.iter().zip(ends).filter(|(_, end)| end.is_none_or(|end| end >= since)).map(|((_, to), _)| *to).collect()
    }

    /// Updates the knowledge from the upstream's new requests.
    fn update(&mut self) {
        let requests = self.upstream.requests();
        for recorded in requests[self.looked..].iter().filter(|recorded| recorded.kind == Kind::Manifest) {
            let reference = recorded.request.path.rsplit('/').next().unwrap();
            let tag = TAGS.iter().find(|tag| **tag == reference);
            let image = tag.map_or_else(|| self.number(reference), |tag| self.current(tag));
            tag.map(|tag| self.answered.insert(tag, image));
            if recorded.request.method == "GET" {
                self.fetched.insert(image);
            }
        }
        self.looked = requests.len();
    }
}

/// For any order of requests: a tag is never answered with an outdated value for longer than `proxy.freshness`, and
/// without an upstream it has the last known value.
#[test]
fn a_tag_is_the_latest_answer_for_every_request() {
    const FRESHNESS: Duration = Duration::from_millis(60);
    for seed in 0..rounds(80) as u64 {
        let (mut world, mut rng) = (World::new(seed), Rng::new(seed + 1));
        let mut server = Setup::mirroring(&world.upstream.url()).freshness("60ms").start();
        for _ in 0..60 {
            let tag = TAGS[rng.throw(TAGS.len())];
            let asked = Instant::now();
            let got = match rng.throw(5) {
                0 => Some(head(&server, tag)),
                1 => Some(get(&server, tag)),
                2 => {
                    let digest = world.images[rng.throw(world.images.len())].top.digest.clone();
                    assert_eq!(get(&server, &digest), digest);
                    None
                }
                3 => {
                    world.move_tag(tag, rng.throw(world.images.len()));
                    None
                }
                _ => {
                    thread::sleep(FRESHNESS / 2);
                    None
                }
            };
            world.update();
            if let Some(got) = got {
                let (got, may) = (world.number(&got), world.named_since(tag, asked - FRESHNESS));
                assert!(may.contains(&got), "seed {seed}: {tag} is {got}, and was {may:?}");
            }
        }
        // All blobs of the fetched images, without which an image is not served when the upstream is gone.
        for blob in world.fetched.iter().flat_map(|number| &world.images[*number].blobs) {
            assert_eq!(server.blob(REPOSITORY, &blob.digest).send().status, 200);
        }
        world.upstream.stop();
        thread::sleep(FRESHNESS);
        for restarted in [false, true] {
            for (tag, answered) in world.answered.iter().filter(|(_, answered)| world.fetched.contains(answered)) {
                let got = (world.number(&head(&server, tag)), world.number(&get(&server, tag)));
                assert_eq!(got, (*answered, *answered), "seed {seed}: {tag}, restarted: {restarted}");
            }
            restart_after_clean_stop(&mut server);
        }
    }
}
