//! How much one caller, and all callers together, may send.

/// Largest picture file, and largest JSON body.
pub(super) const MAX_PICTURE_BYTES: usize = 64 << 20;

/// Largest JSON body; a picture may be inside one.
pub(super) const MAX_JSON_BYTES: usize = MAX_PICTURE_BYTES;

/// Largest multipart body.
pub(super) const MAX_FORM_BYTES: usize = 512 << 20;

/// Largest text part of a form.
pub(super) const MAX_TEXT_BYTES: usize = 4 << 20;

/// Most parts of a form.
pub(super) const MAX_PARTS: usize = 4096;

/// Most bytes of uploads that the server holds at a time, all requests together.
pub(super) const MAX_HELD_UPLOAD_BYTES: usize = 2 << 30;
