//! What `annulus dev` says when everything runs.

use super::cluster::Place;
use crate::output::{self, Align};

/// A table of what runs where, and what to try first. `program` is what to type to start this program.
pub(crate) fn text(places: &[Place], program: &str) -> String {
    let mut rows = vec![["ROLE", "NAME", "URL", "MEMCACHED", "MEMORY"].map(str::to_owned).to_vec()];
    rows.extend(places.iter().map(|place| {
        let memory = place.memory.map_or_else(|| "-".to_owned(), |bytes| output::bytes(bytes as u64));
        let memcached = place.memcached.map_or_else(|| "-".to_owned(), |address| address.to_string());
        vec![place.role.to_owned(), place.name.clone(), url(place), memcached, memory]
    }));
    let table = output::table(&[Align::Left, Align::Left, Align::Left, Align::Left, Align::Right], &rows);
    let masters: Vec<_> = places.iter().filter(|place| place.role == "master").collect();
    let (Some(first), Some(last)) = (masters.first(), masters.last()) else { return table };
    let (first, last) = (url(first), url(last));
    let refresher = places.iter().find(|place| place.role == "refresher").map(url);
    let follow = refresher.map_or_else(String::new, |refresher| {
        format!(
            "
The refresher keeps the exchange rates of a made-up upstream fresh, in the cache and in its own memory:

  curl {first}/data/rates%2FUSD
  curl {refresher}/datasets/rates/USD
  curl -N {refresher}/datasets/rates/events
"
        )
    });
    let address = if first == "http://127.0.0.1:8000" { String::new() } else { format!(" --url {first}") };
    let memcached = masters.iter().find_map(|place| place.memcached).map_or_else(String::new, |address| {
        format!("  printf 'get greeting\\r\\nquit\\r\\n' | curl -s telnet://{address}\n")
    });
    format!(
        "\
The cluster runs.

{table}
Any master does any request. Try:

  curl -X POST {first}/data -H 'Content-Type: application/json' -d '{{\"key\":\"greeting\",\"value\":\"hello\",\"ttl\":3600}}'
  curl {last}/data/greeting
  curl -X PUT '{first}/data/page?ttl=60' -H 'Content-Type: text/html' --data-binary '<h1>hi</h1>'
  curl {first}/nodes
{memcached}
  {program} get greeting{address}
  {program} bench{address}
{follow}
A page to try every request: {first}/

Ctrl-C stops it.
"
    )
}

/// How this program was started, for a shell: `annulus` where that finds it, and else the path.
pub(crate) fn program() -> String {
    let started_as = std::env::args_os().next().unwrap_or_default();
    quoted(&started_as.to_string_lossy())
}

fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,".contains(c);
    match path {
        "" => "annulus".to_owned(),
        path if path.chars().all(plain) => path.to_owned(),
        path => format!("'{}'", output::harmless(path).replace('\'', "'\\''")),
    }
}

fn url(place: &Place) -> String {
    format!("http://{}", place.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commands_name_the_ports_in_use() {
        let place = |role, name: &str, port, memory| Place {
            role,
            name: name.to_owned(),
            address: ([127, 0, 0, 1], port).into(),
            memory,
            memcached: None,
        };
        let places =
            [place("master", "master-1", 9000, None), place("auxiliary", "aux-1", 9101, Some(64 << 20))];
        let text = text(&places, "target/debug/annulus");
        assert!(
            text.contains("\nauxiliary  aux-1     http://127.0.0.1:9101  -          64.0 MiB\n"),
            "{text}"
        );
        assert!(
            text.contains("\n  target/debug/annulus get greeting --url http://127.0.0.1:9000\n"),
            "{text}"
        );
        assert!(text.contains("-d '{\"key\":\"greeting\",\"value\":\"hello\",\"ttl\":3600}'"), "{text}");
    }

    #[test]
    fn the_program_is_named_as_a_shell_takes_it() {
        assert_eq!(["", "annulus", "./annulus"].map(quoted), ["annulus", "annulus", "./annulus"]);
        assert_eq!(quoted("/my dir/it's/annulus"), "'/my dir/it'\\''s/annulus'");
    }
}
