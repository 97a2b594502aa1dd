//! The golden file: (members, key) -> owners, as every release before placed them.

use std::fmt::Write as _;
use std::path::Path;

use annulus_ring::{DEFAULT_VIRTUAL_NODES, Member, Ring, key_hash};

/// Set to `1`, the test writes the file anew, and fails all the same.
const WRITE: &str = "ANNULUS_RING_WRITE_GOLDEN";

#[test]
fn every_key_has_the_owners_it_always_had() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/owners.txt");
    let now = render();
    if std::env::var(WRITE).is_ok_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
        panic!("{} was written, unchecked: unset {WRITE}, read the difference, run again", path.display());
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden.lines().count() >= 200, "the golden file lost its lines");
    let difference = golden.lines().zip(now.lines()).find(|(golden, now)| golden != now);
    assert!(
        golden == now,
        "PLACEMENT CHANGED. A release with this change finds no key where the one before put it: every running \
         cache is lost at the upgrade.\nUndo it; only a new major version may regenerate the file ({WRITE}=1).\n\
         first difference (golden, now): {difference:#?}"
    );
}

/// The members sets, each with the number of virtual nodes. What a line of the file cannot show is here.
fn rings() -> Vec<(&'static str, Ring)> {
    let named =
        |prefix: &'static str, count: usize| (0..count).map(move |i| Member::new(format!("{prefix}{i}")));
    let zoned = |count: usize, zones: usize| {
        named("aux-", count).enumerate().map(move |(i, member)| member.with_zone(format!("z{}", i % zones)))
    };
    let weighted = (1..=5).map(|weight| Member::new(format!("w{weight}")).with_weight(weight));
    let lopsided = zoned(3, 1).chain([Member::new("far").with_zone("z-far"), Member::new("zoneless")]);
    let zones_and_weights = zoned(7, 3).enumerate().map(|(i, member)| member.with_weight(1 + i as u32 % 3));
    let odd = ["a", "ä", "节点", "a b", "a/b", "a\n", "127.0.0.1:3001"].map(Member::new);
    let ring = |members: Vec<Member>, virtual_nodes| Ring::new(members, virtual_nodes).unwrap();
    vec![
        ("none", ring(vec![], 16)),
        ("one", ring(named("n", 1).collect(), DEFAULT_VIRTUAL_NODES)),
        ("three", ring(named("auxiliary-", 3).collect(), DEFAULT_VIRTUAL_NODES)),
        ("few-points", ring(named("auxiliary-", 10).collect(), 1)),
        ("hundred", ring(named("auxiliary-", 100).collect(), DEFAULT_VIRTUAL_NODES)),
        ("three-zones", ring(zoned(9, 3).collect(), DEFAULT_VIRTUAL_NODES)),
        ("lopsided-zones", ring(lopsided.collect(), 160)),
        ("weighted", ring(weighted.collect(), 500)),
        ("zones-and-weights", ring(zones_and_weights.collect(), 100)),
        ("odd-names", ring(odd.into(), 64)),
    ]
}

fn keys() -> Vec<Vec<u8>> {
    let texts =
        ["", "a", "user:17", "with space", "a/b%2Fc", "\r\n", "🦀"].map(|text| text.as_bytes().to_vec());
    let binary = [vec![0], vec![0; 8], vec![0xff; 4], vec![0xc3, 0x28], (0..=249).collect()];
    let numbered = (1..=14_u64).map(|i| (i * i).to_le_bytes().to_vec());
    texts.into_iter().chain(binary).chain(numbered).collect()
}

fn render() -> String {
    let mut text = String::from(
        "# Which members own which key. Changing a line loses every running cache; see tests/golden.rs.\n\
         # ring NAME virtual_nodes FINGERPRINT, then its members: name, zone or -, weight\n\
         # NAME key-in-hex hash owners, most preferred first\n",
    );
    for (name, ring) in rings() {
        writeln!(text, "ring\t{name}\t{}\t{:016x}", ring.virtual_nodes(), ring.fingerprint()).unwrap();
        for Member { name, zone, weight } in ring.members().iter().take(10) {
            writeln!(text, "member\t{name:?}\t{}\t{weight}", zone.as_deref().unwrap_or("-")).unwrap();
        }
        for key in keys() {
            let hash = key_hash(&key);
            let hex: String = key.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            let owners: Vec<String> =
                ring.owners(hash, 5).map(|owner| format!("{:?}", ring.members()[owner].name)).collect();
            writeln!(text, "{name}\t0x{hex}\t{hash:016x}\t{}", owners.join(" ")).unwrap();
        }
    }
    text
}
