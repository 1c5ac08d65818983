//! Disk usage: every figure agrees with the disk, with a server and without one, and the total agrees with `du`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    admin,
    images::{Blob, Format, Image, Manifest},
    process::{self, CommandResult},
    server::{BINARY, Server, Setup, entrepot},
    uploads::Target,
    upstream::Upstream,
    wait_for,
    weights::{Figures, RepositoryId, Weights},
};

fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).hosted("[team/**]").freshness("1h").variable("REGISTRY_GC_INTERVAL", "0")
}

fn du(data: &Path, arguments: &[&str]) -> CommandResult {
    entrepot(&[&["du", "--data", data.to_str().unwrap()], arguments].concat(), &[])
}

fn document(data: &Path, arguments: &[&str]) -> Value {
    let outcome = du(data, &[&["--json"], arguments].concat()).expect_success("du --json");
    serde_json::from_str(&outcome.output).unwrap_or_else(|error| panic!("{error}: {}", outcome.output))
}

/// The result of `du` itself.
fn coreutils(data: &Path) -> u64 {
    let mut command = process::command("du");
    command.args(["-s", "--block-size=1"]).arg(data);
    let outcome = process::run("du", command, Duration::from_secs(20)).expect_success("du -s");
    outcome.output.split_whitespace().next().unwrap().parse().unwrap()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().unwrap_or_else(|| panic!("no {key} in {of}"))
}

fn figures(of: &Value) -> Figures {
    let number = |key: &str| of[key].as_u64().unwrap_or_else(|| panic!("no {key} in {of}"));
    (number("size"), number("exclusive"), number("shared"), number("objects"))
}

fn text(of: &Value) -> String {
    of.as_str().unwrap().to_owned()
}

/// Every repository of a document, and its place.
fn repositories(document: &Value) -> Vec<(RepositoryId, &Value)> {
    let sources = list(document, "sources").iter();
    let of = |source: &Value| text(&source["source"]);
    sources
        .flat_map(|source| list(source, "repositories").iter().map(move |own| ((of(source), text(&own["name"])), own)))
        .collect()
}

fn adds_up(document: &Value) {
    let sources: u64 = list(document, "sources").iter().map(|source| figures(source).0).sum();
    let other: u64 = document["other"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    let sum = i64::try_from(sources + other).unwrap() + document["changed"].as_i64().unwrap();
    assert_eq!(Some(sum), document["total"].as_i64(), "{document:#}");
}

/// A document's figures agree with the disk.
fn agrees(document: &Value, data: &Path, when: &str) {
    let weights = Weights::read(data);
    let sources = list(document, "sources").iter().map(|source| (text(&source["source"]), figures(source)));
    assert_eq!(sources.collect::<BTreeMap<_, _>>(), weights.sources_weigh(), "{when}");
    let reported = repositories(document);
    let weighed = reported.iter().map(|(place, repository)| (place.clone(), figures(repository)));
    assert_eq!(weighed.collect::<BTreeMap<_, _>>(), weights.repositories_weigh(), "{when}");
    for (place, repository) in reported {
        let tags = list(repository, "tags").iter().map(|tag| (text(&tag["tag"]), (text(&tag["digest"]), figures(tag))));
        assert_eq!(tags.collect::<BTreeMap<_, _>>(), weights.tags_weigh(&place), "{when}: {place:?}");
    }
    assert_eq!(document["other"]["unlinked"], json!(weights.unlinked()), "{when}");
    adds_up(document);
}

/// Compares while nothing changes: the index's files change by themselves, and removals are counted a moment later.
fn agrees_with_du(server: &Server, when: &str) -> Value {
    let mut last = Value::Null;
    let found = wait_for(&format!("du to agree {when}"), Duration::from_secs(60), || {
        last = document(server.data(), &["--tags"]);
        (last["total"].as_u64() == Some(coreutils(server.data())) && last["changed"] == 0).then(|| last.clone())
    });
    agrees(&found, server.data(), when);
    found
}

/// An image with layers that other images share.
fn image(seed: u64, shared: &[&Blob]) -> Image {
    let own = Blob::noise(seed, 20_000 + usize::try_from(seed).unwrap() % 1000 * 10);
    Image::of_layers(Format::Oci, &[shared.iter().map(|blob| (*blob).clone()).collect(), vec![own]].concat())
}

/// Two mirrored repositories and three pushed ones that share layers in every way.
struct ImageSet {
    server: Server,
    upstream: Upstream,
    base: Blob,
    first: Image,
}

impl ImageSet {
    fn new() -> Self {
        let (upstream, base, common) = (Upstream::plain(), Blob::noise(8100, 300_000), Blob::noise(8101, 90_000));
        let (ubuntu, nginx) = (image(8102, &[&base]), image(8103, &[&base]));
        upstream.add("library/ubuntu", "18.04", &ubuntu);
        upstream.add("library/ubuntu", "latest", &ubuntu);
        upstream.add("library/nginx", "1", &nginx);
        let server = both(&upstream).start();
        server.pull("library/ubuntu", "18.04", &ubuntu);
        server.pull("library/ubuntu", "latest", &ubuntu);
        // As a client that has the base already.
        assert_eq!(server.manifest("library/nginx", "1").send().status, 200);
        for blob in nginx.blobs.iter().filter(|blob| blob.digest != base.digest) {
            assert_eq!(server.blob("library/nginx", &blob.digest).send().summary().digest, blob.digest);
        }
        let (target, first) = (server.target(), image(8104, &[&base, &common]));
        assert_eq!(target.mount("team/app", &base.digest, Some("library/ubuntu")).status, 201);
        for (name, tag, image) in [
            ("team/app", "1", &first),
            ("team/app", "same", &first),
            ("team/app", "2", &image(8105, &[&common])),
            ("team/web", "1", &image(8106, &[&common])),
            ("team/deep/er", "1", &Image::index(Format::Oci, 8107, 70_000)),
        ] {
            target.image(name, tag, image);
        }
        Self { server, upstream, base, first }
    }

    /// The manifest that was pushed first is signed.
    fn sign(&self, target: &Target) {
        let (config, signature) = (Blob::new("{}"), Blob::noise(8110, 40_000));
        [&config, &signature].into_iter().for_each(|blob| target.blob("team/app", blob));
        let body = json!({
            "schemaVersion": 2,
            "mediaType": Format::Oci.manifest(),
            "config": config.descriptor("application/vnd.oci.empty.v1+json"),
            "layers": [signature.descriptor("application/x-signature")],
            "subject": self.first.top.descriptor(),
        });
        let signed = Manifest::new(Format::Oci.manifest(), &body);
        assert_eq!(target.manifest("team/app", &signed.digest, &signed).status, 201);
    }
}

fn named<'a>(document: &'a Value, source: &str, name: &str) -> &'a Value {
    let place = (source.to_owned(), name.to_owned());
    repositories(document).into_iter().find(|(known, _)| *known == place).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn every_figure_is_the_disks() {
    let ImageSet { mut server, upstream, base, .. } = ImageSet::new();
    let full = agrees_with_du(&server, "full");
    assert_eq!(repositories(&full).len(), 5);
    let shares_base = |source, name| figures(named(&full, source, name)).2 >= 300_000;
    assert!(shares_base("docker.io", "library/ubuntu") && shares_base("docker.io", "library/nginx"), "{full:#}");
    assert!(shares_base("pushed", "team/app") && !shares_base("pushed", "team/web"), "{full:#}");
    let classes = list(&full, "sources").iter().map(|source| (text(&source["source"]), text(&source["class"])));
    let expected = [("docker.io", "mirrored"), ("pushed", "hosted")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(classes.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));

    // Unlinked content stays until it is collected; content that was also mirrored becomes mirrored again.
    let target = server.target();
    assert_eq!(target.delete(&format!("team/app/blobs/{}", base.digest)), 202);
    assert_eq!(target.delete("team/app/manifests/2"), 202);
    assert_eq!(target.delete("team/web/manifests/1"), 202);
    target.blob("team/web", &Blob::noise(8120, 50_000));
    assert_eq!(target.delete(&format!("team/web/blobs/{}", Blob::noise(8120, 50_000).digest)), 202);
    let less = agrees_with_du(&server, "after deletes");
    assert!(less["other"]["unlinked"].as_u64().unwrap() >= 50_000, "{less:#}");
    admin::gc(server.data(), true, Some(0));
    let least = agrees_with_du(&server, "after a collection");
    assert_eq!(least["other"]["unlinked"], 0, "{least:#}");

    server.stop();
    let mut alone = document(server.data(), &["--tags"]);
    agrees(&alone, server.data(), "without a server");
    let same = |document: &mut Value| {
        let index = document["other"]["index"].take().as_u64().unwrap();
        let rest = document["total"].take().as_u64().unwrap() - index;
        document["at"].take();
        (document.clone(), rest)
    };
    assert_eq!(same(&mut alone), same(&mut least.clone()), "with and without a server");

    // After a kill the index is rebuilt: the command waits for it instead of showing wrong figures.
    server.restart();
    server.kill9();
    agrees(&document(server.data(), &["--tags"]), server.data(), "alone, after a kill");
    server.restart();
    server.kill9();
    server.restart();
    agrees(&document(server.data(), &["--tags"]), server.data(), "right after the start after a kill");
    upstream.stop();
}

/// A tag's usage includes the manifests that refer to its manifest, such as a signature.
#[test]
fn a_tag_has_what_refers_to_it() {
    let stock = ImageSet::new();
    let of = |tag: &str| {
        let document = document(stock.server.data(), &["--tags", "team/app"]);
        let tags = list(named(&document, "pushed", "team/app"), "tags");
        figures(tags.iter().find(|known| known["tag"] == tag).unwrap())
    };
    let (first, second) = (of("1"), of("2"));
    stock.sign(&stock.server.target());
    // Its layer, its config, itself.
    assert_eq!((of("1").3, of("2")), (first.3 + 3, second));
    assert!(of("1").0 >= first.0 + 40_000);
    assert_eq!(of("1").1, 0, "another tag names the same");
    assert_eq!(stock.server.target().delete("team/app/manifests/same"), 202);
    assert!(of("1").1 >= 40_000 + 20_000, "{:?}", of("1"));
}

/// A pull is a use of the pulled image, not of those that share its layers.
#[test]
fn the_last_use_is_the_last_pull() {
    let server = Setup::hosting().start();
    let (target, base) = (server.target(), Blob::noise(8200, 50_000));
    let (one, two) = (image(8201, &[&base]), image(8202, &[&base]));
    for (name, image) in [("team/one", &one), ("team/two", &two)] {
        target.image(name, "1", image);
        thread::sleep(Duration::from_millis(1100));
    }
    let used = |document: &Value, name: &str| text(&named(document, "pushed", name)["last_used"]);
    let before = document(server.data(), &["--sort", "used"]);
    assert!(used(&before, "team/one") < used(&before, "team/two"), "{before:#}");
    assert_eq!(repositories(&before)[0].0.1, "team/one");
    thread::sleep(Duration::from_millis(1100));
    server.pull("team/one", "1", &one);
    let after = document(server.data(), &["--sort", "used", "--tags"]);
    assert_eq!(used(&after, "team/two"), used(&before, "team/two"), "its base was pulled, it was not");
    assert!(used(&after, "team/one") > used(&after, "team/two") && used(&after, "team/one") <= text(&after["at"]));
    assert_eq!(repositories(&after)[0].0.1, "team/two");
    assert_eq!(list(named(&after, "pushed", "team/one"), "tags")[0]["last_used"], used(&after, "team/one"));
    assert_eq!(text(&after["at"]).len(), "2026-01-01T00:00:00Z".len());
}

/// While content comes and goes, the figures of each report add up, and the server keeps running.
#[test]
fn it_adds_up_while_things_change() {
    let server = Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0").start();
    let counted = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..3_u64 {
            let (server, counted) = (&server, &counted);
            scope.spawn(move || {
                let (target, base) = (server.target(), Blob::noise(8300, 30_000));
                for round in 0.. {
                    if counted.load(Ordering::SeqCst) {
                        return;
                    }
                    let (name, image) =
                        (format!("team/app{client}"), image(8301 + client * 1000 + round % 20, &[&base]));
                    target.image(&name, "1", &image);
                    assert_eq!(target.delete(&format!("{name}/manifests/{}", image.digest())), 202);
                }
            });
        }
        let _stop = SetOnDrop(&counted);
        for _ in 0..15 {
            adds_up(&document(server.data(), &["--tags"]));
        }
    });
    let quiet = document(server.data(), &["--tags"]);
    agrees(&quiet, server.data(), "when all is quiet again");
    assert_eq!(quiet["changed"], 0);
}

/// Stops the test's clients if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A table for people, at a terminal and in a pipe; a document and nothing else for programs.
#[test]
fn people_get_a_table() {
    let ImageSet { server, .. } = ImageSet::new();
    let data = server.data().to_str().unwrap();
    let mut command = process::command("script");
    let program = format!("{BINARY} du --tags --top 2 --data {data}");
    command.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
    let shown = process::run("script", command, Duration::from_secs(20)).expect_success("du at a terminal").output;
    let piped = du(server.data(), &["--tags", "--top", "2"]).expect_success("du").output;
    for table in [&shown, &piped] {
        let lines: Vec<_> = table.lines().map(shown_last).collect();
        let at = |part: &str| {
            lines.iter().position(|line| line.ends_with(part)).unwrap_or_else(|| panic!("no {part}: {table}"))
        };
        let title = lines.iter().find(|line| line.contains("EXCLUSIVE")).unwrap();
        assert_eq!(
            title.split_whitespace().collect::<Vec<_>>(),
            ["SIZE", "EXCLUSIVE", "SHARED", "OBJECTS", "LAST", "USED"]
        );
        let order = ["pushed (hosted)", "  team/app", "    :1", "    (and 1 more)", "  (and 1 more)", "in all"];
        assert!(order.map(at).is_sorted(), "{table}");
        let row = lines[at("  team/app")];
        assert!(row.contains(" kB ") && row.contains(" ago"), "{row}");
        assert!(at("docker.io (mirrored)") < at("  library/ubuntu") && at("folders and links") < at("in all"));
    }
    assert!(shown.contains('%'), "how far it is, where somebody looks: {shown:?}");
    assert!(!piped.contains('%') && !piped.contains('\x1b'));
}

/// The text that remains visible on a line that was overwritten.
fn shown_last(line: &str) -> &str {
    line.rsplit("\u{1b}[K").next().unwrap_or_default().trim_end()
}

/// A wrong argument is answered with a line that says what to do.
#[test]
fn a_pattern_without_a_match_is_an_error() {
    let mut server = Setup::hosting().quota("1GB").start();
    server.target().image("team/app", "1", &image(8400, &[]));
    let said = |arguments: &[&str], code: i32| {
        let outcome = du(server.data(), arguments);
        assert_eq!(outcome.status.code(), Some(code), "{}", outcome.output);
        assert!(code == 2 || outcome.output.lines().count() == 1, "{}", outcome.output);
        outcome.output
    };
    let unknown = said(&["--tags", "team/ap"], 1);
    assert!(unknown.contains("no repository here is called team/ap: `entrepot du --data "), "{unknown}");
    assert!(said(&["team/app"], 2).contains("for the tags of a repository: --tags team/app"));
    assert!(said(&["--tags", "Team App"], 2).contains("a repository name such as team/app"));
    assert!(said(&["--top", "0"], 2).contains("--top") && said(&["--sort", "name"], 2).contains("exclusive"));
    assert_eq!(du(&server.data().join("nowhere"), &[]).status.code(), Some(2));
    let pattern = document(server.data(), &["--tags", "team/*"]);
    assert_eq!(
        (list(named(&pattern, "pushed", "team/app"), "tags").len(), &pattern["quota"]),
        (1, &json!(1_000_000_000))
    );
    let answers = admin::ask(server.data(), &json!({ "request": "du", "tags": "//" }));
    assert!(answers.len() == 1 && answers[0]["answer"] == "failed", "{answers:?}");
    // A repository without any image left is known, and holds nothing.
    let target = server.target();
    let digest = image(8400, &[]).digest().to_owned();
    assert_eq!(target.delete(&format!("team/app/manifests/{digest}")), 202);
    admin::gc(server.data(), true, Some(0));
    for alone in [false, true] {
        if alone {
            server.stop();
        }
        let empty = document(server.data(), &["--tags", "team/app"]);
        assert_eq!(figures(named(&empty, "pushed", "team/app")), (0, 0, 0, 0), "{empty:#}");
        assert_eq!(named(&empty, "pushed", "team/app")["last_used"], Value::Null);
        assert!(repositories(&document(server.data(), &[])).is_empty());
    }
}
