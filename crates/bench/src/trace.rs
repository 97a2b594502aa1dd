//! Recorded requests: gzipped or plain text, one request a line, `KEY` or `KEY SIZE`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::BenchError;
use crate::parse::MAX_VALUE_BYTES;

/// The size of a value, in bytes, where the trace does not say.
pub const DEFAULT_SIZE_BYTES: usize = 256;
const MAX_KEY_BYTES: usize = 250;
/// No line of a trace is longer: a key, a space and a number.
const MAX_LINE_BYTES: u64 = 4096;

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// 1 to 250 bytes of UTF-8.
    pub key: String,
    /// The value's size in bytes.
    pub size: usize,
}

/// Opens a trace, gzip (by its magic bytes) or plain, and reads it line by line.
///
/// # Errors
///
/// [`BenchError::TraceIo`] here when the file cannot be opened; the iterator's items name the file and, for
/// [`BenchError::TraceLine`], the line. After an error the iterator ends.
pub fn open(path: &Path) -> Result<Requests, BenchError> {
    let failed = |source| BenchError::TraceIo { path: path.to_owned(), source };
    let mut plain = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let gzip = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let lines: Box<dyn BufRead + Send> =
        if gzip { Box::new(BufReader::new(MultiGzDecoder::new(plain))) } else { Box::new(plain) };
    Ok(Requests { path: path.to_owned(), lines, buffer: Vec::new(), line: 0, done: false })
}

/// The requests of a trace, in order; see [`open`].
pub struct Requests {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    line: u64,
    done: bool,
}

impl Requests {
    fn read_line(&mut self) -> Result<bool, BenchError> {
        self.buffer.clear();
        let mut limited = io::Read::take(&mut self.lines, MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| BenchError::TraceIo { path: self.path.clone(), source })?;
        self.line += 1;
        Ok(read > 0)
    }

    fn parse(&self) -> Result<Option<Request>, String> {
        let text = std::str::from_utf8(&self.buffer).map_err(|_| "the key is not UTF-8".to_owned())?;
        let mut words = text.split_ascii_whitespace();
        let Some(key) = words.next() else { return Ok(None) };
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("the key has {} bytes, {MAX_KEY_BYTES} at most are allowed", key.len()));
        }
        let size = match words.next() {
            None => DEFAULT_SIZE_BYTES,
            Some(size) => size.parse().map_err(|_| format!("{size:?} is not a size: expected `KEY SIZE`"))?,
        };
        if size > MAX_VALUE_BYTES {
            return Err(format!("a value of {size} bytes: {MAX_VALUE_BYTES} at most are allowed"));
        }
        match words.next() {
            None => Ok(Some(Request { key: key.to_owned(), size })),
            Some(_) => Err("more than two words: expected `KEY` or `KEY SIZE`".to_owned()),
        }
    }

    fn step(&mut self) -> Result<Option<Request>, BenchError> {
        while self.read_line()? {
            let parsed = self.parse();
            let request = parsed.map_err(|reason| BenchError::TraceLine {
                path: self.path.clone(),
                line: self.line,
                reason,
            })?;
            if request.is_some() {
                return Ok(request);
            }
        }
        Ok(None)
    }
}

impl Iterator for Requests {
    type Item = Result<Request, BenchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// A whole trace in memory, 8 bytes a request and each key once, so that replaying it reads no file and allocates
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// (index of the key, size of the value in bytes) in order.
    pub(crate) requests: Vec<(u32, u32)>,
    pub(crate) keys: Vec<String>,
    pub(crate) max_size: usize,
}

impl Recording {
    pub(crate) fn load(path: &Path, limit: Option<u64>) -> Result<Self, BenchError> {
        let mut recording = Self::default();
        let mut ids: HashMap<String, u32> = HashMap::new();
        for request in open(path)?.take(limit.map_or(usize::MAX, |limit| limit as usize)) {
            let Request { key, size } = request?;
            let id = if let Some(id) = ids.get(&key) {
                *id
            } else {
                let id = recording.keys.len() as u32;
                recording.keys.push(key.clone());
                ids.insert(key, id);
                id
            };
            recording.requests.push((id, size as u32));
            recording.max_size = recording.max_size.max(size);
        }
        if recording.requests.is_empty() {
            return Err(BenchError::TraceEmpty { path: path.to_owned() });
        }
        Ok(recording)
    }

    /// How many distinct keys the first `lines` have.
    pub(crate) fn distinct_keys_in(&self, lines: u64) -> u64 {
        let lines = self.requests.len().min(lines as usize);
        // Keys are numbered in the order in which they first come.
        self.requests[..lines].iter().map(|(key, _)| u64::from(*key) + 1).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, usize)>, String> {
        let file = file(bytes);
        let requests = open(file.path()).unwrap().map(|request| request.map(|r| (r.key, r.size)));
        requests
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string().replace(file.path().to_str().unwrap(), "FILE"))
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        let text = b"a\nb 70\n\na 0\r\n";
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).unwrap();
        let expected = vec![("a".to_owned(), 256), ("b".to_owned(), 70), ("a".to_owned(), 0)];
        assert_eq!(read(text), Ok(expected.clone()));
        assert_eq!(read(&gzip.finish().unwrap()), Ok(expected));
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        assert_eq!(read(b"a\nb x\n").unwrap_err(), "FILE:2: \"x\" is not a size: expected `KEY SIZE`");
        assert!(read(b"a 1 2\n").unwrap_err().starts_with("FILE:1: more than two words"));
        assert!(read(b"a\n\xff\n").unwrap_err().contains("FILE:2: the key is not UTF-8"));
        assert!(read(&[b'k'; 251]).unwrap_err().contains("251 bytes"));
        assert!(read(&[b'k'; 9000]).unwrap_err().contains("FILE:1"));
        assert!(open(Path::new("/no/such")).err().unwrap().to_string().contains("/no/such"));
        assert!(read(&[0x1f, 0x8b, 0, 0]).is_err());
    }

    #[test]
    fn a_recording_holds_each_key_once_and_stops_at_the_limit() {
        let file = file(b"a\nb 3\na\nc\n");
        let recording = Recording::load(file.path(), Some(3)).unwrap();
        assert_eq!(recording.keys, ["a", "b"]);
        assert_eq!(recording.requests, [(0, 256), (1, 3), (0, 256)]);
        assert_eq!([0, 1, 2, 3, 9].map(|lines| recording.distinct_keys_in(lines)), [0, 1, 2, 2, 2]);
        assert!(matches!(
            Recording::load(super::tests::file(b"\n").path(), None),
            Err(BenchError::TraceEmpty { .. })
        ));
    }
}
