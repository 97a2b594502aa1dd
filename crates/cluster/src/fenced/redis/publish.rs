//! Publishing in pieces. Large data is put aside first, a piece at a time, so that neither the leader nor a queue holds it a second
//! time; the step that publishes finds it whole or refuses.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::{RedisStore, ms};
use crate::fenced::notice::channel;
use crate::fenced::{Publication, Published, StoreError, Writer};

/// What goes to Redis at once.
const PIECE_BYTES: usize = 128 << 10;
/// How long what was put aside stays after its last piece, where it is never published: longer than a command may take.
const ASIDE_TTL: Duration = Duration::from_secs(20);

impl RedisStore {
    pub(super) async fn publish_in_pieces(
        &self,
        writer: Writer<'_>,
        publication: Publication<'_>,
    ) -> Result<Published, StoreError> {
        let Publication { dataset, data, note, ttl, above } = publication;
        let (head, link) = (self.head_key(dataset), self.data_link());
        let [aside, aside_before] = self.aside_keys(dataset, writer);
        let mut rest = VecDeque::from(data);
        let (mut piece, mut put_aside) = (take(&mut rest), 0);
        while rest.iter().any(|more| !more.is_empty()) {
            let mut script = self.scripts.stage.key(&self.lease);
            script.key(&self.token).key(&aside).key(&aside_before);
            script.arg(writer.id).arg(writer.token).arg(&piece).arg(put_aside).arg(ms(ASIDE_TTL));
            match self.run(link, &aside, script).await? {
                0_u64 => return Ok(Published::Refused),
                1 => put_aside += piece.len(),
                _ => return Err(not_kept(&aside, put_aside)),
            }
            piece = take(&mut rest);
        }
        let mut script = self.scripts.publish.key(&self.lease);
        script.key(&self.token).key(&head).key(self.data_key(dataset)).key(&aside);
        script.arg(writer.id).arg(writer.token).arg(piece).arg(note).arg(ms(ttl)).arg(above);
        script.arg(channel(&self.prefix, dataset)).arg(dataset).arg(put_aside);
        let (done, revision, at_ms): (u64, u64, u64) = self.run(link, &head, script).await?;
        match done {
            0 => Ok(Published::Refused),
            1 => Ok(Published::As { revision, at_ms }),
            _ => Err(not_kept(&aside, put_aside)),
        }
    }

    /// Where the data of this attempt is put aside, and where that of the attempt before may still be. No two attempts share a
    /// place: a piece that a broken connection delivers late finds nothing to be added to.
    fn aside_keys(&self, dataset: &str, writer: Writer<'_>) -> [String; 2] {
        let mut attempts = self.attempts.lock();
        let attempt = attempts.entry(dataset.to_owned()).or_default();
        *attempt += 1;
        let key = |attempt| format!("{}:next:{}:{attempt}", self.head_key(dataset), writer.token);
        [key(*attempt), key(*attempt - 1)]
    }
}

/// The next piece, copied, and nothing of it is kept.
fn take(data: &mut VecDeque<Bytes>) -> Vec<u8> {
    let mut piece = Vec::new();
    while let Some(front) = data.front_mut() {
        let fits = front.len().min(PIECE_BYTES - piece.len());
        piece.extend_from_slice(&front.split_to(fits));
        if !front.is_empty() {
            break;
        }
        data.pop_front();
    }
    piece
}

fn not_kept(key: &str, put_aside: usize) -> StoreError {
    StoreError::Unreachable(format!(
        "{key}: Redis has not kept the {put_aside} bytes that it was sent before: it was restarted, failed over or evicts keys"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_full_but_for_the_last_whatever_the_data_comes_in() {
        let whole: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|at| at as u8).collect();
        for cuts in [vec![], vec![1], vec![PIECE_BYTES, PIECE_BYTES], vec![7, 7, 2 * PIECE_BYTES + 1]] {
            let mut ends = cuts.clone();
            ends.extend([whole.len()]);
            let mut start = 0;
            let mut data = VecDeque::new();
            for end in ends {
                data.push_back(Bytes::copy_from_slice(&whole[start..end]));
                start = end;
            }
            let mut taken = Vec::new();
            while !data.is_empty() {
                taken.push(take(&mut data));
            }
            let lengths: Vec<usize> = taken.iter().map(Vec::len).collect();
            assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 5], "{cuts:?}");
            assert_eq!(taken.concat(), whole);
        }
        assert_eq!(take(&mut VecDeque::new()), b"");
    }
}
