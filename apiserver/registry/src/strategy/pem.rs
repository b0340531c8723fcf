//! PEM blocks, as Go's `encoding/pem` finds them.

use apiserver_meta::base64;

/// A block: what it says it is, and what is in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    pub kind: &'a str,
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

/// The blocks of a text, in order; what is between them is passed over.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        rest = after;
        let Some((kind, body)) = after.split_once("-----") else { break };
        let end = format!("-----END {kind}-----");
        let Some((body, next)) = body.split_once(end.as_str()) else { continue };
        let is_header = |line: &&str| line.contains(':');
        let has_headers = body.lines().any(|line| is_header(&line));
        let encoded: String = body.lines().filter(|line| !is_header(line)).map(str::trim).collect();
        if let Some(bytes) = base64::decode(&encoded) {
            found.push(Block { kind, has_headers, bytes });
            rest = next;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_in_what_is_around_them() {
        let text = "x\n-----BEGIN A-----\neHg=\n-----END A-----\n-----BEGIN B-----\nh: v\n\neQ==\n-----END B-----\n-----BEGIN C-----\n";
        let block = |kind, has_headers, bytes: &str| Block { kind, has_headers, bytes: bytes.into() };
        assert_eq!(blocks(text), [block("A", false, "xx"), block("B", true, "y")]);
        assert_eq!(blocks("none"), []);
    }
}
