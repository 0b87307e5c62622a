//! A sender of the tests' own: a schema with one GPU, batches of it, and frames made by hand.

use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, NodeId, Schema, SchemaId, SpoolEpoch, UtcMillis, codec,
};
use harness::http::ask;
use harness::schema::of_one_gpu;
use harness::site::{Site, millijoules};
use harness::{eventually, utc_ms};

pub fn now_ms() -> i64 {
    i64::try_from(utc_ms()).expect("before the year 292 million")
}

/// Ten readings a second apart from `begin` on; the register rises by 100 J from one to the next.
pub fn batch(id: SchemaId, sequence: u64, begin_ms: i64) -> Batch {
    let rows = 0_i64..10;
    let count = i64::try_from(sequence).expect("small") * 1_000_000;
    let times = rows.clone().map(|row| UtcMillis::new(begin_ms + row * 1_000)).collect();
    let column = rows.map(|row| Some(count + row * 100_000)).collect();
    Batch {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        epoch: SpoolEpoch::new([3; 16]),
        sequence: BatchSeq::new(sequence).expect("from 1"),
        schema: id,
        created: UtcMillis::new(begin_ms),
        uptime: None,
        matrices: vec![Matrix { group: 0, times, columns: vec![column] }],
        events: Vec::new(),
        holds: Vec::new(),
    }
}

pub fn body(batch: &Batch) -> Vec<u8> {
    codec::encode_batch(batch).expect("encodes")
}

pub fn teach(site: &Site) -> SchemaId {
    let (id, bytes) = codec::encode_schema(&of_one_gpu("isb", "n01", "GPU-1")).expect("encodes");
    let answer = ask("PUT", site.port, &format!("/v1/schemas/{id}"), &bytes).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    id
}

/// A batch that must be taken.
pub fn accepted(site: &Site, batch: &Batch) {
    let answer = ask("POST", site.port, "/v1/batches", &body(batch)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["verdict"], "accepted");
}

/// One zstd frame by hand (RFC 8878): 1 MiB window, blocks of `kind` (0 raw, 1 run of one byte).
pub fn zstd_frame(blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3];
    for (index, (kind, size, content)) in blocks.iter().enumerate() {
        let is_last = u32::from(index + 1 == blocks.len());
        let head = (size << 3) | (kind << 1) | is_last;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    }
    frame
}

/// 128 MiB of zeros in 4 KB.
pub fn bomb() -> Vec<u8> {
    zstd_frame(&[(1, 128 << 10, &[0][..]); 1_024])
}

/// What `GPU-1` has in the closed books.
pub fn booked(site: &Site) -> u128 {
    let flows = site.json("/v1/hubs/isb/flows");
    let flows = flows["flows"].as_array().expect("a list").clone();
    flows
        .iter()
        .filter(|flow| flow["debit"] == "gpu:GPU-1")
        .map(|flow| millijoules(&flow["energy_mj"]))
        .sum()
}

/// Waits for it. Intervals close as frames arrive, so another node says something meanwhile.
pub fn assert_booked(site: &Site, expected: u128) {
    let mut asked = 0;
    eventually(&format!("{expected} mJ booked, not {}", booked(site)), 30, || {
        asked += 1;
        let node = NodeId::new("n99").expect("valid");
        let other =
            Schema { node, agent: format!("test {asked}"), ..of_one_gpu("isb", "n01", "GPU-1") };
        let (id, bytes) = codec::encode_schema(&other).expect("encodes");
        let answer = ask("PUT", site.port, &format!("/v1/schemas/{id}"), &bytes)?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (booked(site) == expected).then_some(())
    });
    assert_eq!(site.json("/v1/hubs/isb/balance")["imbalance_mj"], "0");
}
