//! What a tar has of a file, as a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Which side of a copy has failed.
#[derive(Debug)]
pub(crate) enum ContentError {
    /// The tar's.
    Read(io::Error),
    /// The new file's.
    Write(io::Error),
}

/// The parts of a file of a tar that it says the offsets and lengths of.
pub(crate) type Parts = [(u64, u64)];

/// Writes the current entry's content to an empty file; between the parts of a sparse one are holes.
pub(crate) fn write_content(
    from: &mut impl Read,
    to: &mut File,
    size: u64,
    sparse: Option<&Parts>,
) -> Result<(), ContentError> {
    let Some(parts) = sparse else { return copy(from, to) };
    for (offset, length) in parts {
        to.seek(SeekFrom::Start(*offset)).map_err(ContentError::Write)?;
        copy(&mut from.take(*length), to)?;
    }
    to.set_len(size).map_err(ContentError::Write)
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<(), ContentError> {
    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).map_err(ContentError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ContentError::Read(error)),
        }
    }
}
