//! Tokens, by plain HTTP: those of Entrepot's own service, and those of an external one.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::{
    access_clients::outside,
    support::{
        hash::sha256,
        http::{self, Request, Response},
        images::{Blob, Format, Image},
        scratch,
        server::{Server, Setup},
        token_service::TokenService,
        uploads::{OCTETS, Target, basic},
        users::{Users, line, password},
        wait_until,
    },
};

const RULES: &str = "access: [\
     {who: anonymous, may: pull, where: 'public/**'}, \
     {who: ann, may: [pull, push, delete], where: ['public/**', 'team/**']}, \
     {who: authenticated, may: pull, where: 'inner/**'}]";

fn fixture() -> (Server, Users) {
    let users = Users::named(&["ann", "bob"]);
    (users.with(Setup::hosting(), RULES).start(), users)
}

/// The parameters of a Bearer challenge.
pub(crate) fn challenge(response: &Response) -> Vec<(String, String)> {
    assert_eq!(response.status, 401);
    let challenge = response.header("www-authenticate").expect("a challenge");
    let rest = challenge.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{challenge}"));
    let mut parts = rest.split('"');
    let mut found = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        found.push((name.trim_matches([',', '=']).to_owned(), value.to_owned()));
    }
    found
}

pub(crate) fn part(response: &Response, wanted: &str) -> Option<String> {
    challenge(response).into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

/// A token for these scopes, as docker asks for one.
fn token(server: &Server, user: Option<&str>, scopes: &[&str]) -> String {
    let response = ask(server, user, scopes);
    assert_eq!(response.status, 200);
    let answer = response.json();
    assert_eq!(answer["token"], answer["access_token"]);
    assert!(answer["expires_in"].as_u64().unwrap() >= 1 && answer["issued_at"].as_str().unwrap().ends_with('Z'));
    answer["token"].as_str().unwrap().to_owned()
}

fn ask(server: &Server, user: Option<&str>, scopes: &[&str]) -> Response {
    let mut url = url::Url::parse(&format!("{}/token?service=entrepot", server.url())).unwrap();
    url.query_pairs_mut().extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    let request = http::get(url.as_str());
    match user {
        Some(user) => request.header("Authorization", &basic(user, &password(user))).send(),
        None => request.send(),
    }
}

fn bearer(server: &Server, user: Option<&str>, scopes: &[&str]) -> Target {
    Target::with_token(server.url(), &token(server, user, scopes))
}

/// The claims of a token, without a check of its signature.
pub(crate) fn claims(token: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[test]
fn challenges_say_where_to_get_which_token() {
    let (server, _users) = fixture();
    let realm = format!("{}/token", server.url());
    let ping = http::get(&server.v2("")).send();
    assert_eq!(challenge(&ping), [("realm".into(), realm.clone()), ("service".into(), "entrepot".into())]);
    for (method, path, scope) in [
        ("GET", "team/app/manifests/1", "repository:team/app:pull"),
        ("HEAD", "team/app/blobs/sha256:", "repository:team/app:pull"),
        ("PUT", "team/app/manifests/1", "repository:team/app:pull,push"),
        ("POST", "public/app/blobs/uploads/", "repository:public/app:pull,push"),
        ("DELETE", "public/app/manifests/1", "repository:public/app:delete"),
    ] {
        let path = path.replace("sha256:", &sha256(b""));
        let response = Request::new(method, &server.v2(&path)).send();
        assert_eq!(part(&response, "scope").as_deref(), Some(scope), "{method} {path}");
        assert_eq!((part(&response, "realm"), part(&response, "error")), (Some(realm.clone()), None));
    }
    let named =
        http::get(&server.v2("")).header("X-Forwarded-Proto", "https").header("X-Forwarded-Host", "registry.test");
    assert_eq!(part(&named.send(), "realm").unwrap(), "https://registry.test/token", "as registry:2 believes anybody");
    let bad = http::get(&server.v2("public/app/tags/list")).header("Authorization", "Bearer nonsense").send();
    assert_eq!(part(&bad, "error").as_deref(), Some("invalid_token"));
    assert_eq!(part(&bad, "scope").as_deref(), Some("repository:public/app:pull"));
}

/// A token is issued for those requested actions that its user may do, and grants no others.
#[test]
fn a_token_does_what_it_was_made_for() {
    let (server, _users) = fixture();
    let (image, ann) = (Image::single(Format::Oci, 710), server.target().as_user("ann", &password("ann")));
    ["public/app", "team/app"].iter().for_each(|repository| ann.image(repository, "1", &image));
    let status = |target: &Target, method: &str, path: &str| target.request(method, path).send().status;

    let stranger = bearer(&server, None, &["repository:public/app:pull,push", "repository:team/app:pull"]);
    assert_eq!(status(&stranger, "GET", ""), 200, "nobody in particular is somebody");
    assert_eq!(status(&stranger, "GET", "public/app/manifests/1"), 200);
    assert_eq!(status(&stranger, "GET", "team/app/manifests/1"), 401);
    assert_eq!(status(&stranger, "POST", "public/app/blobs/uploads/"), 401);

    let pull = bearer(&server, Some("ann"), &["repository:team/app:pull"]);
    assert_eq!(status(&pull, "GET", "team/app/manifests/1"), 200);
    for (method, path) in [("POST", "team/app/blobs/uploads/"), ("GET", "public/app/manifests/1"), ("GET", "_catalog")]
    {
        let refused = pull.request(method, path).send();
        assert_eq!(part(&refused, "error").as_deref(), Some("insufficient_scope"), "{method} {path}");
    }
    assert_eq!(status(&pull, "GET", "other/app/manifests/1"), 403, "no token would help");

    // As docker asks before it mounts: the scope twice, or both in one.
    for scopes in [
        &["repository:team/app:pull,push", "repository:public/app:pull"][..],
        &["repository:team/app:* repository:public/app:pull"],
    ] {
        let both = bearer(&server, Some("ann"), scopes);
        assert_eq!(both.mount("team/app", &image.layer().digest, Some("public/app")).status, 201);
        assert_eq!(both.mount("team/app", &image.layer().digest, None).status, 202, "from wherever it is");
    }
    let narrow = bearer(&server, Some("ann"), &["repository:team/new:pull,push"]);
    assert_eq!(
        narrow.mount("team/new", &image.layer().digest, Some("public/app")).status,
        202,
        "not made for reading there"
    );

    let given =
        claims(&token(&server, Some("bob"), &["repository:team/app:pull,push", "repository:public/app:*", "nonsense"]));
    assert_eq!(
        (&given["sub"], &given["access"][0]["actions"], &given["access"][1]["actions"]),
        (&json!("bob"), &json!([]), &json!(["pull"]))
    );
}

/// Actions that rules allow anonymous clients need no token; a list shows the repositories that its reader may pull.
#[test]
fn anonymous_clients_see_what_they_may_pull() {
    let (server, _users) = fixture();
    let (image, ann) = (Image::single(Format::Oci, 711), server.target().as_user("ann", &password("ann")));
    ["public/app", "team/app"].iter().for_each(|repository| ann.image(repository, "1", &image));
    assert_eq!(http::get(&server.v2("public/app/manifests/1")).send().status, 200);
    assert_eq!(http::get(&server.v2("_catalog")).send().json()["repositories"], json!(["public/app"]));
    let stranger = bearer(&server, None, &["registry:catalog:*"]);
    assert_eq!(stranger.json("_catalog")["repositories"], json!(["public/app"]));
    let known = bearer(&server, Some("ann"), &["registry:catalog:*"]);
    assert_eq!(known.json("_catalog")["repositories"], json!(["public/app", "team/app"]));
    assert_eq!(ann.json("_catalog")["repositories"], json!(["public/app", "team/app"]), "a password will do");
}

/// Token requests as OAuth2 forms: containerd's, and other ones.
#[test]
fn tokens_are_given_for_forms() {
    let (server, _users) = fixture();
    let post = |form: &str| {
        let url = format!("{}/token", server.url());
        Request::new("POST", &url).body("application/x-www-form-urlencoded", form.as_bytes()).send()
    };
    let scopes = "scope=repository%3Ateam%2Fapp%3Apull%2Cpush+repository%3Apublic%2Fapp%3Apull";
    let login = "grant_type=password&username=ann&password=pw-of-ann&service=entrepot&client_id=containerd-client";
    let answer = post(&format!("{login}&{scopes}"));
    assert_eq!(answer.status, 200);
    let given = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!((&given["sub"], given["access"].as_array().unwrap().len()), (&json!("ann"), 2));
    assert_eq!(post(&login.replace("pw-of-ann", "wrong")).status, 401);
    assert_eq!(post("grant_type=refresh_token&refresh_token=abc&service=entrepot").status, 400);
    assert_eq!(post(&login.replace("grant_type=password", "grant_type=magic")).status, 400);
    assert_eq!(post("grant_type=password&username=ann").status, 400);
    // docker login: an account, no scope.
    let login = format!("{}/token?account=ann&client_id=docker&offline_token=true&service=entrepot", server.url());
    let answer = http::get(&login).header("Authorization", &basic("ann", "pw-of-ann")).send();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(Target::with_token(server.url(), &token).request("GET", "").send().status, 200);
    assert_eq!(http::get(&login).header("Authorization", &basic("ann", "wrong")).send().status, 401);
}

/// A token cannot be exchanged for another one, with more rights or a longer life.
#[test]
fn a_token_makes_no_tokens() {
    let (server, _users) = fixture();
    let narrow = token(&server, Some("ann"), &["repository:public/app:pull"]);
    let url = format!("{}/token?scope=repository:team/app:pull,push&scope=registry:catalog:*", server.url());
    for credentials in [format!("Bearer {narrow}"), "Bearer nonsense".to_owned(), "Digest x".to_owned()] {
        for method in ["GET", "POST"] {
            let answer = Request::new(method, &url).header("Authorization", &credentials).send();
            assert_eq!(part(&answer, "error").as_deref(), Some("invalid_token"), "{method} {credentials}");
        }
    }
}

/// Metrics are for users, even if the rules allow anonymous access to repositories.
#[test]
fn metrics_are_not_for_anonymous_clients() {
    let users = Users::named(&["ann"]);
    let server = users.with(Setup::hosting().variable("REGISTRY_HTTP_METRICS", "true"), RULES).start();
    let scrape = |authorization: Option<String>| {
        let request = http::get(&format!("{}/metrics", server.url()));
        let request = authorization.into_iter().fold(request, |request, value| request.header("Authorization", &value));
        request.send().status
    };
    assert_eq!(scrape(None), 401);
    assert_eq!(scrape(Some(format!("Bearer {}", token(&server, None, &[])))), 401);
    assert_eq!(scrape(Some(format!("Bearer {}", token(&server, Some("ann"), &[])))), 200);
    assert_eq!(scrape(Some(basic("ann", &password("ann")))), 200);
}

/// Without rules for anonymous clients there is no token service.
#[test]
fn without_anonymous_rules_there_are_no_tokens() {
    let users = Users::named(&["ann"]);
    let open = Setup::hosting().start();
    assert_eq!(http::get(&format!("{}/token", open.url())).send().status, 404);
    let server = users.alone(Setup::hosting()).start();
    assert_eq!(ask(&server, Some("ann"), &[]).status, 404);
    assert_eq!(ask(&server, None, &[]).status, 401);
    let dir = scratch::dir("outside");
    let service = TokenService::start(dir.path());
    let server = outside(Setup::hosting(), &service).start();
    let own = http::get(&format!("{}/token", server.url())).header("Authorization", "Bearer x").send();
    assert_eq!((own.status, ask(&server, None, &[]).status), (404, 404), "the outside one is elsewhere");
}

/// A token ends with its lifetime, its user, that user's password, and this process; an upload that it began continues.
#[test]
fn tokens_end_and_uploads_go_on() {
    let users = Users::named(&["ann", "bob"]);
    let mut server = users.with(Setup::hosting(), &format!("{RULES}, tokenlifetime: 2s")).start();
    let scopes = ["repository:team/app:pull,push"];
    let (old, image) = (bearer(&server, Some("ann"), &scopes), Image::single(Format::Oci, 712));
    let mut session = old.begin("team/app");
    assert_eq!(session.patch(None, b"began in time, ").status, 202);
    wait_until("the token to end", Duration::from_secs(10), || old.request("GET", "").send().status == 401);
    assert_eq!(session.patch(None, b"went on after").status, 202);
    let whole = Blob::new("began in time, went on after");
    assert_eq!(session.put(&whole.digest, b"").status, 201);
    for (method, path) in [("POST", "blobs/uploads/"), ("PUT", "manifests/1"), ("GET", "tags/list")] {
        let refused = old.request(method, &format!("team/app/{path}")).send();
        assert_eq!(part(&refused, "error").as_deref(), Some("invalid_token"), "{method} {path}");
    }
    bearer(&server, Some("ann"), &scopes).image("team/app", "1", &image);

    let server_long = users.with(Setup::hosting(), RULES).start();
    let (ann, bob) = (bearer(&server_long, Some("ann"), &scopes), bearer(&server_long, Some("bob"), &[]));
    users.write(&line("ann", "another"));
    let status = |target: &Target| target.request("GET", "").send().status;
    wait_until("both to be known no more", Duration::from_secs(10), || (status(&ann), status(&bob)) == (401, 401));
    users.write(&line("ann", &password("ann")));
    let before = bearer(&server, Some("ann"), &scopes);
    server.restart();
    let after = Target::with_token(server.url(), before.authorization().strip_prefix("Bearer ").unwrap());
    assert_eq!(status(&after), 401, "another process has another key");
}

/// A token with another signature, with none, or with changed claims is refused.
#[test]
fn forged_tokens_are_none() {
    let (server, _users) = fixture();
    let good = token(&server, Some("bob"), &["repository:team/app:pull"]);
    let mut said = claims(&good);
    said["sub"] = json!("ann");
    said["access"] = json!([{ "type": "repository", "name": "team/app", "actions": ["pull", "push", "delete"] }]);
    for forged in forgeries(&good, &said, None) {
        for path in ["", "team/app/tags/list"] {
            let response = http::get(&server.v2(path)).header("Authorization", &format!("Bearer {forged}")).send();
            assert_eq!(part(&response, "error").as_deref(), Some("invalid_token"), "{forged}");
        }
    }
}

/// Forged tokens: other claims under the same signature, no signature, one by a shared secret, one by another key; with
/// a header that contains its own certificate.
pub(crate) fn forgeries(good: &str, said: &Value, public: Option<&[u8]>) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let parts: Vec<&str> = good.split('.').collect();
    let body = URL_SAFE_NO_PAD.encode(said.to_string());
    let none = |alg: &str| URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let key = EncodingKey::from_ec_der(&stranger.signing_key.serialize_der());
    let own = base64::engine::general_purpose::STANDARD.encode(stranger.cert.der());
    let mut forged = vec![
        format!("{}.{body}.{}", parts[0], parts[2]),
        format!("{}.{body}.", parts[0]),
        format!("{}.{body}.", none("none")),
        format!("{}.{body}", none("none")),
        format!("{}.{body}.{}", none("none"), parts[2]),
        format!("{}.{body}.{}", none("None"), parts[2]),
        encode(&Header::new(Algorithm::ES256), said, &key).unwrap(),
        encode(&Header { x5c: Some(vec![own]), ..Header::new(Algorithm::ES256) }, said, &key).unwrap(),
        encode(&Header { x5c: Some(vec![]), ..Header::new(Algorithm::ES256) }, said, &key).unwrap(),
    ];
    for secret in [b"".as_slice(), b"entrepot"].into_iter().chain(public) {
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            forged.push(encode(&Header::new(algorithm), said, &EncodingKey::from_secret(secret)).unwrap());
        }
    }
    forged
}

/// No password or token is in the log, in any of its encodings, even at the most verbose level.
#[test]
fn secrets_stay_out_of_the_log() {
    let users = Users::named(&["ann", "bob"]);
    for formatter in ["text", "json"] {
        let setup =
            Setup::hosting().variable("REGISTRY_LOG_LEVEL", "debug").variable("REGISTRY_LOG_FORMATTER", formatter);
        let server = users.with(setup, RULES).start();
        let scopes = ["repository:team/app:pull,push", "repository:other/app:pull"];
        let (given, login) = (token(&server, Some("ann"), &scopes), basic("ann", &password("ann")));
        Target::with_token(server.url(), &given).image("team/app", "1", &Image::single(Format::Oci, 714));
        server.target().as_user("ann", &password("ann")).request("GET", "team/app/manifests/1").send();
        let wrong = "wrong-password-of-ann";
        let form = format!("grant_type=password&username=ann&password={wrong}");
        Request::new("POST", &format!("{}/token", server.url()))
            .body("application/x-www-form-urlencoded", form.as_bytes())
            .send();
        for request in [server.v2(""), server.v2("team/app/manifests/1")] {
            http::get(&request).header("Authorization", &basic("ann", wrong)).send();
            http::get(&request).header("Authorization", &format!("Bearer {given}x")).send();
            http::get(&request).header("Authorization", &format!("Bogus {wrong}")).send();
        }
        http::get(&server.v2("the-last-one/tags/list")).send();
        wait_until("the last line", Duration::from_secs(5), || server.log().contains("the-last-one"));
        let (log, signature) = (server.log(), given.rsplit('.').next().unwrap());
        let (of_wrong, of_right) = (basic("ann", wrong), login.trim_start_matches("Basic "));
        let secrets = [wrong, &password("ann"), of_wrong.trim_start_matches("Basic "), of_right, &given, signature];
        for secret in secrets {
            assert_eq!(log.lines().find(|line| line.contains(secret)), None);
        }
    }
}

/// A push by token is audited as one by password is, and so is a token's denial.
#[test]
fn bearers_are_written_down() {
    let (server, _users) = fixture();
    let ann = bearer(&server, Some("ann"), &["repository:team/app:pull,push"]);
    let blob = Blob::new("audited");
    let put = ann.request("POST", &format!("team/app/blobs/uploads/?digest={}", blob.digest)).body(OCTETS, &blob.bytes);
    assert_eq!(put.send().status, 201);
    bearer(&server, None, &[]).request("GET", "team/app/tags/list").send();
    wait_until("both lines", Duration::from_secs(5), || {
        let log = server.log();
        let has = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        has(&[r#""who":"ann""#, r#""action":"push""#, r#""decision":"allowed""#, &blob.digest])
            && has(&[r#""who":"anonymous""#, r#""action":"pull""#, r#""decision":"denied""#])
    });
}
