//! The fetcher against servers on loopback, which only allowed hosts may lead to, and names that lead where a test wants.
//! Nothing here connects to anywhere else: what would is judged only.

mod limits;
mod names;
mod redirects;
mod site;
mod written;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;

use futures_util::future::BoxFuture;

use self::site::{Reply, Site};
use super::*;

/// Long enough for a busy machine: only what never ends takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Knows a few names, each with its answers in the order in which they are given, the last again and again.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn of(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let of_name = |(name, answers): &(&str, &[&[&str]])| ((*name).to_owned(), answers.iter().map(read).collect());
        Arc::new(Self { answers: Mutex::new(names.iter().map(of_name).collect()), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolver for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut names = self.answers.lock().unwrap();
        let answer = names.get_mut(name).and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        Box::pin(std::future::ready(answer.unwrap_or_default()))
    }
}

fn settings(allowed: &[&str]) -> FetchSettings {
    let allowed_hosts = allowed.iter().map(|host| host.parse().unwrap()).collect();
    FetchSettings { allowed_hosts, timeout: PATIENCE, max_bytes: 1000, ..FetchSettings::default() }
}

/// Lets these hosts lead anywhere; knows no names.
fn fetcher(allowed: &[&str]) -> Fetcher {
    fetcher_with(allowed, &Script::of(&[]))
}

fn fetcher_with(allowed: &[&str], script: &Arc<Script>) -> Fetcher {
    Fetcher { settings: settings(allowed), resolver: Arc::clone(script) as Arc<dyn Resolver> }
}

/// Where the address would be connected to, without doing so.
async fn judge(url: &str, allowed: &[&str], script: &Script) -> Option<Vec<String>> {
    let target = Target::parse(url).unwrap_or_else(|reason| panic!("{url}: {reason}"));
    let addresses = open_addresses(&target, &settings(allowed).allowed_hosts, script).await;
    addresses.map(|addresses| addresses.iter().map(ToString::to_string).collect())
}

#[test]
fn defaults_are_the_documented_ones() {
    let defaults = FetchSettings::default();
    assert_eq!((defaults.timeout, defaults.max_bytes), (Duration::from_secs(30), 67_108_864));
    assert_eq!((defaults.max_redirects, defaults.allowed_hosts), (3, vec![]));
}
