//! What the model asks of a tensor.

use std::fmt;

/// The shape that a tensor must have.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// Exactly this one.
    Shape(&'a [usize]),
    /// `[rows, columns]`, with any number of rows but zero.
    Table {
        /// Length of the second axis.
        columns: usize,
    },
}

impl Wanted<'_> {
    /// Whether a tensor of this shape will do.
    pub fn fits(&self, dims: &[usize]) -> bool {
        match *self {
            Self::Shape(wanted) => dims == wanted,
            Self::Table { columns: wanted } => matches!(dims, [rows, columns] if *rows > 0 && *columns == wanted),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(dims) => write!(formatter, "{dims:?}"),
            Self::Table { columns } => write!(formatter, "[any, {columns}]"),
        }
    }
}
