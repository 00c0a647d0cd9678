//! What a fuzzer feeds, and what must hold whatever it feeds. The same is replayed from the corpus by a test.

mod layout;
mod registers;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[allow(unused_imports, reason = "each fuzz target uses its part")]
pub(crate) use self::{
    layout::{Case, layout},
    registers::{Setup, Step, registers},
};

/// What the bytes at the front say; a byte that says nothing is passed over.
fn next<T: DeserializeOwned>(data: &mut &[u8]) -> Option<T> {
    while !data.is_empty() {
        match postcard::take_from_bytes(data) {
            Ok((value, rest)) => {
                *data = rest;
                return Some(value);
            }
            Err(_) => *data = &data[1..],
        }
    }
    None
}

/// The same the other way, for all of a list.
pub(crate) fn of_values<T: Serialize>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|value| postcard::to_stdvec(value).unwrap()).collect()
}
