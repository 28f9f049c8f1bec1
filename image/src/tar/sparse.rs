//! Where the data of a sparse file lies: the forms of GNU tar ("Storing Sparse Files" in its
//! manual).

use super::header::number;
use super::pax::{Pax, decimal};

/// Pieces of a file at most.
const PIECES: usize = 1 << 20;

/// The pieces of a file that are not holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Offset and length, ascending, apart.
    pieces: Vec<(u64, u64)>,
    /// Bytes of the file, holes included.
    size: u64,
}

impl SparseMap {
    /// A file without holes.
    pub(crate) fn whole(size: u64) -> Self {
        let pieces = if size == 0 { Vec::new() } else { vec![(0, size)] };
        Self { pieces, size }
    }

    /// Checks the pieces of a file of `size` bytes for which the archive has `stored` bytes.
    pub(crate) fn new(mut pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, &'static str> {
        pieces.retain(|(_, length)| *length > 0);
        let (mut end, mut sum) = (0, 0_u64);
        for (offset, length) in &pieces {
            if *offset < end {
                return Err("the pieces of its sparse map overlap");
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= size)
                .ok_or("a piece of its sparse map is past its end")?;
            sum += length;
        }
        match sum == stored && i64::try_from(size).is_ok() {
            true => Ok(Self { pieces, size }),
            false => Err("its sparse map is not that of its data"),
        }
    }

    pub(crate) fn pieces(&self) -> &[(u64, u64)] {
        &self.pieces
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// Adds the pairs of a GNU header, 24 bytes each.
pub(crate) fn add_gnu_pairs(pieces: &mut Vec<(u64, u64)>, pairs: &[u8]) -> Result<(), &'static str> {
    for pair in pairs.chunks_exact(24).filter(|pair| pair[12] != 0) {
        let unsigned = |field| u64::try_from(number(field)?).map_err(|_| "a number of its sparse map is negative");
        pieces.push((unsigned(&pair[..12])?, unsigned(&pair[12..])?));
    }
    check_count(pieces.len())
}

/// The map in the records of PAX form 0.0 or 0.1; `None` if the file has none.
pub(crate) fn of_pax(pax: &Pax) -> Result<Option<Vec<(u64, u64)>>, &'static str> {
    let mut numbers = Vec::new();
    if let Some(map) = pax.get("GNU.sparse.map") {
        numbers = map.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
    } else if pax.get("GNU.sparse.numblocks").is_some() {
        for (key, value) in pax.records() {
            match (key, numbers.len() % 2) {
                (b"GNU.sparse.offset", 0) | (b"GNU.sparse.numbytes", 1) => numbers.push(decimal(value)?),
                (b"GNU.sparse.offset" | b"GNU.sparse.numbytes", _) => return Err("its sparse map is out of order"),
                _ => {}
            }
        }
    } else {
        return Ok(None);
    }
    let pieces = pairs(&numbers)?;
    match pax.number("GNU.sparse.numblocks")? {
        Some(count) if count != pieces.len() as u64 => Err("its sparse map has another number of pieces"),
        _ => Ok(Some(pieces)),
    }
}

/// The map before the data of PAX form 1.0: decimal lines, the first of them the number of pieces.
#[derive(Debug, Default)]
pub(crate) struct DataMap {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl DataMap {
    /// Takes a block of the data; the pieces when it was the last one of the map.
    pub(crate) fn add(&mut self, block: &[u8]) -> Result<Option<Vec<(u64, u64)>>, &'static str> {
        for byte in block {
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 20 {
                    return Err("a line of its sparse map is no number");
                }
                continue;
            }
            self.numbers.push(decimal(&self.digits)?);
            self.digits.clear();
            let count = usize::try_from(self.numbers[0]).unwrap_or(usize::MAX);
            check_count(count)?;
            if self.numbers.len() == 1 + 2 * count {
                return pairs(&self.numbers[1..]).map(Some);
            }
        }
        Ok(None)
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, &'static str> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    match rest {
        [] => check_count(pairs.len()).map(|()| pairs.iter().map(|[offset, length]| (*offset, *length)).collect()),
        _ => Err("its sparse map has an odd number of numbers"),
    }
}

fn check_count(count: usize) -> Result<(), &'static str> {
    if count > PIECES { Err("its sparse map has more than a million pieces") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_apart_and_inside() {
        assert!(SparseMap::new(vec![(0, 1), (1, 1), (9, 0)], 9, 2).is_ok());
        for (pieces, size, stored) in [
            (vec![(0, 2), (1, 1)], 9, 3),
            (vec![(4, 1), (0, 1)], 9, 2),
            (vec![(8, 2)], 9, 2),
            (vec![(u64::MAX, 2)], u64::MAX, 2),
            (vec![(0, 1)], 9, 2),
            (vec![], u64::MAX, 0),
        ] {
            assert!(SparseMap::new(pieces.clone(), size, stored).is_err(), "{pieces:?}");
        }
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let mut map = DataMap::default();
        assert_eq!(map.add(b"2\n0\n51"), Ok(None));
        assert_eq!(map.add(b"2\n1024\n1\n\0\0\0"), Ok(Some(vec![(0, 512), (1024, 1)])));
        assert_eq!(DataMap::default().add(b"0\n"), Ok(Some(vec![])));
        for wrong in ["\n", "x\n", "9999999999\n", "111111111111111111111"] {
            assert!(DataMap::default().add(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
