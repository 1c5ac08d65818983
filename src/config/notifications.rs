//! The `notifications` section: receivers of events about pushes, pulls, mounts and deletes.

use std::{collections::HashSet, time::Duration};

use url::Url;

use super::{
    Error, Header, Origin, Setting, account,
    dump::{self, Line, quoted},
    duration, headers, key,
    lookup::{KeyMatch, find, suggest},
    node::{Node, Value},
    size,
    used_notification_keys::{
        ENDPOINT_BACKOFF, ENDPOINT_DISABLED, ENDPOINT_HEADERS, ENDPOINT_IGNORE_ACTIONS, ENDPOINT_IGNORE_MEDIATYPES,
        ENDPOINT_IGNOREDMEDIATYPES, ENDPOINT_NAME, ENDPOINT_THRESHOLD, ENDPOINT_TIMEOUT, ENDPOINT_URL, ENDPOINTS,
        INCLUDE_REFERENCES, QUEUE,
    },
};

/// The least bytes of a queue.
const MIN_QUEUE_BYTES: u64 = 1_000_000;
const ACTIONS: [&str; 4] = ["push", "pull", "mount", "delete"];

/// The receivers of events, and the content of events.
#[derive(Clone, Debug)]
pub struct Notifications {
    /// `notifications.events.includereferences`.
    pub includereferences: Setting<bool>,
    /// `notifications.queue`: the most bytes of the events that wait for one endpoint.
    pub queue: Setting<u64>,
    /// `notifications.endpoints`, also those that are disabled.
    pub endpoints: Setting<Vec<EndpointConfig>>,
}

/// A receiver of events.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Its name, which no other has.
    pub name: String,
    /// Its URL, perhaps with a user.
    pub url: Url,
    /// Headers of each request.
    pub headers: Vec<Header>,
    /// The longest time of a request; not zero.
    pub timeout: Duration,
    /// The failures in a row after which each attempt waits; at least one.
    pub threshold: u64,
    /// The time that it waits; not zero.
    pub backoff: Duration,
    /// Notes and sends nothing.
    pub disabled: bool,
    /// Media types without events.
    pub ignored_media_types: Vec<String>,
    /// Actions without events.
    pub ignored_actions: Vec<String>,
}

impl Notifications {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        let queue = Setting::read(root, &QUEUE, size::bytes)?;
        if *queue < MIN_QUEUE_BYTES {
            return Err(queue.error("1MB or more"));
        }
        Ok(Self {
            includereferences: Setting::read(root, &INCLUDE_REFERENCES, key::flag)?,
            queue,
            endpoints: endpoints(root)?,
        })
    }

    pub(super) fn lines(&self) -> [Line; 3] {
        let endpoints: Vec<_> = self.endpoints.iter().map(EndpointConfig::written).collect();
        [
            Line::new(&self.includereferences, self.includereferences.to_string()),
            Line::new(&self.queue, size::write(*self.queue)),
            Line::flow(&self.endpoints, format!("[{}]", endpoints.join(", "))),
        ]
    }
}

fn endpoints(root: &Node) -> Result<Setting<Vec<EndpointConfig>>, Error> {
    let Some(node) = root.get(ENDPOINTS.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(&ENDPOINTS, Vec::new()));
    };
    let Value::List(items) = &node.value else { return Err(Error::shape(&ENDPOINTS, node)) };
    let mut names = HashSet::new();
    let mut endpoints = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let endpoint = EndpointConfig::read(item).map_err(|error| error.within(&place.to_string()))?;
        if !names.insert(endpoint.name.clone()) {
            let error = Error::value(&ENDPOINT_NAME, &item.origin, &endpoint.name, "each name once");
            return Err(error.within(&place.to_string()));
        }
        endpoints.push(endpoint);
    }
    Ok(Setting::new(&ENDPOINTS, endpoints, "", node.origin.clone()))
}

impl EndpointConfig {
    fn read(node: &Node) -> Result<Self, Error> {
        check(node)?;
        let mut root = Node::empty();
        root.set(&["notifications", "endpoints", "*"].map(str::to_owned), node.clone());
        let root = &root;
        let name = Setting::read_optional(root, &ENDPOINT_NAME, |text| Some(text.to_owned()))?.into_value();
        let url = Setting::read_optional(root, &ENDPOINT_URL, url)?.into_value();
        let missing = |key, expected| Error::value(key, &node.origin, "", expected);
        let texts = |key| Setting::read_list(root, key, |text| Ok::<_, &str>(text.to_owned()));
        let mut ignored_media_types = texts(&ENDPOINT_IGNOREDMEDIATYPES)?.into_value();
        ignored_media_types.extend(texts(&ENDPOINT_IGNORE_MEDIATYPES)?.into_value());
        Ok(Self {
            name: name.ok_or_else(|| missing(&ENDPOINT_NAME, "a name for the endpoint"))?,
            url: url
                .ok_or_else(|| missing(&ENDPOINT_URL, "an http or https URL such as http://hooks.example/events"))?,
            headers: headers::read(root, &ENDPOINT_HEADERS)?.into_value(),
            timeout: positive(root, &ENDPOINT_TIMEOUT)?,
            threshold: threshold(root)?,
            backoff: positive(root, &ENDPOINT_BACKOFF)?,
            disabled: *Setting::read(root, &ENDPOINT_DISABLED, key::flag)?,
            ignored_media_types,
            ignored_actions: Setting::read_list(root, &ENDPOINT_IGNORE_ACTIONS, action)?.into_value(),
        })
    }

    /// The section as YAML, without what is secret.
    fn written(&self) -> String {
        let headers = self.headers.iter().map(|header| (header.name.as_str(), dump::list(["***"])));
        let mut url = account::without_user(self.url.clone());
        if url.query().is_some() {
            url.set_query(Some("***"));
        }
        let ignored = dump::map([
            ("mediatypes", dump::list(&self.ignored_media_types)),
            ("actions", dump::list(&self.ignored_actions)),
        ]);
        dump::map([
            ("name", quoted(&self.name)),
            ("url", quoted(url.as_str())),
            ("headers", dump::map(headers)),
            ("timeout", quoted(&duration::write(self.timeout))),
            ("threshold", self.threshold.to_string()),
            ("backoff", quoted(&duration::write(self.backoff))),
            ("disabled", self.disabled.to_string()),
            ("ignore", ignored),
        ])
    }
}

/// Checks that an endpoint is a section of known keys.
fn check(node: &Node) -> Result<(), Error> {
    let Value::Map(entries) = &node.value else {
        return Err(Error::item_shape(&ENDPOINTS, node, "a list of sections, each with name and url"));
    };
    let unknown = |path: &[&str], origin: &Origin| {
        let key = path.join(".");
        Error::UnknownKey { origin: origin.clone(), suggestion: suggest(&key), key }
    };
    for (name, node) in entries {
        let path = ["notifications", "endpoints", "*", name];
        match (find(&path), &node.value) {
            (KeyMatch::Nothing, _) => return Err(unknown(&path, &node.origin)),
            (KeyMatch::Section, Value::Map(inner)) => {
                for (key, node) in inner {
                    let path = [path.as_slice(), &[key]].concat();
                    if !matches!(find(&path), KeyMatch::Key(_)) {
                        return Err(unknown(&path, &node.origin));
                    }
                }
            }
            (KeyMatch::Section, Value::Null) | (KeyMatch::Key(_), _) => {}
            (KeyMatch::Section, _) => return Err(Error::section(&path.join("."), node)),
        }
    }
    Ok(())
}

fn url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Reads a duration; as in `registry:2`, 0 means the default.
fn positive(root: &Node, key: &'static key::Key) -> Result<Duration, Error> {
    let given = *Setting::read(root, key, duration::parse)?;
    let default = || duration::parse(key.default).unwrap_or(Duration::from_secs(1));
    Ok(if given.is_zero() { default() } else { given })
}

fn threshold(root: &Node) -> Result<u64, Error> {
    let given = *Setting::read(root, &ENDPOINT_THRESHOLD, |text| text.parse::<u64>().ok())?;
    Ok(if given == 0 { 10 } else { given })
}

fn action(text: &str) -> Result<String, String> {
    if ACTIONS.contains(&text) { Ok(text.to_owned()) } else { Err(format!("some of {}", ACTIONS.join(", "))) }
}
