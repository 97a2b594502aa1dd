//! What is looked at once all faults are over: whether the owners of each key hold the same, and nobody else anything.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Mechanisms, Placement};
use annulus_service::net::Net as _;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;

use super::client::Notes;
use super::net::SimNet;
use super::world::World;

/// How long the cluster has to converge.
const CONVERGES_WITHIN: Duration = Duration::from_secs(30);

/// What one auxiliary says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Copy {
    Value(u64),
    Tombstone(u64),
    Nothing,
    NoAnswer,
}

/// Waits until the cluster has converged, and notes what keeps it from that.
pub(super) async fn inspect(world: Rc<World>, net: SimNet, notes: Rc<RefCell<Notes>>) {
    let end = tokio::time::Instant::now() + CONVERGES_WITHIN;
    loop {
        let strays = look(&world, &net).await;
        if strays.is_empty() || tokio::time::Instant::now() > end {
            notes.borrow_mut().outcome.strays = strays;
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn look(world: &World, net: &SimNet) -> Vec<String> {
    let Some(roster) = world.roster() else { return vec!["there is no roster".to_owned()] };
    if !roster.is_settled() {
        let waiting: Vec<_> = roster
            .members()
            .iter()
            .filter(|member| member.settled != roster.epoch())
            .map(|member| member.seat.node.name.as_str())
            .collect();
        return vec![format!(
            "epoch {} has not settled: {} have not reported",
            roster.epoch(),
            waiting.join(",")
        )];
    }
    let mut strays = Vec::new();
    let Ok(placement) = Placement::new(Arc::new(roster), None, Mechanisms::default()) else { return strays };
    let replicas = placement.quorum().copies;
    for (number, key) in world.scenario.key_names().into_iter().enumerate() {
        let owners = placement.holders(annulus_ring::key_hash(key.as_bytes())).current;
        let mut held = Vec::new();
        for (node, placed) in placement.nodes().iter().enumerate() {
            let copy = ask(net, &placed.seat.node.address, &key).await;
            let owns = owners.iter().take(replicas).any(|owner| owner == node);
            held.push((placed.seat.node.name.clone(), owns, copy));
        }
        let of_owners: Vec<_> = held.iter().filter(|(_, owns, _)| *owns).map(|(.., copy)| copy).collect();
        let agree = of_owners.windows(2).all(|pair| pair[0] == pair[1]);
        // A store that is smaller than the keys forgets at any time, and so does a copy whose deadline a clock has met.
        let scenario = &world.scenario;
        let may_differ = scenario.cache_size > 0 || scenario.expiries || scenario.is_fleeting(number);
        let stray = held.iter().any(|(_, owns, copy)| !owns && matches!(copy, Copy::Value(_)));
        if (!agree || stray) && !may_differ {
            strays.push(format!("{key}: {held:?}"));
        }
    }
    strays
}

async fn ask(net: &SimNet, address: &str, key: &str) -> Copy {
    let exchange = async {
        let io = net.dial(address).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.ok()?;
        let driver = tokio::spawn(connection);
        let request = Request::get(format!("/entries/{key}")).header(HOST, address);
        let response = sender.send_request(request.body(Full::new(Bytes::new())).ok()?).await.ok()?;
        let (parts, body) = response.into_parts();
        let _ = body.collect().await;
        driver.abort();
        let version = parts.headers.get("annulus-version")?.to_str().ok()?.parse().ok()?;
        Some(match parts.status {
            StatusCode::OK => Copy::Value(version),
            _ if parts.headers.contains_key("annulus-tombstone") => Copy::Tombstone(version),
            _ => Copy::Nothing,
        })
    };
    let answer = tokio::time::timeout(Duration::from_millis(500), exchange).await;
    answer.ok().flatten().unwrap_or(Copy::NoAnswer)
}
