//! Renders a capture.
