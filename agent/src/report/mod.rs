//! What `bijli-agent check` and `bijli-agent once` print.
