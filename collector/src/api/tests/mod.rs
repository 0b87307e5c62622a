//! Tests of the API over a real socket, and what the tests of `page` and `export` share: a small
//! hub whose books are made through the ledger's own API, and a client.

mod answers;
pub(crate) mod client;
mod document;
mod energy;
mod events;
pub(crate) mod hub;

/// Compares `text` with `docs/<name>`; with `BIJLI_BLESS=1` writes it instead.
#[expect(clippy::disallowed_methods, reason = "a test reads the document that it holds")]
pub(crate) fn same_as_the_document(name: &str, text: &str) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BIJLI_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let found = std::fs::read_to_string(&path).expect("the document is there");
    assert!(found == text, "docs/{name} is not what the code says: BIJLI_BLESS=1 writes it anew");
}
