//! How much one caller, and all callers together, may send.

/// Largest picture file.
pub(super) const MAX_PICTURE_BYTES: usize = 64 << 20;

/// Largest JSON body; one may hold a picture.
pub(super) const MAX_JSON_BYTES: usize = 64 << 20;

/// Bytes that a byte of JSON counts for while it is worked on: parsed, it takes many times the room of its text.
pub(super) const JSON_COST: usize = 8;

/// Largest video file.
pub(super) const MAX_VIDEO_BYTES: u64 = 8 << 30;

/// Most bytes of uploaded videos that lie on the disk at a time, all requests together.
pub(super) const MAX_HELD_VIDEO_BYTES: usize = 16 << 30;

/// Largest multipart body.
pub(super) const MAX_FORM_BYTES: usize = 512 << 20;

/// Largest text part of a form.
pub(super) const MAX_TEXT_BYTES: usize = 4 << 20;

/// Most parts of a form.
pub(super) const MAX_PARTS: usize = 4096;

/// Most bytes of uploads that the server holds at a time, all requests together.
pub(super) const MAX_HELD_UPLOAD_BYTES: usize = 2 << 30;
