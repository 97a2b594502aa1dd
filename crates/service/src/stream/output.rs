//! Answers on their way out: small ones gathered, large ones shared.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::Link;

/// A buffer that grew beyond this is let go of once it is empty.
const KEPT_BYTES: usize = 64 * 1024;

/// Bytes up to this many are cheaper copied than shared.
const COPIED_BYTES: usize = 2 * 1024;

/// Answers that have not been sent yet, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// What goes out before `tail`.
    parts: VecDeque<Bytes>,
    parts_bytes: usize,
    tail: Vec<u8>,
    tail_sent: usize,
}

impl Output {
    /// Where to put what is copied.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Adds bytes: small ones are copied, large ones shared.
    pub fn put(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES {
            self.tail.extend_from_slice(bytes);
        } else {
            self.share(bytes.clone());
        }
    }

    /// Adds bytes without copying them.
    pub fn share(&mut self, bytes: Bytes) {
        let mut tail = Bytes::from(std::mem::take(&mut self.tail));
        tail.advance(std::mem::take(&mut self.tail_sent));
        if !tail.is_empty() {
            self.push(tail);
        }
        self.push(bytes);
    }

    fn push(&mut self, bytes: Bytes) {
        self.parts_bytes += bytes.len();
        self.parts.push_back(bytes);
    }

    /// Bytes that have not been sent.
    pub fn len(&self) -> usize {
        self.parts_bytes + self.tail.len() - self.tail_sent
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes to send; empty where there are none.
    pub fn chunk(&self) -> &[u8] {
        match self.parts.front() {
            Some(part) => part,
            None => &self.tail[self.tail_sent..],
        }
    }

    /// So many bytes of [`Self::chunk`] have been sent.
    pub fn advance(&mut self, sent: usize) {
        if let Some(part) = self.parts.front_mut() {
            part.advance(sent);
            self.parts_bytes -= sent;
            if part.is_empty() {
                self.parts.pop_front();
            }
            return;
        }
        self.tail_sent += sent;
        if self.tail_sent == self.tail.len() {
            self.tail_sent = 0;
            self.tail.clear();
            if self.tail.capacity() > KEPT_BYTES {
                self.tail = Vec::new();
            }
        }
    }

    /// Sends everything.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn write_to<I: AsyncWrite + Unpin>(&mut self, io: &mut I, link: &Link) -> io::Result<()> {
        while !self.is_empty() {
            link.sending();
            match io.write(self.chunk()).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => self.advance(sent),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_and_what_is_shared_goes_out_in_order() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"one ");
        output.share(Bytes::from_static(b"two "));
        output.tail().extend_from_slice(b"three");
        assert_eq!(output.len(), 13);
        let mut sent = Vec::new();
        while !output.is_empty() {
            let some = output.chunk().len().min(3);
            sent.extend_from_slice(&output.chunk()[..some]);
            output.advance(some);
        }
        assert_eq!(sent, b"one two three");
        assert!(output.chunk().is_empty());
    }
}
