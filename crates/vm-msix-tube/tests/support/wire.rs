//! The protocol, written down a second time: a change of the first that old device processes would not understand fails here.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Ask {
    Hello { magic: [u8; 4], version: u16, vectors: u16 },
    SetRoutes(Vec<Change>),
    Flush,
    Release,
    Swap(u16, u16),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) vector: u16,
    pub(crate) route: Route,
    pub(crate) brings: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Route {
    Closed,
    Open { address: u64, data: u32 },
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Answer {
    Welcome,
    Done { results: Vec<Outcome>, late: Vec<(u16, Failure)> },
    Refused(vm_msix_tube::Refusal),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Outcome {
    Done,
    Kept,
    Failed(Failure),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Failure {
    Refused,
    Exhausted,
    StillOpen,
}

/// The greeting.
pub(crate) fn hello(vectors: u16) -> Ask {
    Ask::Hello { magic: *b"msix", version: 1, vectors }
}

/// One vector's opening.
pub(crate) fn opens(vector: u16, brings: bool) -> Change {
    let address = 0xfee0_0000;
    Change { vector, route: Route::Open { address, data: u32::from(vector) }, brings }
}

/// One vector's closing.
pub(crate) fn closes(vector: u16) -> Change {
    Change { vector, route: Route::Closed, brings: false }
}
